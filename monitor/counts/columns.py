"""One column of a batch of records -> the cell of every value, for the whole batch at once.

Enters: bins, and values as records hold them. Leaves: one cell a value, and how many values were of a type the bins
cannot take: those are missing (numeric) or unseen (categories), never an exception. Nothing is coerced: the string
"1.5" is not a number. Cells are those of `monitor.counts.binning`, by which the reference was counted; what is added
here is the check of every value's type, and speed.
"""

from array import array
from collections.abc import Sequence
from itertools import repeat
from types import NoneType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.reference import CategoricalBins, NumericBins
from monitor.counts.binning import category_of, index_of, numeric_cells

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_NUMERIC: Final = frozenset({float, int, bool, NoneType})
_TEXTUAL: Final = frozenset({str, NoneType})
_SCALAR: Final = _NUMERIC | _TEXTUAL
_NAMED_NUMBERS: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}


class NumericColumn(NamedTuple):
    """How a column of numbers is counted."""

    edges: Floats


class CategoricalColumn(NamedTuple):
    """How a column of categories is counted: category -> cell; None is missing."""

    cells: dict[str | None, int]
    unseen: int


Column = NumericColumn | CategoricalColumn


class Binned(NamedTuple):
    """The cell of every value: [n]; `wrong_types` of the values were of a type that these bins cannot take."""

    cells: Ints
    wrong_types: int


def column_of(bins: NumericBins | CategoricalBins) -> Column:
    """The bins, made ready for many columns."""
    if isinstance(bins, NumericBins):
        return NumericColumn(np.array(bins.edges, np.float64))
    return CategoricalColumn(index_of(bins), len(bins.values) + 1)


def bin_values(column: Column, values: list[Any]) -> Binned:
    """The cells of one column."""
    if isinstance(column, CategoricalColumn):
        return _bin_categories(column, values)
    numbers, wrong = parse_numbers(values)
    return Binned(bin_numbers(column, numbers), wrong)


def bin_numeric(columns: Sequence[NumericColumn], numbers: Floats, cells: Ints) -> None:
    """Put the cells of `numbers` into `cells`, both [columns, n]; NaN is missing.

    As `bin_numbers` of each column, but what is not finite is looked for in all of them at once.
    """
    finite = usable_rows(numbers)
    for i, column in enumerate(columns):
        own = numbers[i]
        cells[i] = column.edges.searchsorted(own) if finite[i] else numeric_cells(column.edges, own)


def bin_numbers(column: Column, numbers: Floats) -> Ints:
    """The cells of numbers that are at hand as float64: [n]."""
    if isinstance(column, NumericColumn):
        return numeric_cells(column.edges, numbers)
    return _bin_categories(column, numbers.tolist()).cells


def parse_numbers(values: list[Any]) -> tuple[Floats, int]:
    """The values as float64 [n], null as NaN, and how many were no number at all (they are NaN too).

    Booleans are 0 and 1; integers beyond float64 are infinities.
    """
    try:
        return np.asarray(array("d", values)), 0  # takes numbers and nothing else, at twice the speed of looking first
    except (TypeError, OverflowError):
        pass
    parsed = [_number(value) for value in values]
    return np.array([np.nan if number is None else number for number in parsed], np.float64), parsed.count(None)


def usable_rows(values: Floats) -> Bools:
    """Which rows of [rows, values] are finite numbers throughout: [rows]."""
    return np.asarray(np.isfinite(values).all(axis=1))


def _number(value: Any) -> float | None:
    if value is None:
        return np.nan
    if isinstance(value, str):
        return _NAMED_NUMBERS.get(value)
    if not isinstance(value, float | int):
        return None
    try:
        return float(value)
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _bin_categories(column: CategoricalColumn, values: list[Any]) -> Binned:
    kinds = set(map(type, values))
    categories, wrong = values, 0
    if not kinds <= _TEXTUAL:
        wrong = 0 if kinds <= _SCALAR else sum(type(value) not in _SCALAR for value in values)
        categories = [value if type(value) is str else category_of(value) for value in values]
    cells = map(column.cells.get, categories, repeat(column.unseen))
    return Binned(np.fromiter(cells, np.int64, len(values)), wrong)
