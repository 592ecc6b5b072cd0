"""Counts -> is the input what the model was trained on, and does the version answer: rates with intervals.

Enters: a layout, a reference's counts, a vector. Leaves: measurements. A rate is held against the reference's own by how
far it exceeds it (`policy.rate`), and only where the excess is significant; failures are held against fixed gates.
"""

import math
from typing import Any, Final, NamedTuple

import numpy as np
from scipy.special import betaln, ndtri

from contracts.reference import CategoricalBins, NumericBins
from contracts.statistic import StatisticStatus
from monitor.counts.counting import Counts
from monitor.counts.layout import STATUSES, Layout
from monitor.measures.intervals import Interval, proportion
from monitor.measures.measurement import Measurement, counted, past
from monitor.measures.policy import Gate, MonitorPolicy

ASKED: Final = ("ok", "error", "timeout")
"""Records in which the version itself was asked to run; what was refused or skipped says nothing of it."""
FAILED: Final = ("error", "timeout")


class Rate(NamedTuple):
    """How many of the rows are of one kind, now and in the reference; `p_value` is of an increase."""

    statistic: str
    hits: int
    n: int
    reference_hits: int
    reference_n: int
    p_value: float


def rates(bins: NumericBins | CategoricalBins, reference: Counts, current: Counts) -> list[Rate]:
    """The rates of one column: missing, and out of the reference's range (numeric) or unseen in it (categories)."""
    return [
        _rate(
            statistic, int(current[cells].sum()), int(current.sum()), int(reference[cells].sum()), int(reference.sum())
        )
        for statistic, cells in _kinds(bins).items()
    ]


def measure_rate(rate: Rate, feature: str, alpha: float, policy: MonitorPolicy, *, significant: bool) -> Measurement:
    """One rate with Wilson's interval; `alpha` is the level of a single test of this window."""
    interval = proportion(rate.hits, rate.n)
    return Measurement(
        rate.statistic, interval, rate.n, _rate_status(rate, alpha, policy.rate, significant=significant), feature
    )


def service(layout: Layout, vector: Counts, policy: MonitorPolicy) -> list[Measurement]:
    """Rows predicted, the share of runs that failed, and the share of answers given by the champion for another."""
    by_status = dict(zip(STATUSES, vector[layout.sections["statuses"].cells].tolist(), strict=True))
    rows = int(vector[layout.sections["rows"].cells].sum())
    asked = sum(by_status[status] for status in ASKED)
    failed = sum(by_status[status] for status in FAILED)
    return [
        Measurement("predictions", Interval(float(rows), None, None), rows, counted(rows)),
        _failure("error_rate", failed, asked, policy.failure),
        _failure("fallback_rate", by_status["fallback"], by_status["ok"], policy.fallback),
    ]


def label_coverage(layout: Layout, vector: Counts) -> Measurement:
    """The share of the predicted rows whose label has come. Held against nothing: how much there should be is not known."""
    rows = int(vector[layout.sections["rows"].cells].sum())
    labelled = int(vector[layout.sections["labelled"].cells].sum())
    return Measurement("label_coverage", proportion(labelled, rows), rows, counted(rows))


def _kinds(bins: NumericBins | CategoricalBins) -> dict[str, list[int]]:
    if isinstance(bins, CategoricalBins):
        return {"missing_rate": [len(bins.values) + 2], "unseen_rate": [len(bins.values) + 1]}
    m = len(bins.edges)
    return {"missing_rate": [m + 1], "out_of_range_rate": [*([0] if m else []), m, m + 2, m + 3]}


def _rate(statistic: str, hits: int, n: int, reference_hits: int, reference_n: int) -> Rate:
    """With Fisher's exact test, one-sided: a normal approximation would call a single unseen value significant.

    1 where the rate has not grown, which is never too small and saves the test for nearly every column.
    """
    grown = hits * reference_n > reference_hits * n
    p_value = fisher_greater(hits, n, reference_hits, reference_n) if grown and reference_n else 1.0
    return Rate(statistic, hits, n, reference_hits, reference_n, p_value)


def fisher_greater(hits: int, n: int, reference_hits: int, reference_n: int) -> float:
    """The p-value of Fisher's exact test, one-sided: so many hits in n, or more, where both samples have one rate.

    The upper tail of the hypergeometric distribution, summed from logarithms of beta functions, as
    `scipy.stats.fisher_exact` gives it; importing `scipy.stats` would take half of the time in which a monitor starts.
    """
    whole, marked = n + reference_n, hits + reference_hits
    drawn = np.arange(hits, min(n, marked) + 1, dtype=np.float64)
    tail = _log_choose(marked, drawn) + _log_choose(whole - marked, n - drawn) - _log_choose(whole, float(n))
    return min(1.0, float(np.exp(tail).sum()))


def _log_choose(of: int, taken: Any) -> Any:
    return -np.log1p(of) - betaln(of - taken + 1, taken + 1)


def _rate_status(rate: Rate, alpha: float, gate: Gate, *, significant: bool) -> StatisticStatus:
    """Insufficient where an excess as large as the alarm gate could be chance: `ok` would then mean nothing."""
    if not rate.n or not rate.reference_n:
        return "insufficient"
    usual = rate.reference_hits / rate.reference_n
    nominal = min(max(usual, gate.warn), 1 - gate.warn)
    noise = -ndtri(alpha) * math.sqrt(nominal * (1 - nominal) * (1 / rate.n + 1 / rate.reference_n))
    if noise > gate.alarm:
        return "insufficient"
    return past(gate, rate.hits / rate.n - usual) if significant else "ok"


def _failure(statistic: str, hits: int, n: int, gate: Gate) -> Measurement:
    """Past a gate when the whole interval is; insufficient while a rate at the alarm gate cannot be ruled out either."""
    interval = proportion(hits, n)
    if interval.low is None or interval.high is None:
        return Measurement(statistic, interval, n, "insufficient")
    status = past(gate, interval.low) if interval.low > 0 else "ok"
    return Measurement(
        statistic, interval, n, "insufficient" if status == "ok" and interval.high > gate.alarm else status
    )
