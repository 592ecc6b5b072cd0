"""The gate's figures against scikit-learn on the same rows, and its intervals against what they promise."""

import numpy as np
import pytest
from sklearn import metrics as sk

from contracts.task import Task
from monitor.gate.metrics import Resampling, Side, compare
from monitor.gate.paired import auc_worse, bootstrapped, mean_worse, rate_gap, rate_worse

BINARY = Task(kind="binary", output="p", threshold=0.4)
CLASSES = Task(kind="multiclass", output="p", classes=("a", "b", "c"))
NUMBER = Task(kind="regression", output="y")
DRAWS = Resampling(7, 400)


def binary_rows(n=1500, seed=0):
    """Truths, and two versions of which the second sees more noise; scores are rounded, so that there are ties."""
    random = np.random.default_rng(seed)
    z = random.normal(0, 1.5, n)
    truths = (random.random(n) < 1 / (1 + np.exp(-z))).astype(float)
    good, poor = (np.round(1 / (1 + np.exp(-(z + random.normal(0, noise, n)))), 3) for noise in (0.3, 2.0))
    return truths, good, poor


EXPECTED = {
    "auc": lambda y, p, _: sk.roc_auc_score(y, p),
    "accuracy": lambda y, _, d: sk.accuracy_score(y, d),
    "precision": lambda y, _, d: sk.precision_score(y, d),
    "recall": lambda y, _, d: sk.recall_score(y, d),
    "fpr": lambda y, _, d: 1 - sk.recall_score(1 - y, 1 - d),
    "f1": lambda y, _, d: sk.f1_score(y, d),
    "log_loss": lambda y, p, _: sk.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)),
    "brier": lambda y, p, _: sk.brier_score_loss(y, p),
}


@pytest.mark.parametrize("metric", EXPECTED)
def test_binary_figures_are_scikit_learns_and_the_worse_version_is_told(metric):
    y, good, poor = binary_rows()
    found = compare(metric, y, Side(BINARY, poor), Side(BINARY, good), DRAWS)
    candidate, baseline = (EXPECTED[metric](y, p, (p >= 0.4).astype(float)) for p in (poor, good))

    assert found.candidate == pytest.approx(candidate, abs=1e-12)
    assert found.baseline == pytest.approx(baseline, abs=1e-12)
    sign = -1 if metric in {"fpr", "log_loss", "brier"} else 1
    assert found.worse.value == pytest.approx(sign * (baseline - candidate), abs=1e-12)
    assert found.worse.low < found.worse.value < found.worse.high
    assert found.worse.low > 0
    assert found.n == 1500


def test_multiclass_figures_are_scikit_learns():
    random = np.random.default_rng(1)
    p = random.dirichlet([1, 1, 1], 800)
    y = np.array([random.choice(3, p=row) for row in p]).astype(float)
    other = random.dirichlet([1, 1, 1], 800)
    found = {
        name: compare(name, y, Side(CLASSES, other), Side(CLASSES, p), DRAWS)
        for name in ("accuracy", "log_loss", "brier")
    }

    assert found["accuracy"].candidate == pytest.approx(sk.accuracy_score(y, other.argmax(axis=1)))
    assert found["log_loss"].baseline == pytest.approx(sk.log_loss(y, p))
    assert found["brier"].baseline == pytest.approx(((p - np.eye(3)[y.astype(int)]) ** 2).sum(axis=1).mean())
    assert all(comparison.worse.low > 0 for comparison in found.values())


def test_regression_figures_are_scikit_learns():
    random = np.random.default_rng(2)
    y = random.normal(50, 10, 600)
    good, poor = y + random.normal(0, 2, 600), y + random.normal(0, 6, 600)
    expected = {"mae": sk.mean_absolute_error, "rmse": sk.root_mean_squared_error, "r2": sk.r2_score}
    for metric, figure in expected.items():
        found = compare(metric, y, Side(NUMBER, poor), Side(NUMBER, good), DRAWS)
        assert found.candidate == pytest.approx(figure(y, poor), abs=1e-10)
        assert found.baseline == pytest.approx(figure(y, good), abs=1e-10)
        assert found.worse.low > 0


@pytest.mark.parametrize("metric", EXPECTED)
def test_what_cannot_be_computed_is_null_and_never_a_number(metric):
    nothing = np.zeros(0)
    found = compare(metric, nothing, Side(BINARY, nothing), Side(BINARY, nothing), DRAWS)
    assert (found.candidate, found.worse.value, found.n) == (None, None, 0)

    negatives = np.zeros(200)
    found = compare(metric, negatives, Side(BINARY, negatives), Side(BINARY, negatives), DRAWS)
    if metric in {"auc", "recall", "precision", "f1"}:
        assert (found.candidate, found.worse.value, found.support) == (None, None, 0)


def test_delongs_interval_is_that_of_a_bootstrap():
    y, good, poor = binary_rows(400)
    interval = auc_worse(y == 1, poor, good)
    random = np.random.default_rng(3)
    draws = []
    for _ in range(1500):
        rows = random.integers(0, 400, 400)
        draws.append(sk.roc_auc_score(y[rows], good[rows]) - sk.roc_auc_score(y[rows], poor[rows]))
    assert (interval.low, interval.high) == pytest.approx(np.percentile(draws, [2.5, 97.5]).tolist(), abs=0.006)


def test_a_bootstrap_of_a_mean_is_the_closed_form_and_the_same_at_the_same_seed():
    random = np.random.default_rng(4)
    one, other = random.exponential(1.0, 900), random.exponential(0.9, 900)
    closed = mean_worse(one, other)
    terms = np.stack([one - other, np.ones(900)], axis=1)
    drawn = [bootstrapped(terms, lambda s: s[:, 0] / s[:, 1], np.random.default_rng(5), 2000) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert (drawn[0].value, drawn[0].low, drawn[0].high) == pytest.approx(tuple(closed), abs=0.01)


def test_two_versions_that_always_agree_are_known_to_be_alike_only_as_well_as_the_rows_allow():
    agree = np.zeros(50, bool)
    few, many = rate_worse(agree, agree), rate_worse(np.zeros(5000, bool), np.zeros(5000, bool))
    assert few.value == many.value == 0
    assert few.high > 0.05
    assert 0.002 > many.high > 0


@pytest.mark.parametrize(("n", "worse", "better"), [(200, 0.03, 0.03), (200, 0.1, 0.05), (1000, 0.01, 0.01)])
def test_the_interval_of_a_rate_misses_the_truth_about_as_often_as_it_says(n, worse, better):
    random = np.random.default_rng(6)
    missed = 0
    for _ in range(1500):
        u = random.random(n)
        found = rate_worse(u < worse, (u >= worse) & (u < worse + better))
        missed += not found.low <= worse - better <= found.high
    assert missed / 1500 < 0.065


def test_the_gap_of_two_separate_groups_is_newcombes():
    found = rate_gap((56, 70), (48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=1e-4)
