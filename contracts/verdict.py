"""The verdict: what one guard says of one challenger under one plan revision, with the evidence it rests on.

No data is no pass: a verdict is born `no_data` and becomes `pass` only on positive evidence. Of several the worst wins.
"""

from typing import Literal

from contracts.wire import Contract

Outcome = Literal["pass", "inconclusive", "no_data", "error", "fail"]
WORST_LAST: tuple[Outcome, ...] = ("pass", "inconclusive", "no_data", "error", "fail")


class Evidence(Contract, frozen=True, kw_only=True):
    """One statistic with its interval, `n` observations behind it, and the threshold it was held against."""

    statistic: str
    feature: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    threshold: float | None


class Verdict(Contract, frozen=True, kw_only=True):
    """One guard's word on one variant. Times are microseconds since the epoch, UTC."""

    schema: Literal[1] = 1
    model: str
    version: str
    digest: str
    variant: str
    revision: int
    guard: str
    outcome: Outcome
    evidence: tuple[Evidence, ...]
    from_us: int
    to_us: int
    judged_us: int
    policy_hash: str


def worst(outcomes: list[Outcome]) -> Outcome:
    """The worst of several outcomes; `no_data` where there is none."""
    return max(outcomes, key=WORST_LAST.index, default="no_data")
