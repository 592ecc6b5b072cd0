"""Results of gates as tests need them: all that a result must say, and whatever a test cares for."""

from contracts.gate import GateCheck, GateResult
from contracts.plan import VersionRef


def gate_result(number=1, outcome="pass", **fields):
    """The result number so-and-so of version 2 against version 1 of `m`: one check with this outcome, unless told otherwise."""
    check = GateCheck(
        kind="headline", name="auc", observed=0.0, low=-0.1, high=0.1, threshold=0.2, n=500, outcome=outcome
    )
    said = {
        "gate_id": f"01890000-0000-7000-8000-{number:012x}",
        "model": "m",
        "candidate": VersionRef(version="2", digest="d2"),
        "baseline": VersionRef(version="1", digest="d1"),
        "data_sha256": "a" * 64,
        "policy_sha256": "b" * 64,
        "rows": 500,
        "seed": 0,
        "checks": (check,),
        "outcome": outcome,
        "evaluated_us": number,
        "who": "ada",
        "pointsman": "0.1.0",
    }
    return GateResult(**said | fields)


def flight_gate(number=1, outcome="pass", model="flight-delay"):
    """The same of the model that admin APIs serve in tests."""
    return gate_result(number, outcome, model=model)
