"""Values -> cells: in which cell of its bins each value is counted.

Enters: bins, and a column of values as records hold them (lists of JSON values) or as training data do (arrays). Leaves:
one cell a value. Never counts, never raises on a value: what a bin cannot take is missing (numeric) or unseen (categories).

The reference is counted by these same functions, so a value lands in the same cell at training time and in traffic.
"""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
import numpy as np

from contracts.reference import CategoricalBins, NumericBins
from monitor.counts.layout import CALIBRATION_BINS

Cells: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
Values: TypeAlias = Sequence[Any] | np.ndarray[Any, Any]


def cells_of_column(bins: NumericBins | CategoricalBins, values: Values) -> Cells:
    """The cell of each value: [n] int64, cells as `contracts.reference` numbers them."""
    if isinstance(bins, NumericBins):
        return numeric_cells(np.asarray(bins.edges, np.float64), numbers_of(values))
    return categorical_cells(index_of(bins), values)


def numeric_cells(edges: Floats, numbers: Floats) -> Cells:
    """Right-closed: cell i holds (edges[i-1], edges[i]]; then below, above, missing, -infinity, +infinity."""
    m = len(edges)
    cells = np.searchsorted(edges, numbers, side="left").astype(np.int64)
    if not np.isfinite(numbers).all():
        cells[np.isnan(numbers)] = m + 1
        cells[np.isneginf(numbers)] = m + 2
        cells[np.isposinf(numbers)] = m + 3
    return cells


def index_of(bins: CategoricalBins) -> dict[str | None, int]:
    """Category -> cell; made once, used for many columns. None is missing; what is not in it is unseen."""
    known = len(bins.values)
    return dict.fromkeys(bins.tail, known) | {value: i for i, value in enumerate(bins.values)} | {None: known + 2}


def categorical_cells(index: dict[str | None, int], values: Values) -> Cells:
    """The cell of each value under an index of `index_of`."""
    unseen = index[None] - 1
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    cells = (index.get(value if type(value) is str else category_of(value), unseen) for value in plain)
    return np.fromiter(cells, np.int64, len(plain))


def category_of(value: Any) -> str | None:
    """The category that a value stands for: as JSON writes it; None for null and NaN.

    A whole number is written without a fraction, so 5 and 5.0 are one category; true and 1 are two.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, np.generic):
        return category_of(value.item())
    if isinstance(value, float):
        if not math.isfinite(value):
            return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return str(int(value)) if value.is_integer() else repr(value)
    return msgspec.json.encode(value, enc_hook=repr).decode()


def numbers_of(values: Values) -> Floats:
    """The values as float64; null, and whatever is no number, is NaN; "Infinity" and "-Infinity" are infinities."""
    try:
        numbers = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        numbers = np.array([_number(value) for value in values], np.float64)
    return numbers if numbers.ndim == 1 else np.full(len(values), np.nan)


def calibration_cells(p: Floats) -> Cells:
    """The calibration bin of each probability: equal widths of [0, 1], left-closed, 1.0 in the last; NaN is not allowed."""
    return np.clip((p * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)


def just_under(threshold: float) -> float:
    """The edge that makes `p >= threshold` a sum of whole cells.

    Bins are right-closed and no float64 lies between this edge and the threshold, so p > edge and p >= threshold say the
    same of every float64, and of every float32 (which float64 holds exactly).
    """
    return float(np.nextafter(threshold, -math.inf))


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
