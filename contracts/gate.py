"""The gate: whether a candidate version is as good as the champion on one suite, check by check, with the evidence.

A check is `pass` only on positive evidence: `missing` where there was nothing to judge by, `inconclusive` where the evidence
does not decide. Of several the worst wins, and a gate without checks is `missing`. A result is bound to the bytes of both
versions, of the data and of the policy; any change of one of them asks for another gate.
"""

import math
import re
from collections.abc import Iterable
from typing import Final, Literal

from contracts.errors import InvalidInput
from contracts.gate_pin import SHA256
from contracts.plan import VersionRef
from contracts.wire import Contract

GateOutcome = Literal["pass", "inconclusive", "missing", "fail"]
GateKind = Literal["policy", "headline", "slice", "calibration", "fairness", "latency", "size", "behaviour"]

GATE_WORST_LAST: Final[tuple[GateOutcome, ...]] = ("pass", "inconclusive", "missing", "fail")
CHECKS_MAX: Final = 500
"""Checks of one gate: some hundred kilobytes of JSON."""

_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class GateCheck(Contract, frozen=True, kw_only=True):
    """One question of a suite. `observed`, known to within [`low`, `high`] at 95 %, may not exceed `threshold`: the check
    passes where no part of the interval does, and fails where all of it does. `n` rows, turns or runs stand behind it.
    `candidate` and `baseline` are each version's own figure. `reason` says why it is not `pass`, or what was seen.
    """

    kind: GateKind
    name: str
    slice: str = ""
    observed: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    candidate: float | None = None
    baseline: float | None = None
    n: int = 0
    outcome: GateOutcome
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse a figure that is no number, and a pass that rests on none; `InvalidInput` names the check."""
        figures = (self.observed, self.low, self.high, self.threshold, self.candidate, self.baseline)
        if any(figure is not None and not math.isfinite(figure) for figure in figures):
            raise InvalidInput(f"check {self.kind} {self.name!r}: its figures must be finite numbers or null")
        if self.outcome == "pass" and (self.n < 1 or (self.observed is None and self.kind != "behaviour")):
            raise InvalidInput(f"check {self.kind} {self.name!r} cannot pass: nothing was observed")


class GateResult(Contract, frozen=True, kw_only=True):
    """What one gate found. `gate_id` is a UUIDv7. `baseline` is the champion when the gate ran, null where there was none.
    `data_sha256` is of the file of rows (empty where the suite has none), `policy_sha256` of the canonical JSON of all else
    that the suite says. `rows` were read, `seed` chose the resamples. Times are microseconds since the epoch, UTC.
    """

    schema: Literal[1] = 1
    gate_id: str
    model: str
    candidate: VersionRef
    baseline: VersionRef | None
    data_sha256: str
    policy_sha256: str
    rows: int
    seed: int
    checks: tuple[GateCheck, ...]
    outcome: GateOutcome
    evaluated_us: int
    who: str
    pointsman: str

    def __post_init__(self) -> None:
        """Refuse a result that says otherwise than its checks; `InvalidInput` names the part."""
        if not _UUID7.fullmatch(self.gate_id):
            raise InvalidInput(f"gate_id: {self.gate_id[:80]!r} is no UUIDv7")
        if not SHA256.fullmatch(self.policy_sha256) or not (
            self.data_sha256 == "" or SHA256.fullmatch(self.data_sha256)
        ):
            raise InvalidInput("data_sha256 and policy_sha256 must be 64 hexadecimal digits")
        if len(self.checks) > CHECKS_MAX:
            raise InvalidInput(f"{len(self.checks)} checks; a gate holds at most {CHECKS_MAX}: ask for fewer slices")
        found = worst_of(check.outcome for check in self.checks)
        if self.outcome != found:
            raise InvalidInput(f"the gate says {self.outcome!r}, its checks say {found!r}")


def worst_of(outcomes: Iterable[GateOutcome]) -> GateOutcome:
    """The worst of several outcomes; `missing` where there is none."""
    return max(outcomes, key=GATE_WORST_LAST.index, default="missing")
