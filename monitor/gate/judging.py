"""One figure and its interval against a threshold -> one check: what decides, and what does not.

Enters: figures. Leaves: a `GateCheck`. Never measures. A whole interval at or under the threshold passes, a whole interval
above it fails, and anything else is inconclusive: too few rows, no interval, or a threshold within it.
"""

from typing import Final, NamedTuple

from contracts.gate import GateCheck, GateKind, GateOutcome
from monitor.gate.metrics import Comparison
from monitor.gate.policy import CLASS_ROWS_MIN
from monitor.measures.intervals import Interval

NO_BASELINE: Final = "there is no champion to compare with: name a version with --baseline"


class Question(NamedTuple):
    """What is asked: at most `threshold`, of at least `rows_min` rows."""

    kind: GateKind
    name: str
    threshold: float
    rows_min: int
    slice: str = ""


def answered(
    question: Question,
    interval: Interval,
    n: int,
    *,
    candidate: float | None = None,
    baseline: float | None = None,
    few: str = "",
    note: str = "",
) -> GateCheck:
    """The check of an observed figure; `few` says why it is too little to decide by, `note` what was seen anyway."""
    outcome, reason = _decided(question, interval, n, few)
    return GateCheck(
        kind=question.kind,
        name=question.name,
        slice=question.slice,
        observed=interval.value,
        low=interval.low,
        high=interval.high,
        threshold=question.threshold,
        candidate=candidate,
        baseline=baseline,
        n=n,
        outcome=outcome,
        reason="; ".join(filter(None, (reason, note))),
    )


def unanswered(
    question: Question, outcome: GateOutcome, reason: str, n: int = 0, candidate: float | None = None
) -> GateCheck:
    """The check of a figure that there is not."""
    return GateCheck(
        kind=question.kind,
        name=question.name,
        slice=question.slice,
        threshold=question.threshold,
        candidate=candidate,
        n=n,
        outcome=outcome,
        reason=reason,
    )


def not_worse(question: Question, found: Comparison, *, compared: bool) -> GateCheck:
    """The check that a metric is not worse than the champion's; `compared` says whether there is a champion."""
    if found.n == 0:
        return unanswered(question, "missing", "no labelled rows")
    if not compared:
        return unanswered(question, "missing", NO_BASELINE, found.n, found.candidate)
    few = ""
    if found.support < CLASS_ROWS_MIN:
        few = f"{found.support} rows in what {question.name} divides by, fewer than {CLASS_ROWS_MIN}"
    return answered(question, found.worse, found.n, candidate=found.candidate, baseline=found.baseline, few=few)


def _decided(question: Question, interval: Interval, n: int, few: str) -> tuple[GateOutcome, str]:
    short = f"{n} rows, fewer than rows_min = {question.rows_min}" if n < question.rows_min else few
    value, low, high = interval
    if n == 0 or (value is None and not short):
        return "missing", "undefined on these rows" if n else "no rows"
    if short or low is None or high is None:
        return "inconclusive", short or "these rows give no interval"
    if low <= question.threshold < high:
        return "inconclusive", f"{question.threshold:g} lies within the interval: more rows would decide"
    return ("pass", "") if high <= question.threshold else ("fail", f"more than {question.threshold:g} for sure")
