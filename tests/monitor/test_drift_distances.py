"""Distances of two histograms equal their formulas as scipy computes them, and their ends cover the truth."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2, chi2_contingency, entropy

from monitor.measures.distances import chi_square, detectable_psi, distances, smoothed
from monitor.measures.drift import largest_significant


def histograms(random):
    k = int(random.integers(2, 60))
    shares = random.dirichlet(np.full(k, random.choice([0.1, 1.0, 10.0])))
    other = shares if random.random() < 0.3 else random.dirichlet(np.full(k, 1.0))
    n, m = int(random.integers(1, 3000)), int(random.integers(1, 30_000))
    return random.multinomial(m, shares), random.multinomial(n, other)


def test_every_distance_is_its_formula_on_the_counts():
    random = np.random.default_rng(0)
    for _ in range(300):
        reference, current = histograms(random)
        found = distances(reference, current)
        used = (reference + current) > 0
        k = int(used.sum())
        p = (reference[used] + 0.5) / (reference.sum() + k / 2)
        q = (current[used] + 0.5) / (current.sum() + k / 2)
        raw_p, raw_q = reference / reference.sum(), current / current.sum()

        assert found.psi.value == pytest.approx(entropy(q, p) + entropy(p, q), abs=1e-9)
        assert found.js.value == pytest.approx(jensenshannon(raw_p, raw_q, base=2), abs=1e-7)
        hellinger = np.linalg.norm(np.sqrt(raw_p) - np.sqrt(raw_q)) / math.sqrt(2)
        assert found.hellinger.value == pytest.approx(hellinger, abs=1e-7)
        assert found.tvd == pytest.approx(np.abs(raw_p - raw_q).sum() / 2)
        assert found.l_infinity == pytest.approx(np.abs(raw_p - raw_q).max())
        for interval in (found.psi, found.js, found.hellinger):
            assert interval.low <= interval.value <= interval.high


def test_shares_are_smoothed_after_jeffreys_and_still_add_up_to_one():
    assert smoothed(np.array([0, 1, 3])).tolist() == [0.5 / 5.5, 1.5 / 5.5, 3.5 / 5.5]


def test_the_chi_square_test_is_scipys_where_no_cell_is_sparse():
    random = np.random.default_rng(1)
    for _ in range(100):
        reference, current = random.integers(50, 500, 20), random.integers(20, 500, 20)
        expected = chi2_contingency(np.stack([reference, current]), correction=False).pvalue
        assert chi_square(reference, current) == pytest.approx(expected, abs=1e-12)


def test_sparse_cells_are_compared_as_one():
    reference, current = np.array([900, 900, 30, 30, 30, 10]), np.array([90, 90, 0, 5, 5, 2])
    together = chi2_contingency([[900, 900, 100], [90, 90, 12]], correction=False).pvalue
    assert chi_square(reference, current) == pytest.approx(together)

    with_the_least = chi2_contingency([[900, 905], [90, 92]], correction=False).pvalue
    assert chi_square(np.array([900, 900, 5]), np.array([90, 90, 2])) == pytest.approx(with_the_least)


def test_without_drift_the_p_value_is_uniform_even_with_many_rare_cells():
    random = np.random.default_rng(2)
    shares = 1 / np.arange(1, 54) ** 1.5
    shares /= shares.sum()
    found = np.array(
        [chi_square(random.multinomial(50_000, shares), random.multinomial(500, shares)) for _ in range(4000)]
    )
    for level in (0.5, 0.1, 0.01, 0.001):
        assert (found <= level).mean() <= level + 4 * math.sqrt(level / 4000)
    assert (found <= 0.1).mean() >= 0.07


def test_the_noise_floor_holds_psi_down_as_promised():
    random = np.random.default_rng(3)
    n, m, k, alpha = 500, 50_000, 20, 0.01
    floor = detectable_psi(n, m, k, alpha)
    assert floor == pytest.approx(chi2.ppf(1 - alpha, k - 1) * (1 / n + 1 / m))
    found = [distances(random.multinomial(m, [1 / k] * k), random.multinomial(n, [1 / k] * k)) for _ in range(3000)]
    above = np.mean([of.psi.value > floor for of in found])
    assert 0.003 <= above <= 0.02
    assert np.mean([of.psi.value for of in found]) == pytest.approx((k - 1) * (1 / n + 1 / m), rel=0.05)
    assert np.mean([of.psi_debiased == 0.0 for of in found]) > 0.4


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.3, 1.0])
def test_the_ends_of_psi_and_js_hold_the_distance_of_the_populations(shift):
    random = np.random.default_rng(4)
    p = np.full(20, 0.05)
    q = p * np.exp(shift * np.linspace(-1, 1, 20))
    q /= q.sum()
    psi, js = entropy(q, p) + entropy(p, q), jensenshannon(p, q, base=2)
    inside_psi, inside_js = [], []
    for _ in range(500):
        found = distances(random.multinomial(20_000, p), random.multinomial(1000, q))
        inside_psi.append(found.psi.low <= psi <= found.psi.high)
        inside_js.append(found.js.low <= js <= found.js.high)
    assert np.mean(inside_psi) >= 0.93
    assert np.mean(inside_js) >= 0.93


def test_an_empty_side_is_undefined_not_zero():
    found = distances(np.array([3, 4]), np.array([0, 0]))
    assert (found.psi.value, found.js.value, found.tvd, found.psi_debiased) == (None, None, None, None)
    assert chi_square(np.array([3, 4]), np.array([0, 0])) == 1.0
    assert detectable_psi(0, 7, 2, 0.01) is None


def test_one_common_cell_is_no_distance_at_all():
    found = distances(np.array([7, 0]), np.array([5, 0]))
    assert (found.psi.value, found.js.value, found.hellinger.value, found.cells) == (0.0, 0.0, 0.0, 1)
    assert detectable_psi(5, 7, 1, 0.01) == 0.0


def test_benjamini_hochberg_finds_the_largest_significant_p_value():
    assert largest_significant([0.001, 0.008, 0.039, 0.041, 0.2, 0.9], 0.05) == 0.008
    assert largest_significant([0.04, 0.02, 0.03], 0.05) == 0.04
    assert largest_significant([0.5], 0.05) == -1.0


def test_billions_of_rows_are_compared_like_any_other_number():
    reference, current = np.array([600, 400]), np.array([4_000_000_000, 4_000_000_000])
    expected = chi2_contingency(np.stack([reference, current]).astype(float), correction=False).pvalue
    assert chi_square(reference, current) == pytest.approx(expected, rel=1e-6)
    assert expected < 1e-6
