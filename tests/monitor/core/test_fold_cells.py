"""Every value of a batch lands in the cell that a naive look at every edge gives it, whatever its type."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.reference import CategoricalBins, NumericBins
from monitor.counts.binning import cells_of_column
from monitor.counts.columns import bin_numeric, bin_values, column_of, parse_numbers

EDGES = (-1.5, -0.0, 0.1, np.float32(0.1).item(), 2.5, 1e30)
near = st.sampled_from(EDGES).flatmap(
    lambda edge: st.sampled_from([edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf)])
)
plain = near | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.booleans() | st.none()
odd = st.sampled_from(["Infinity", "-Infinity", "NaN", "1.5", "", "inf", [1.0], {"a": 1}, 10**400, -(10**400)])
VALUES = ("a", "b", "true", "7", "1.5", "")
TAIL = ("rare", "8")
categories = (
    st.sampled_from([*VALUES, *TAIL, "new", 7, 7.0, 8, 8.0, 1.5, 9, True, False, None, "7.0", [7], {}, 10**30, -0.0])
    | st.text(max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False)
)


def numeric(edges=EDGES):
    return NumericBins(edges=edges, display=(), counts=(0,) * (len(edges) + 4), mean=None, std=None)


def categorical():
    return CategoricalBins(values=VALUES, tail=TAIL, counts=(0,) * (len(VALUES) + 3))


def oracle_numeric(world, value):
    if isinstance(value, int) and abs(value) > 10**308:
        return len(EDGES) + (2 if value < 0 else 3)
    return world.oracle_cell(numeric(), value)


@given(values=st.lists(plain) | st.lists(plain | odd))
def test_numbers_are_counted_as_an_oracle_that_looks_at_every_edge(world, values):
    binned = bin_values(column_of(numeric()), values)

    assert binned.cells.tolist() == [oracle_numeric(world, value) for value in values]
    named = {"Infinity", "-Infinity", "NaN"}
    wrong = [v for v in values if (isinstance(v, str) and v not in named) or isinstance(v, list | dict)]
    assert binned.wrong_types == len(wrong)


@given(values=st.lists(categories))
def test_categories_are_counted_as_an_oracle_that_looks_at_every_value(world, values):
    binned = bin_values(column_of(categorical()), values)

    assert binned.cells.tolist() == [world.oracle_cell(categorical(), value) for value in values]
    assert binned.wrong_types == sum(isinstance(value, list | dict) for value in values)


@given(st.lists(st.lists(near | st.sampled_from([math.nan, math.inf, -math.inf]), min_size=4, max_size=4), max_size=5))
def test_many_columns_at_once_are_counted_as_each_alone(columns):
    numbers = np.array(columns, np.float64).reshape(len(columns), 4)
    column, cells = column_of(numeric()), np.empty((len(columns), 4), np.int64)

    bin_numeric([column] * len(columns), numbers, cells)

    assert cells.tolist() == [cells_of_column(numeric(), own).tolist() for own in numbers]


@given(st.lists(st.floats(width=32), max_size=20))
def test_traffic_and_training_data_land_in_the_same_cells(values):
    as_logged = [None if math.isnan(v) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(v, v) for v in values]

    traffic = bin_values(column_of(numeric()), as_logged).cells

    assert traffic.tolist() == cells_of_column(numeric(), np.array(values, np.float32)).tolist()


@pytest.mark.parametrize("bins", [numeric(()), numeric((1.0,))])
def test_bins_with_hardly_an_edge_still_have_a_cell_for_everything(bins):
    m = len(bins.edges)

    cells = bin_values(column_of(bins), [0.0, 2.0, None, "-Infinity", "Infinity"]).cells.tolist()

    assert cells == [0, m, m + 1, m + 2, m + 3]


def test_a_string_is_never_taken_for_a_number():
    numbers, wrong = parse_numbers(["1", "0x10", " 2 ", "1_0", 3])

    assert wrong == 4
    assert np.isnan(numbers[:4]).all()
    assert numbers[4] == 3.0


def test_an_all_null_column_is_all_missing():
    assert bin_values(column_of(numeric()), [None] * 3).cells.tolist() == [len(EDGES) + 1] * 3
    assert bin_values(column_of(categorical()), [None] * 3).cells.tolist() == [len(VALUES) + 2] * 3
