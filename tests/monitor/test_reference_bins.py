"""Bins of a column: right-closed at quantiles, atoms apart, the same for float32 and float64, never an exception."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from contracts.reference import CATEGORIES_MAX, DISPLAY_BINS, FINE_BINS, CategoricalBins, NumericBins
from contracts.wire import decode, encode
from monitor.counts.binning import category_of, cells_of_column, just_under
from monitor.counts.layout import cells_of
from monitor.measures.drift import display_counts
from monitor.references.reference_bins import TAIL_MAX, bins_of, numeric_bins


def test_edges_are_quantiles_and_cumulative_counts_are_the_distribution_function():
    random = np.random.default_rng(0)
    values = random.normal(size=4800).astype(np.float32).astype(float)
    bins = bins_of(values)

    assert len(bins.edges) == FINE_BINS + 1
    assert bins.counts[1 : len(bins.edges)] == (20,) * FINE_BINS
    for edge, cumulative in zip(bins.edges, np.cumsum(bins.counts), strict=False):
        assert cumulative == (values <= edge).sum()
    odd = bins_of(values[:4799])
    assert odd.edges[1:] == tuple(np.quantile(values[:4799], np.arange(1, 241) / 240, method="inverted_cdf").tolist())
    assert (bins.mean, bins.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))


def test_the_display_bins_hold_a_twentieth_each():
    bins = bins_of(np.random.default_rng(0).normal(size=4800))
    assert display_counts(bins, np.asarray(bins.counts)).tolist() == [0] + [240] * DISPLAY_BINS + [0, 0, 0, 0]


def test_below_above_missing_and_infinities_have_cells_of_their_own():
    bins = bins_of(np.linspace(0, 1, 1000))
    m = len(bins.edges)
    values = [0.0, 1.0, -1e-9, 1.0 + 1e-6, None, "NaN", math.nan, "-Infinity", "Infinity", "text"]
    assert cells_of_column(bins, values).tolist() == [1, m - 1, 0, m, m + 1, m + 1, m + 1, m + 2, m + 3, m + 1]
    assert bins.edges[0] < 0.0 < bins.edges[1]


def test_an_atom_has_a_bin_that_holds_nothing_else():
    values = np.concatenate([np.zeros(400), np.random.default_rng(0).normal(size=600)])
    bins = bins_of(values)
    cell = cells_of_column(bins, [0.0])[0]
    assert bins.counts[cell] == 400
    assert cells_of_column(bins, [5e-324, -5e-324, -0.0]).tolist() == [cell + 1, cell - 1, cell]


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, -0.3, 1e-30, 123456.789, -98765.4321])
def test_a_value_that_the_model_sees_as_float32_falls_into_the_bin_of_the_float64_it_was(value):
    for reference in (np.linspace(-2 * abs(value), 2 * abs(value), 997), np.array([value])):
        bins = bins_of(np.append(np.full(50, value), reference))
        as_double, as_single = cells_of_column(bins, [value, float(np.float32(value))]).tolist()
        assert as_double == as_single
        assert bins.counts[as_double] >= 50


def test_a_threshold_is_an_edge_even_outside_the_scores():
    scores = np.random.default_rng(0).uniform(0.2, 0.4, 3000)
    for threshold in (0.1, 0.3, 0.5):
        bins = numeric_bins(scores, 1000, (threshold,))
        assert just_under(threshold) in bins.edges
        above = bins.edges.index(just_under(threshold)) + 1
        assert sum(bins.counts[above : len(bins.edges) + 1]) == (scores >= threshold).sum()
        assert bins.display[0] == 0
        assert bins.display[-1] == len(bins.edges) - 1


def test_text_booleans_and_declared_columns_are_categories_and_amounts_are_not():
    random = np.random.default_rng(0)
    assert isinstance(bins_of(["a", None, "b"]), CategoricalBins)
    assert isinstance(bins_of([True, False, None]), CategoricalBins)
    assert isinstance(bins_of(np.array([True, False])), CategoricalBins)
    assert isinstance(bins_of(random.integers(1, 13, 5000)), CategoricalBins)
    assert isinstance(bins_of(np.append(random.integers(1, 13, 5000), np.nan)), CategoricalBins)
    assert isinstance(bins_of(random.integers(0, 24, 5000)), NumericBins)
    assert isinstance(bins_of(random.integers(0, 24, 5000), categorical=True), CategoricalBins)
    assert isinstance(bins_of(random.choice([0.1, 0.25, 7.5], 5000)), NumericBins)
    assert isinstance(bins_of([3, 1, 2]), NumericBins)
    assert isinstance(bins_of(np.append(random.integers(1, 5, 500), np.inf)), NumericBins)


def test_a_whole_number_is_one_category_however_it_is_written():
    bins = bins_of(np.array([5, 7, 7] * 100))
    assert bins.values == ("7", "5")
    assert cells_of_column(bins, [5, 5.0, np.float32(5), np.int64(5), "5", 7.0]).tolist() == [1, 1, 1, 1, 1, 0]
    assert cells_of_column(bins, [5.5, True, 6, None, math.nan]).tolist() == [3, 3, 3, 4, 4]
    assert [category_of(value) for value in (True, 1, 1.0, 0.1, "x", None, math.inf, [1, "a"])] == [
        *("true", "1", "1", "0.1", "x", None, "Infinity", '[1,"a"]')
    ]


def test_rare_categories_are_the_tail_and_what_is_not_even_there_is_unseen():
    values = [f"c{i % 60}" for i in range(60_000)] + ["rare"] * 3 + [None] * 10
    bins = bins_of(values)
    assert len(bins.values) == CATEGORIES_MAX
    assert "rare" in bins.tail
    assert len(bins.tail) == 11
    known = len(bins.values)
    assert cells_of_column(bins, ["rare", "new", None]).tolist() == [known, known + 1, known + 2]
    assert bins.counts[-3:] == (10_000 + 3, 0, 10)


def test_identifiers_beyond_the_tails_bound_are_unseen_in_the_reference_too():
    bins = bins_of([f"id{i}" for i in range(TAIL_MAX + 500)])
    assert len(bins.tail) == TAIL_MAX
    assert bins.counts[-2] == 500


def test_a_column_without_values_and_a_constant_one_have_bins():
    empty = bins_of([None, math.nan])
    assert (empty.edges, empty.counts, empty.mean, empty.std) == ((), (0, 2, 0, 0), None, None)
    assert cells_of_column(empty, [1.0, None, math.inf]).tolist() == [0, 1, 3]
    constant = bins_of(np.full(5, 0.1))
    assert len(constant.edges) == 2
    assert sum(constant.counts) == constant.counts[1] == 5


@settings(deadline=None, max_examples=300)
@given(arrays(np.float64, st.integers(0, 60), elements=st.floats(width=64)))
def test_any_column_of_floats_is_counted_whole_and_survives_json(values):
    bins = numeric_bins(values, FINE_BINS, (0.5,))
    assert len(bins.counts) == cells_of(bins)
    assert sum(bins.counts) == len(values)
    assert list(bins.edges) == sorted(set(bins.edges))
    assert all(math.isfinite(edge) for edge in bins.edges)
    assert decode(NumericBins, encode(bins)) == bins
    beyond = bins.counts[0] + bins.counts[len(bins.edges)]
    assert beyond == (values[np.isfinite(values)] == -np.finfo(float).max).sum()
    assert np.bincount(cells_of_column(bins, values.tolist()), minlength=len(bins.counts)).tolist() == list(bins.counts)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)), max_size=40))
def test_any_column_of_json_values_has_bins_that_take_it(values):
    bins = bins_of(values)
    cells = cells_of_column(bins, values)
    assert len(cells) == len(values)
    assert np.bincount(cells, minlength=cells_of(bins)).tolist() == list(bins.counts)
