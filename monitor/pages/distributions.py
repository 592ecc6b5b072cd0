"""Counts -> the shapes that the report draws: a feature's distribution beside its reference's, and the calibration curve.

Enters: bins and integer counts as `contracts.reference` and `monitor.counts.layout` define them. Leaves: named slots with
shares, and calibration points. Never judges: statuses come from the statistics.
"""

from typing import Final, NamedTuple

import numpy as np

from contracts.reference import CategoricalBins, NumericBins
from monitor.counts.counting import Counts
from monitor.counts.layout import CALIBRATION_BINS, SCALE, Layout
from monitor.measures.drift import display_counts
from monitor.measures.intervals import proportion
from monitor.pages.plots import CalibrationPoint

CATEGORIES_DRAWN: Final = 20
"""The most frequent categories are drawn; the others stand together in one slot."""
CALIBRATION_POINTS: Final = 12


class Distribution(NamedTuple):
    """Shares per named slot, each side summing to 1; `reference` is empty where the bins hold no reference counts."""

    slots: tuple[str, ...]
    reference: tuple[float, ...]
    current: tuple[float, ...]
    n: int


def distribution_of(bins: NumericBins | CategoricalBins, counts: Counts) -> Distribution:
    """The distribution in slots that a person can read; slots that are empty on both sides are left out."""
    baseline = np.asarray(bins.counts, np.int64)
    assert baseline.shape == counts.shape, f"counts of {counts.shape} cells for bins of {baseline.shape}"
    if isinstance(bins, NumericBins):
        names = _numeric_names(bins)
        current, reference = display_counts(bins, counts), display_counts(bins, baseline)
    else:
        names, current, reference = _categorical_slots(bins, counts, baseline)
    kept = np.flatnonzero((current > 0) | (reference > 0))
    shares = _shares(reference[kept])
    return Distribution(tuple(names[i] for i in kept), shares, _shares(current[kept]), int(counts.sum()))


def calibration_of(layout: Layout, vector: Counts) -> list[CalibrationPoint]:
    """Mean prediction and observed rate in `CALIBRATION_POINTS` equal widths of [0, 1]; empty bins are left out.

    Binary: of the positive class; multiclass: of the predicted class. The interval is Wilson's, 95 %. Empty for
    regression and for a version without a task.
    """
    if "calibration_n" not in layout.sections:
        return []
    n, positive, predicted = (
        vector[layout.sections[f"calibration_{part}"].cells].reshape(CALIBRATION_POINTS, -1).sum(axis=1)
        for part in ("n", "positive", "p")
    )
    points = []
    for rows, hits, total in zip(n.tolist(), positive.tolist(), predicted.tolist(), strict=True):
        observed, low, high = proportion(hits, rows)
        if observed is not None and low is not None and high is not None:
            points.append(CalibrationPoint(total / SCALE / rows, observed, low, high, rows))
    return points


def _shares(counts: Counts) -> tuple[float, ...]:
    total = int(counts.sum())
    return tuple((counts / total).tolist()) if total else ()


def _numeric_names(bins: NumericBins) -> list[str]:
    """The names of the cells of `display_counts`, each numeric one by its upper edge."""
    edges = [bins.edges[index] for index in bins.display]
    names = ["below" if bins.display[:1] == (0,) else f"≤ {edge:.4g}" for edge in edges[:1]]
    names += [f"≤ {edge:.4g}" for edge in edges[1:]]
    above = "above" if bins.display[-1:] == (len(bins.edges) - 1,) else f"> {edges[-1]:.4g}" if edges else "any value"
    return [*names, above, "missing", "-inf", "+inf"]


def _categorical_slots(bins: CategoricalBins, counts: Counts, baseline: Counts) -> tuple[list[str], Counts, Counts]:
    known = len(bins.values)
    weight = _weights(counts) + _weights(baseline)
    order = sorted(range(known), key=lambda cell: (-weight[cell], cell))
    drawn, rest = _in_reading_order(bins, order[:CATEGORIES_DRAWN]), order[CATEGORIES_DRAWN:]
    names = [bins.values[cell] for cell in drawn]
    cells = [*([cell] for cell in drawn), *([rest] if rest else []), [known], [known + 1], [known + 2]]
    names += [f"{len(rest)} more"] if rest else []
    gathered = [np.array([side[group].sum() for group in cells], np.int64) for side in (counts, baseline)]
    return [*names, "other", "unseen", "missing"], gathered[0], gathered[1]


def _in_reading_order(bins: CategoricalBins, drawn: list[int]) -> list[int]:
    """Numbers by size, as on any axis; names by frequency, as they came."""
    try:
        return sorted(drawn, key=lambda cell: float(bins.values[cell]))
    except ValueError:
        return drawn


def _weights(counts: Counts) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return counts / max(int(counts.sum()), 1)


assert CALIBRATION_BINS % CALIBRATION_POINTS == 0, "calibration bins merge evenly into drawn points"
