"""A column of training data -> the bins that it is counted in from then on, with its own counts.

Enters: one column. Leaves: numeric or categorical bins. Pure.

Edges are quantiles of the reference, rounded up to float32: where training data are float64 and the model sees float32, a
value and its rounded self still fall into the same bin; whole numbers are exact. A value that holds at least one bin's worth
of the rows (an atom, such as 0) has a bin of its own, bounded below by the float just under it.

A column is categorical when it is text or booleans, when it is declared so, or when it is whole numbers of few different
values, each often repeated: those are codes (a month, a class of service) more often than amounts. Few different
fractional values stay numeric, for 0.1 as float32 and as float64 would be two categories; as atoms they keep a bin each.
"""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from contracts.reference import CATEGORIES_MAX, DISPLAY_BINS, FINE_BINS, CategoricalBins, NumericBins
from monitor.counts.binning import (
    Cells,
    Floats,
    Values,
    categorical_cells,
    category_of,
    index_of,
    just_under,
    numbers_of,
    numeric_cells,
)
from monitor.counts.layout import cells_of

CODES_MAX: Final = 20
"""Whole numbers of at most this many different values are codes."""
CODE_ROWS_MIN: Final = 10
"""Rows per different value, on average, below which few values may just be few rows."""
CATEGORY_SHARE_MIN: Final = 0.001
"""A rarer value is counted among the others."""
TAIL_MAX: Final = 10_000
"""Rarer values that the reference remembers; beyond, they count as unseen, in the reference's own counts too."""


def bins_of(values: Values, *, categorical: bool = False) -> NumericBins | CategoricalBins:
    """The bins of a feature."""
    if categorical or is_categorical(values):
        return categorical_bins(values)
    return numeric_bins(numbers_of(values), FINE_BINS)


def is_categorical(values: Values) -> bool:
    """Whether a column that nothing was declared of holds categories."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        kinds = {type(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)}
        if str in kinds or kinds - {type(None)} == {bool}:
            return True
    numbers = numbers_of(values)
    present = numbers[~np.isnan(numbers)]
    distinct = np.unique(present)
    whole = bool(np.isfinite(distinct).all()) and bool((distinct == np.rint(distinct)).all())
    return whole and 0 < len(distinct) <= CODES_MAX and len(present) >= CODE_ROWS_MIN * len(distinct)


def categorical_bins(values: Values) -> CategoricalBins:
    """The most frequent values first, at most `CATEGORIES_MAX` of at least `CATEGORY_SHARE_MIN`; ties by name."""
    plain: list[Any] = values.tolist() if isinstance(values, np.ndarray) else list(values)
    tally: dict[str, int] = {}
    for value in plain:
        category = category_of(value)
        if category is not None:
            tally[category] = tally.get(category, 0) + 1
    ranked = sorted(tally, key=lambda category: (-tally[category], category))
    frequent = [category for category in ranked if tally[category] >= CATEGORY_SHARE_MIN * len(plain)][:CATEGORIES_MAX]
    tail = ranked[len(frequent) : len(frequent) + TAIL_MAX]
    bins = CategoricalBins(values=tuple(frequent), tail=tuple(tail), counts=())
    return counted_categories(bins, values)


def counted_categories(bins: CategoricalBins, values: Values) -> CategoricalBins:
    """The same bins with the counts of these values."""
    counts = tally_of(categorical_cells(index_of(bins), values), cells_of(bins))
    return CategoricalBins(values=bins.values, tail=bins.tail, counts=counts)


def numeric_bins(numbers: Floats, fine: int, thresholds: tuple[float, ...] = ()) -> NumericBins:
    """About `fine` bins of equal counts, `DISPLAY_BINS` of them together for display, over the finite numbers.

    Each decision threshold t is an edge too, as the float just under it: `x >= t` is then a sum of whole cells. A
    threshold outside the numbers moves the outermost edge.
    """
    finite = np.sort(numbers[np.isfinite(numbers)])
    cuts = np.array([just_under(threshold) for threshold in thresholds], np.float64)
    quantiles, floors = _edges_of(finite, fine) if len(finite) else (np.zeros(0), np.zeros(0))
    edges = np.unique(np.concatenate([floors, quantiles, cuts])) + 0.0
    step = fine // DISPLAY_BINS
    shown = np.searchsorted(edges, quantiles[step - 1 :: step])
    display = sorted({0, *shown.tolist(), len(edges) - 1}) if len(edges) else []
    return NumericBins(
        edges=tuple(edges.tolist()),
        display=tuple(display),
        counts=tally_of(numeric_cells(edges, numbers), len(edges) + 4),
        mean=_finite(finite, np.mean),
        std=_finite(finite, np.std),
    )


def tally_of(cells: Cells, size: int) -> tuple[int, ...]:
    """How many of the cells are each of 0 to size - 1."""
    return tuple(np.bincount(cells, minlength=size).tolist())


def _edges_of(finite: Floats, fine: int) -> tuple[Floats, Floats]:
    """The upper edges, at quantiles i / fine; and the edges just under the minimum and under each atom.

    `finite` is sorted. The quantiles are those of `numpy.quantile(method="inverted_cdf")`, but by whole numbers: 23 / 240 of
    4800 values as floats is a little more than 460.
    """
    quantiles = finite[(len(finite) * np.arange(1, fine + 1) + fine - 1) // fine - 1]
    values, counts = np.unique(finite, return_counts=True)
    atoms = values[counts * fine >= len(finite)]
    with np.errstate(over="ignore"):
        lowest = np.nextafter(_rounded(np.append(values[:1], atoms), -np.inf), -np.inf)
    return _rounded(quantiles, np.inf), np.maximum(lowest, np.finfo(np.float64).min)


def _rounded(numbers: Floats, towards: float) -> Floats:
    """The nearest float32 that is not on the wrong side; numbers beyond float32 stay as they are."""
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
        beyond = np.nextafter(single, np.float32(towards))
    wrong = single < numbers if towards > 0 else single > numbers
    rounded = np.where(wrong, beyond, single).astype(np.float64)
    return np.where(np.isfinite(rounded), rounded, numbers)


def _finite(numbers: Floats, moment: Callable[[Floats], Any]) -> float | None:
    """A moment of the numbers; null where there are none or where it is beyond float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = float(moment(numbers)) if len(numbers) else math.nan
    return found if math.isfinite(found) else None
