"""The monitor's figures beside those recounted from the log, and whether they agree.

Enters: rows of statistics and recounts. Leaves: one comparison a figure. Never rounds a difference away: counts must be
equal, AUC must lie within the interval that the monitor certifies, the rest within TOLERANCE.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from contracts.statistic import Statistic
from examples.flights.recount import Recount
from examples.flights.versions import Who
from monitor.pages.rows import by_drift, find

TOLERANCE: Final = 1e-5
DRIFT_SHOWN: Final = 3
COUNTS: Final = ("predictions",)
FIGURES: Final = ("label_coverage", "log_loss", "brier", "ece", "precision", "recall")


class Comparison(msgspec.Struct, frozen=True):
    """One figure twice. `low` and `high`: what the recount must lie in, where the monitor only promises an interval."""

    statistic: str
    monitor: float | None
    recounted: float | None
    agrees: bool
    low: float | None = None
    high: float | None = None


class Closing(msgspec.Struct, frozen=True):
    """One version in one variant at the end: the recount, the monitor's rows of the whole model, and how they compare."""

    version: str
    variant: str
    recount: Recount
    comparisons: list[Comparison]
    statistics: list[Statistic]
    drift: list[Statistic]

    @property
    def agrees(self) -> bool:
        """Every figure agrees."""
        return all(comparison.agrees for comparison in self.comparisons)


def closings(recounts: Mapping[Who, Recount], rows: Sequence[Statistic]) -> list[Closing]:
    """One for each version and variant in the log; `rows` are the monitor's over all event time and all traffic."""
    return [_closing(who, counted, rows) for who, counted in recounts.items()]


def all_counted(recounts: Mapping[Who, Recount], rows: Sequence[Statistic]) -> bool:
    """The monitor has counted as many predictions and labels as there are in the log."""
    return all(
        comparison.agrees
        for closing in closings(recounts, rows)
        for comparison in closing.comparisons
        if comparison.statistic in {*COUNTS, "label_coverage"}
    )


def _closing(who: Who, counted: Recount, rows: Sequence[Statistic]) -> Closing:
    variant, version = who
    own = [row for row in rows if (row.version, row.variant, row.slice) == (version, variant, "")]
    comparisons = [
        *(_equal(name, own, getattr(counted, name), 0.0) for name in COUNTS),
        _certified(own, counted.auc),
        *(_equal(name, own, getattr(counted, name), TOLERANCE) for name in FIGURES),
    ]
    of_model = [row for row in own if not row.feature]
    return Closing(version, variant, counted, comparisons, of_model, by_drift(own)[:DRIFT_SHOWN])


def _equal(statistic: str, rows: Sequence[Statistic], recounted: float | None, tolerance: float) -> Comparison:
    row = find(rows, statistic)
    value = None if row is None else row.value
    if value is None or recounted is None:
        return Comparison(statistic, value, recounted, agrees=value is recounted)
    return Comparison(statistic, value, recounted, agrees=abs(value - recounted) <= tolerance)


def _certified(rows: Sequence[Statistic], recounted: float | None) -> Comparison:
    """`auc_bound` is the interval that holds the AUC of the raw scores for certain, whatever the bins hide."""
    row = find(rows, "auc_bound")
    if row is None or row.low is None or row.high is None or recounted is None:
        undefined = row is None or row.value is None
        return Comparison("auc", None, recounted, agrees=undefined and recounted is None)
    # Sums in another order differ in the last bits; no score bin is that narrow.
    inside = row.low - 1e-12 <= recounted <= row.high + 1e-12
    return Comparison("auc", row.value, recounted, agrees=inside, low=row.low, high=row.high)
