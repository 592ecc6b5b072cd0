"""Counts -> how far features and predictions have moved from the reference, and whether that can be chance.

Enters: the bins of every column with the reference's counts and the current ones. Leaves: measurements with statuses. Pure:
no clock, no disk.

The alarm rule. Every column has up to four tests: chi-square over its display cells, Kolmogorov-Smirnov (numeric), and its
two rates. Benjamini-Hochberg at `policy.alpha` over all of them says which are significant: with no change anywhere, a
window shows any with probability at most alpha (the tests of one window are positively dependent or independent). A
significant statistic warns or alarms when it also passes its gate. A statistic is insufficient while the least effect that
could be significant is above its warning gate: then silence would mean nothing. PSI and JS share the chi-square test of the
cells they are taken over, Wasserstein that of Kolmogorov-Smirnov.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from contracts.reference import CategoricalBins, NumericBins
from contracts.statistic import StatisticStatus
from monitor.counts.counting import Counts
from monitor.measures.distances import Distances, chi_square, detectable_psi, distances
from monitor.measures.ecdf import KolmogorovSmirnov, detectable_ks, kolmogorov_smirnov, wasserstein
from monitor.measures.intervals import Interval
from monitor.measures.measurement import Measurement, counted, past
from monitor.measures.policy import Gate, MonitorPolicy
from monitor.measures.quality import Rate, measure_rate, rates


class Column(NamedTuple):
    """One column to compare: a feature, or the predictions under the name `prediction`; counts one a cell."""

    name: str
    bins: NumericBins | CategoricalBins
    reference: Counts
    current: Counts


class Comparison(NamedTuple):
    """What was found in one column before it is known which p-values of the window are significant."""

    column: Column
    distances: Distances
    p_value: float
    ks: KolmogorovSmirnov | None
    wasserstein: Interval | None
    rates: list[Rate]

    @property
    def p_values(self) -> list[float]:
        """Of all tests of this column: chi-square, the rates, Kolmogorov-Smirnov where there is an order."""
        return [self.p_value, *(rate.p_value for rate in self.rates), *([self.ks.p_value] if self.ks else [])]


def drift(columns: Iterable[Column], policy: MonitorPolicy) -> list[Measurement]:
    """All statistics of drift and of input quality of one window."""
    comparisons = [compare(column) for column in columns]
    p_values = [p_value for comparison in comparisons for p_value in comparison.p_values]
    if not p_values:
        return []
    limit = largest_significant(p_values, policy.alpha)
    alpha = policy.alpha / len(p_values)
    return [found for comparison in comparisons for found in _measure(comparison, limit, alpha, policy)]


def compare(column: Column) -> Comparison:
    """One column against its reference."""
    bins, reference, current = column.bins, column.reference, column.current
    shown = display_counts(bins, reference), display_counts(bins, current)
    numeric = bins if isinstance(bins, NumericBins) else None
    return Comparison(
        column=column,
        distances=distances(*shown),
        p_value=chi_square(*shown),
        ks=kolmogorov_smirnov(numeric, reference, current) if numeric else None,
        wasserstein=wasserstein(numeric, reference, current) if numeric else None,
        rates=rates(bins, reference, current),
    )


def display_counts(bins: NumericBins | CategoricalBins, counts: Counts) -> Counts:
    """The cells that PSI is taken over: below, the display bins, above, missing, -infinity, +infinity; or every category."""
    if isinstance(bins, CategoricalBins):
        return counts
    m = len(bins.edges)
    starts = [0, *(index + 1 for index in bins.display), m + 1, m + 2, m + 3]
    return np.add.reduceat(counts, starts)


def largest_significant(p_values: list[float], alpha: float) -> float:
    """The largest p-value that Benjamini-Hochberg (1995) calls significant at `alpha`; -1 where none is."""
    ranked = np.sort(np.asarray(p_values))
    passed = np.flatnonzero(ranked <= alpha * np.arange(1, len(ranked) + 1) / len(ranked))
    return float(ranked[passed[-1]]) if len(passed) else -1.0


def _measure(comparison: Comparison, limit: float, alpha: float, policy: MonitorPolicy) -> list[Measurement]:
    name = comparison.column.name
    found = _measure_distances(comparison, limit, alpha, policy)
    if comparison.ks is not None and comparison.wasserstein is not None:
        found += _measure_order(name, comparison.ks, comparison.wasserstein, limit, alpha, policy)
    return found + [
        measure_rate(rate, name, alpha, policy, significant=rate.p_value <= limit) for rate in comparison.rates
    ]


def _measure_distances(comparison: Comparison, limit: float, alpha: float, policy: MonitorPolicy) -> list[Measurement]:
    """PSI and JS are judged, each against its own noise floor; the others show the same on other scales."""
    of, name = comparison.distances, comparison.column.name
    least = detectable_psi(of.n, of.m, of.cells, alpha)
    significant = comparison.p_value <= limit
    js_floor = None if least is None else math.sqrt(least / (8 * math.log(2)))
    plain = (
        ("hellinger", of.hellinger),
        ("tvd", _bare(of.tvd)),
        ("l_infinity", _bare(of.l_infinity)),
        ("psi_debiased", _bare(of.psi_debiased)),
        ("psi_p_value", _bare(comparison.p_value if of.n and of.m else None)),
        ("min_detectable_psi", _bare(least)),
    )
    return [
        Measurement("psi", of.psi, of.n, _status(of.psi, policy.psi, least, significant=significant), name),
        Measurement("js", of.js, of.n, _status(of.js, policy.js, js_floor, significant=significant), name),
        *(Measurement(statistic, interval, of.n, counted(min(of.n, of.m)), name) for statistic, interval in plain),
    ]


def _measure_order(
    name: str, ks: KolmogorovSmirnov, shift: Interval, limit: float, alpha: float, policy: MonitorPolicy
) -> list[Measurement]:
    floor, significant = detectable_ks(ks.n, ks.m, alpha), ks.p_value <= limit
    ks_status = _status(ks.distance, policy.ks, floor, significant=significant)
    seen = 0.0 if ks_status != "insufficient" else None
    return [
        Measurement("ks", ks.distance, ks.n, ks_status, name),
        Measurement(
            "wasserstein", shift, ks.n, _status(shift, policy.wasserstein, seen, significant=significant), name
        ),
    ]


def _status(interval: Interval, gate: Gate, floor: float | None, *, significant: bool) -> StatisticStatus:
    if interval.value is None or floor is None or floor > gate.warn:
        return "insufficient"
    return past(gate, interval.value) if significant else "ok"


def _bare(value: float | None) -> Interval:
    return Interval(value, None, None)
