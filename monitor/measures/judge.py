"""Statistics x guards -> verdicts: what each guard says of one variant, with the evidence it rests on.

Enters: rows of statistics, the guards, whom they are about. Leaves: one verdict a guard. Pure: the time of judging comes in.

A verdict is born `no_data` and passes only on positive evidence: the end of the interval that speaks against the variant
must be on the right side of the threshold. The other way round it fails; in between it is inconclusive. Of several rows the
worst outcome is the guard's. A guard reads the intervals as they stand; they are not made for being looked at again and
again, so an automatic rollout needs tests that are.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from contracts.errors import InvalidSettings
from contracts.statistic import Statistic
from contracts.verdict import WORST_LAST, Evidence, Outcome, Verdict, worst
from contracts.wire import Contract, encode_canonical
from monitor.measures.statistics import Key

EVERY: Final = "*"
EVIDENCE_MAX: Final = 20
"""Rows of evidence a verdict keeps, worst first; the outcome is of all of them."""


class Guard(Contract, frozen=True, kw_only=True):
    """One condition. `statistic` of each of `features` (empty: the whole model; `*`: every feature that has it) in each of
    `slices` must be `at_least` or `at_most` a threshold; without either, its status must be ok. Rows of fewer than `n_min`
    observations are no data.
    """

    name: str
    statistic: str
    features: tuple[str, ...] = ("",)
    slices: tuple[str, ...] = ("",)
    at_least: float | None = None
    at_most: float | None = None
    n_min: int = 1

    def __post_init__(self) -> None:
        """Refuse a guard that could not be told from another, or asks for nothing."""
        if self.at_least is not None and self.at_most is not None:
            raise InvalidSettings(f"guard {self.name!r}: has at_least and at_most; make two guards of it")
        if not self.features or not self.slices:
            raise InvalidSettings(f"guard {self.name!r}: names no feature or no slice, so it could never fail")


class Guards(Contract, frozen=True, kw_only=True):
    """All guards of one policy."""

    guards: tuple[Guard, ...]

    def __post_init__(self) -> None:
        """Refuse two guards of one name."""
        names = [guard.name for guard in self.guards]
        if len(set(names)) != len(names):
            raise InvalidSettings(f"guards {names}: each needs a name of its own")


class Subject(NamedTuple):
    """Whom the verdicts are about, and when they are given; `key.slice` is not read: guards name their slices."""

    key: Key
    digest: str
    revision: int
    judged_us: int


def judge(statistics: Sequence[Statistic], guards: Guards, subject: Subject) -> list[Verdict]:
    """One verdict a guard, in their order. Rows of other models, versions or variants are not looked at."""
    who = subject.key[:3]
    own = [row for row in statistics if (row.model, row.version, row.variant) == who]
    policy_hash = hashlib.sha256(encode_canonical(guards)).hexdigest()
    return [_verdict(guard, _judged(guard, own), subject, policy_hash) for guard in guards.guards]


def overall(verdicts: Iterable[Verdict]) -> Outcome:
    """The worst of the verdicts; `no_data` where there is none."""
    return worst([verdict.outcome for verdict in verdicts])


def outcome_of(guard: Guard, row: Statistic) -> Outcome:
    """What one row says of one guard."""
    if row.value is None or row.status == "insufficient" or row.n < guard.n_min:
        return "no_data"
    if guard.at_least is None and guard.at_most is None:
        return "pass" if row.status == "ok" else "inconclusive" if row.status == "warn" else "fail"
    low, high = (row.value, row.value) if row.low is None and row.high is None else (row.low, row.high)
    if guard.at_most is not None:
        right, wrong = high is not None and high <= guard.at_most, low is not None and low > guard.at_most
    else:
        assert guard.at_least is not None, "a guard without a threshold is judged by its status"
        right, wrong = low is not None and low >= guard.at_least, high is not None and high < guard.at_least
    return "pass" if right else "fail" if wrong else "inconclusive"


def _judged(guard: Guard, rows: Sequence[Statistic]) -> list[tuple[Outcome, Evidence]]:
    """Every row that the guard asks for, worst first; what it asks for and does not find is no data."""
    found: list[tuple[Outcome, Evidence]] = []
    for slice_name in guard.slices:
        for feature in guard.features:
            matching = [row for row in rows if _matches(row, guard.statistic, slice_name, feature)]
            found += [(outcome_of(guard, row), _evidence(guard, row)) for row in matching]
            found += [] if matching else [("no_data", _nothing(guard, slice_name, feature))]
    return sorted(found, key=lambda pair: -WORST_LAST.index(pair[0]))


def _matches(row: Statistic, statistic: str, slice_name: str, feature: str) -> bool:
    wanted = bool(row.feature) if feature == EVERY else row.feature == feature
    return wanted and row.statistic == statistic and row.slice == slice_name


def _evidence(guard: Guard, row: Statistic) -> Evidence:
    return Evidence(
        statistic=row.statistic,
        feature=row.feature,
        slice=row.slice,
        value=row.value,
        low=row.low,
        high=row.high,
        n=row.n,
        threshold=guard.at_least if guard.at_least is not None else guard.at_most,
    )


def _nothing(guard: Guard, slice_name: str, feature: str) -> Evidence:
    threshold = guard.at_least if guard.at_least is not None else guard.at_most
    return Evidence(
        statistic=guard.statistic,
        feature=feature,
        slice=slice_name,
        value=None,
        low=None,
        high=None,
        n=0,
        threshold=threshold,
    )


def _verdict(guard: Guard, found: list[tuple[Outcome, Evidence]], subject: Subject, policy_hash: str) -> Verdict:
    key = subject.key
    return Verdict(
        model=key.model,
        version=key.version,
        digest=subject.digest,
        variant=key.variant,
        revision=subject.revision,
        guard=guard.name,
        outcome=worst([outcome for outcome, _ in found]),
        evidence=tuple(evidence for _, evidence in found[:EVIDENCE_MAX]),
        from_us=key.from_us,
        to_us=key.to_us,
        judged_us=subject.judged_us,
        policy_hash=policy_hash,
    )
