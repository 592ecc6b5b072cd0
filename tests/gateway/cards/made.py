"""Parts of a card, made for tests: a version that everybody knows everything of."""

from contracts.card import CardFiles
from contracts.gate import GateCheck
from contracts.metadata import ModelMetadata
from contracts.plan import BUCKETS, Challenger, Change, Plan, VersionRef
from contracts.reference import Reference
from contracts.signature import Signature, TensorSpec
from contracts.statistic import Statistic
from contracts.task import Task
from contracts.verdict import Verdict
from gateway.cards.assembly import Parts
from gateway.fleet.seam import Seen
from gateway.fleet.worker_status import WorkerStatus
from tests.gateway.gate_results import gate_result

MODEL = "churn"
ONE, TWO = VersionRef(version="1", digest="d1"), VersionRef(version="2", digest="d2")
DAY_US = 86_400_000_000


def canary(share, digest="d2"):
    return Challenger(
        name="canary-2", version="2", digest=digest, mode="canary", ranges=((0, int(share * BUCKETS)),) if share else ()
    )


def plan(revision, champion=ONE, **parts):
    return Plan(model=MODEL, revision=revision, salt="s", champion=champion, **parts)


def changes(*plans, reason="because"):
    """The history of these plans, newest first."""
    steps = [
        Change(
            model=MODEL,
            revision=after.revision,
            at_us=after.revision * DAY_US,
            who="ada",
            verb="canary",
            reason=reason,
            before=before,
            after=after,
        )
        for before, after in zip((None, *plans), plans, strict=False)
    ]
    return steps[::-1]


def gate(number=1, candidate=TWO, outcome="pass"):
    figures = {"observed": 0.0, "low": -0.1, "high": 0.1, "threshold": 0.2, "n": 500}
    checks = (
        GateCheck(kind="headline", name="auc", outcome=outcome, **figures),
        GateCheck(kind="slice", name="auc", slice="land=DE", outcome="pass", **figures),
    )
    return gate_result(
        number,
        outcome,
        model=MODEL,
        candidate=candidate,
        baseline=ONE,
        checks=checks,
        evaluated_us=number * DAY_US,
        who="grace",
    )


def verdict(version="2", digest="d2"):
    return Verdict(
        model=MODEL,
        version=version,
        digest=digest,
        variant="canary-2",
        revision=2,
        guard="errors",
        outcome="inconclusive",
        evidence=(),
        from_us=0,
        to_us=DAY_US,
        judged_us=DAY_US,
        policy_hash="p",
    )


def row(statistic="auc", value=0.75, status="ok", **changed):
    fields = {
        "model": MODEL,
        "version": "2",
        "variant": "canary-2",
        "slice": "",
        "from_": "2026-01-01T00:00:00Z",
        "to": "2026-01-02T00:00:00Z",
        "feature": "",
        "statistic": statistic,
        "value": value,
        "low": None if value is None else value - 0.01,
        "high": None if value is None else value + 0.01,
        "n": 1234,
        "status": status,
    }
    return Statistic(**(fields | changed))


def files(**metadata):
    said = {
        "description": "who will leave",
        "owner": "team retention",
        "intended_use": "monthly letters",
        "limits": "not for business customers",
        "task": Task(kind="binary", output="p", classes=("stays", "leaves"), threshold=0.4),
        "run_id": "run-7",
        "git_commit": "abc123",
        "data_version": "2026-01",
        "params": {"depth": "6"},
        "tags": {"approved_by": "grace"},
        "metrics": {"auc": 0.8125},
    }
    metadata = ModelMetadata(**(said | metadata))
    return CardFiles(digest="d2", created_us=DAY_US, files=2, bytes=12_345, metadata=metadata)


def reference():
    return Reference(
        model=MODEL,
        version="2",
        rows=9000,
        task=None,
        features=(),
        prediction=None,
        performance={"auc": 0.81},
        slice_performance={"land=DE": {"auc": 0.79}},
        labelled=8000,
        positives=400,
        hash="h" * 64,
    )


def parts(**changed):
    """Version 2, a canary of 5 % that had 1 % before."""
    now = plan(3, challengers=(canary(0.05),))
    known = {
        "model": MODEL,
        "version": "2",
        "files": files(),
        "signature": Signature(
            inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2), features=("age", "plan")),),
            outputs=(TensorSpec(name="p", datatype="FP32", shape=(-1, 1)),),
        ),
        "reference": reference(),
        "aliases": {"challenger": "2", "champion": "1"},
        "plan": now,
        "changes": changes(plan(1), plan(2, challengers=(canary(0.01),)), now),
        "gates": [gate()],
        "verdicts": (verdict(), verdict("1", "d1")),
        "workers": Seen([WorkerStatus(slot="worker-0", pid=1, started_us=1, loaded={MODEL: (ONE, TWO)}, at_us=1)]),
    }
    return Parts(**(known | changed))
