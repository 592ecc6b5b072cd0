"""ECE equals the naive one, its null level is what a perfect model shows, and its interval covers."""

import math

import numpy as np
import pytest
from scipy.stats import kstest

from contracts.task import Task
from monitor.counts.counting import count_labelled
from monitor.counts.layout import layout_of
from monitor.measures.calibration import bins_of, calibration, ece_of
from monitor.measures.policy import MonitorPolicy
from monitor.measures.statistics import Baseline

LAYOUT = layout_of(None, Task(kind="binary", output="p"))


def measured(p, y, figures=None):
    vector = count_labelled(LAYOUT, np.asarray(p, float), np.asarray(y, float))
    return {of.statistic: of for of in calibration(LAYOUT, vector, Baseline(figures or {}, len(p), MonitorPolicy()))}


def naive_ece(p, y, bins):
    total = 0.0
    for i in range(bins):
        inside = (p >= i / bins) & ((p < (i + 1) / bins) | (i == bins - 1))
        if inside.any():
            total += inside.mean() * abs(y[inside].mean() - p[inside].mean())
    return total


@pytest.mark.parametrize("bins", [10, 12, 15, 20, 30, 60])
def test_merged_bins_give_the_ece_of_counting_in_that_many_bins(bins):
    random = np.random.default_rng(bins)
    for _ in range(30):
        n = int(random.integers(1, 3000))
        p = random.beta(random.uniform(0.2, 3), random.uniform(0.2, 3), n)
        p[random.random(n) < 0.2] = random.choice(np.arange(bins + 1) / bins)
        y = (random.random(n) < random.uniform(0, 1)).astype(float)
        vector = count_labelled(LAYOUT, p, y)
        assert ece_of(bins_of(LAYOUT, vector, bins)).interval.value == pytest.approx(naive_ece(p, y, bins), abs=1e-6)


def test_every_tenth_is_counted_in_the_bin_that_it_opens():
    p = np.arange(11) / 10
    counts = bins_of(LAYOUT, count_labelled(LAYOUT, p, np.zeros(11)), 10).n
    assert counts.tolist() == [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(("n", "expected"), [(500, 0.060), (1000, 0.039), (5000, 0.017)])
def test_the_null_level_is_what_a_perfectly_calibrated_model_stays_under(n, expected):
    random = np.random.default_rng(n)
    found = []
    for _ in range(400):
        p = random.beta(1, 3, n)
        found.append(measured(p, random.random(n) < p))
    above = np.mean([of["ece"].interval.value > of["ece_null_p95"].interval.value for of in found])
    assert 0.02 <= above <= 0.09
    assert np.mean([of["ece_null_p95"].interval.value for of in found]) == pytest.approx(expected, rel=0.15)
    assert np.mean([of["ece"].status == "alarm" for of in found]) == 0.0


def test_the_interval_of_ece_holds_the_true_miscalibration():
    random, covered = np.random.default_rng(1), 0
    for _ in range(300):
        p = random.random(800)
        low, high = measured(p, random.random(800) < np.clip(p + 0.08, 0, 1))["ece"].interval[1:]
        covered += low <= 0.0768 <= high
    assert covered >= 285


def test_a_miscalibrated_model_alarms_and_one_that_always_was_so_does_not():
    random = np.random.default_rng(2)
    p = random.random(5000)
    y = random.random(5000) < np.clip(p + 0.12, 0, 1)
    found = measured(p, y)
    assert found["ece"].status == "alarm"
    assert measured(p, y, {"ece": found["ece"].interval.value})["ece"].status == "ok"


def test_observed_over_expected_is_the_ratio_of_the_sums():
    random = np.random.default_rng(3)
    p = random.beta(1, 4, 3000)
    y = random.random(3000) < p
    value, low, high = measured(p, y)["observed_expected"].interval
    assert value == pytest.approx(y.sum() / p.sum(), abs=1e-6)
    assert low < 1 < high
    assert measured(p, y)["observed_expected"].status == "ok"
    assert measured(p, random.random(3000) < 1.15 * p)["observed_expected"].status == "warn"
    assert measured(p, random.random(3000) < p / 2)["observed_expected"].status == "alarm"
    assert measured(np.zeros(200), np.zeros(200))["observed_expected"].interval.value is None


def test_spiegelhalters_z_is_its_formula_and_its_p_value_is_uniform_when_calibrated():
    random, found = np.random.default_rng(4), []
    for _ in range(400):
        p = random.beta(2, 2, 400)
        y = (random.random(400) < p).astype(float)
        of = measured(p, y)
        expected = ((y - p) * (1 - 2 * p)).sum() / math.sqrt(((1 - 2 * p) ** 2 * p * (1 - p)).sum())
        assert of["spiegelhalter_z"].interval.value == pytest.approx(expected, abs=1e-5)
        found.append(of["spiegelhalter_p_value"].interval.value)
    assert kstest(found, "uniform").pvalue > 0.01


def test_spiegelhalters_z_warns_of_overconfidence_and_never_alarms():
    random = np.random.default_rng(5)
    p = random.random(3000)
    y = random.random(3000) < 0.5 + 0.5 * (p - 0.5)
    assert measured(p, y)["spiegelhalter_z"].status == "warn"
    assert measured(p, y)["spiegelhalter_z"].interval.value > 5


def test_spiegelhalters_z_is_undefined_where_every_prediction_is_a_half():
    assert measured([0.5] * 200, [0, 1] * 100)["spiegelhalter_z"].interval.value is None


def test_no_rows_are_null_and_few_rows_insufficient():
    assert {of.interval for of in measured([], []).values()} == {(None, None, None)}
    assert {of.status for of in measured([], []).values()} == {"insufficient"}
    few = measured([0.9] * 50, [0] * 50)
    assert (few["ece"].status, few["observed_expected"].status) == ("insufficient", "insufficient")
