"""KS and Wasserstein of the raw values lie in the intervals that the counts allow, whatever the values are."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, wasserstein_distance

from contracts.reference import FINE_BINS
from monitor.counts.binning import numeric_cells
from monitor.measures.ecdf import ascending, detectable_ks, kolmogorov_smirnov, single_valued, wasserstein
from monitor.references.reference_bins import numeric_bins

TINY = 1e-9


def values(random, n):
    """A column of one of several characters, with ties, atoms, missing values and infinities thrown in."""
    kind = random.integers(8)
    scale, shift = random.exponential(2.0), random.normal()
    found = {
        0: lambda: random.normal(shift, scale, n),
        1: lambda: random.lognormal(shift, min(scale, 3.0), n),
        2: lambda: random.poisson(3.0 * scale, n).astype(float),
        3: lambda: np.round(random.normal(shift, scale, n), 1),
        4: lambda: np.where(random.random(n) < 0.6, 0.0, random.exponential(scale, n)),
        5: lambda: np.full(n, np.round(shift, 2)),
        6: lambda: random.standard_cauchy(n) * 1e6,
        7: lambda: random.random(n).astype(np.float32).astype(float),
    }[int(kind)]()
    for special in (np.nan, np.inf, -np.inf):
        if random.random() < 0.3:
            found[random.random(n) < 0.1] = special
    return found


def counted(bins, numbers):
    return np.bincount(numeric_cells(np.asarray(bins.edges), numbers), minlength=len(bins.edges) + 4)


def pair(random):
    """A reference and current values that are sometimes of its kind and sometimes of another."""
    reference = values(random, int(random.integers(1, 3000)))
    current = random.choice(reference, int(random.integers(1, 2000)))
    if random.random() < 0.7:
        current = np.concatenate([current, values(random, int(random.integers(1, 2000)))])
    return reference, current


@pytest.mark.parametrize("block", range(6))
def test_the_exact_ks_lies_in_the_certified_interval(block):
    random, compared = np.random.default_rng(block), 0
    for _ in range(100):
        reference, current = pair(random)
        bins = numeric_bins(reference, FINE_BINS)
        found = kolmogorov_smirnov(bins, np.asarray(bins.counts), counted(bins, current))
        kept = reference[~np.isnan(reference)], current[~np.isnan(current)]
        if not len(kept[0]) or not len(kept[1]):
            assert found.distance == (None, None, None)
            continue
        exact = ks_2samp(*kept, method="asymp")
        assert found.distance.low - TINY <= exact.statistic <= found.distance.high + TINY
        assert found.distance.value == found.distance.low
        assert found.p_value >= exact.pvalue - TINY
        assert (found.m, found.n) == (len(kept[0]), len(kept[1]))
        compared += 1
    assert compared >= 85


def test_ks_is_exact_where_every_value_has_a_bin_of_its_own():
    random = np.random.default_rng(1)
    for _ in range(50):
        reference, current = random.integers(0, 40, 2000).astype(float), random.integers(0, 40, 300).astype(float)
        bins = numeric_bins(reference, FINE_BINS)
        found = kolmogorov_smirnov(bins, np.asarray(bins.counts), counted(bins, current))

        assert found.distance.low == pytest.approx(ks_2samp(reference, current).statistic)
        assert found.distance.high == pytest.approx(found.distance.low)


def test_the_interval_is_narrow_even_for_a_heavy_tail():
    random = np.random.default_rng(2)
    reference, current = random.lognormal(0, 3, 100_000), random.lognormal(0.9, 3, 50_000)
    bins = numeric_bins(reference, FINE_BINS)
    found = kolmogorov_smirnov(bins, np.asarray(bins.counts), counted(bins, current))

    assert found.distance.high - found.distance.low < 0.006


def test_the_exact_wasserstein_of_values_within_the_range_lies_between_its_ends():
    random, closed, compared = np.random.default_rng(3), 0, 0
    for _ in range(300):
        reference, current = pair(random)
        bins = numeric_bins(reference, FINE_BINS)
        found = wasserstein(bins, np.asarray(bins.counts), counted(bins, current))
        finite = reference[np.isfinite(reference)], current[np.isfinite(current)]
        if not bins.std or not len(finite[1]):
            assert found == (None, None, None)
            continue
        inside = np.clip(finite[1], bins.edges[0], bins.edges[-1])
        clipped = wasserstein_distance(finite[0], inside) / bins.std
        assert found.low <= clipped * (1 + TINY) + TINY
        assert found.low <= found.value
        assert found.low <= wasserstein_distance(*finite) / bins.std * (1 + TINY) + TINY
        if found.high is not None:
            assert max(found.value, clipped) <= found.high * (1 + TINY) + TINY
        assert (found.high is None) == bool((finite[1] <= bins.edges[0]).any() or (finite[1] > bins.edges[-1]).any())
        closed += found.high is not None
        compared += 1
    assert closed >= 60
    assert compared >= 200


def test_the_middle_wasserstein_is_near_the_exact_one():
    random = np.random.default_rng(4)
    reference, current = random.normal(0, 1, 50_000), random.normal(0.3, 1, 20_000)
    bins = numeric_bins(reference, FINE_BINS)
    found = wasserstein(bins, np.asarray(bins.counts), counted(bins, current))

    assert found.value == pytest.approx(wasserstein_distance(reference, current) / reference.std(), abs=0.005)


def test_the_cells_are_ordered_by_value_and_know_where_only_one_value_fits():
    bins = numeric_bins(np.array([0.0] * 500 + [1.5] * 10 + list(np.linspace(2, 3, 100))), 240)
    cells = len(bins.edges) + 4
    ordered = ascending(bins, np.arange(cells))

    assert ordered.tolist() == [cells - 2, *range(len(bins.edges) + 1), cells - 1]
    alone = dict(zip(ordered.tolist(), single_valued(bins).tolist(), strict=True))
    zero = numeric_cells(np.asarray(bins.edges), np.array([0.0, 1.5, -1.0, 9.0, np.inf, -np.inf]))
    assert [alone[cell] for cell in zero.tolist()] == [True, True, False, False, True, True]


def test_an_empty_side_and_bins_without_edges_are_undefined_not_zero():
    bins = numeric_bins(np.array([1.0, 2.0, 3.0]), FINE_BINS)
    nothing = np.zeros(len(bins.counts), np.int64)
    assert kolmogorov_smirnov(bins, np.asarray(bins.counts), nothing).distance.value is None
    assert wasserstein(bins, np.asarray(bins.counts), nothing).value is None
    assert detectable_ks(0, 10, 0.01) is None

    no_edges = numeric_bins(np.array([np.nan, np.nan]), FINE_BINS)
    assert no_edges.edges == ()
    found = kolmogorov_smirnov(no_edges, np.asarray(no_edges.counts), np.array([5, 0, 0, 0]))
    assert (found.distance.value, found.p_value) == (None, 1.0)
