"""MAE, RMSE, bias and R2 equal scikit-learn's, with intervals that cover for light and heavy tails."""

import math

import numpy as np
import pytest
from scipy.stats import gennorm
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score

from contracts.task import Task
from monitor.counts.counting import count_labelled
from monitor.counts.layout import ERROR_CLIP, layout_of
from monitor.measures.intervals import kurtosis_of
from monitor.measures.policy import MonitorPolicy
from monitor.measures.regression import regression
from monitor.measures.statistics import Baseline

TASK = Task(kind="regression", output="y")


def measured(predicted, y, figures=None, scale=1.0):
    layout = layout_of(None, TASK)._replace(target_scale=scale)
    vector = count_labelled(layout, np.asarray(predicted, float), np.asarray(y, float))
    return {of.statistic: of for of in regression(layout, vector, Baseline(figures or {}, len(y), MonitorPolicy()))}


def test_the_values_are_scikit_learns_in_the_units_of_the_labels():
    random = np.random.default_rng(0)
    for _ in range(50):
        n, spread = int(random.integers(2, 2000)), 10.0 ** random.integers(-3, 6)
        y = random.normal(3 * spread, spread, n)
        predicted = y + random.normal(0.1 * spread, random.uniform(0.01, 2) * spread, n)
        value = {name: of.interval.value for name, of in measured(predicted, y, scale=float(y.std())).items()}
        assert value["mae"] == pytest.approx(mean_absolute_error(y, predicted), rel=1e-4)
        assert value["rmse"] == pytest.approx(math.sqrt(mean_squared_error(y, predicted)), rel=1e-4)
        assert value["bias"] == pytest.approx((predicted - y).mean(), abs=1e-6 * spread)
        assert value["r2"] == pytest.approx(r2_score(y, predicted), abs=1e-3)


def test_the_sign_of_the_bias_says_that_predictions_are_too_high():
    assert measured([3.0] * 200, [1.0, 2.0] * 100)["bias"].interval.value == pytest.approx(1.5)


def test_the_tail_is_read_from_the_mean_absolute_error():
    for shape in (0.7, 1.0, 2.0, 8.0):
        law = gennorm(shape)
        square, fourth = law.moment(2), law.moment(4)
        absolute = law.expect(abs)
        assert kurtosis_of(absolute, square) == pytest.approx(fourth / square**2, rel=0.01)
    assert kurtosis_of(0.0, 0.0) > 1


@pytest.mark.parametrize("errors", ["normal", "laplace", "uniform"])
def test_the_intervals_cover_the_truth(errors):
    random = np.random.default_rng(1)
    draw = {"normal": random.normal, "laplace": random.laplace, "uniform": lambda *a: random.uniform(-1, 1, a[-1])}[
        errors
    ]
    n, rounds = 400, 300
    big = draw(0, 1, 400_000)
    variance = float((big**2).mean())
    truth = {
        "mae": float(np.abs(big).mean()),
        "rmse": math.sqrt(variance),
        "bias": 0.0,
        "r2": 1 - variance / (4 + variance),
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(rounds):
        predicted, error = random.normal(0, 2, n), draw(0, 1, n)
        found = measured(predicted, predicted - error)
        for name in covered:
            covered[name] += found[name].interval.low <= truth[name] <= found[name].interval.high
    assert all(covered[name] / rounds >= 0.92 for name in covered), covered


def test_a_clipped_error_leaves_only_the_good_side_certain():
    y = np.zeros(1000)
    predicted = np.concatenate([np.ones(999), [10 * ERROR_CLIP]])
    found = measured(predicted, y + np.arange(1000) % 7)
    for name in ("mae", "rmse"):
        assert found[name].interval.low is not None
        assert found[name].interval.high is None
    assert found["r2"].interval.low is None


def test_labels_that_do_not_vary_have_no_r2():
    found = measured(np.linspace(0, 1, 200), [5.0] * 200)
    assert found["r2"].interval == (None, None, None)
    assert found["r2"].status == "insufficient"


def test_no_rows_are_null_and_one_row_has_no_ends():
    assert {of.interval for of in measured([], []).values()} == {(None, None, None)}
    assert measured([1.0], [3.0])["mae"].interval == (2.0, None, None)
    assert measured([3.0], [3.0])["rmse"].interval.value == 0.0


def test_a_loss_is_certain_before_it_is_an_alarm_and_bias_counts_both_ways():
    random = np.random.default_rng(2)
    y = random.normal(0, 1, 3000)
    predicted = y + random.normal(0, 1, 3000)
    mae = mean_absolute_error(y, predicted)
    assert [measured(predicted, y, {"mae": mae / k})["mae"].status for k in (1, 1.11, 1.5)] == ["ok", "warn", "alarm"]
    assert [measured(predicted + move, y)["bias"].status for move in (-0.5, 0.0, 0.5)] == ["alarm", "ok", "alarm"]
    assert measured(predicted + 0.5, y, {"bias": 0.5})["bias"].status == "ok"
    assert measured(predicted, y, {"r2": 0.9})["r2"].status == "alarm"
    assert measured(predicted[:50], y[:50], {"mae": 0.1})["mae"].status == "insufficient"


@pytest.mark.parametrize("n", [100_000, 200_000])
def test_errors_whose_squares_leave_their_bits_have_a_mean_and_nothing_that_rests_on_squares(n):
    found = measured(np.full(n, 3 * ERROR_CLIP), np.zeros(n), {"mae": 1.0, "rmse": 1.0, "r2": 0.9})
    assert found["mae"].interval == (ERROR_CLIP, None, None)
    assert found["bias"].interval == (ERROR_CLIP, None, None)
    assert [found[name].interval for name in ("rmse", "r2")] == [(None, None, None)] * 2
    assert [found[name].status for name in ("mae", "rmse", "r2")] == ["warn", "insufficient", "insufficient"]


def test_labels_whose_squares_leave_their_bits_have_no_r2_and_errors_as_ever():
    y = np.tile([8000.0, 9000.0], 150_000)
    found = measured(y + 1.0, y)
    assert found["r2"].interval == (None, None, None)
    assert found["rmse"].interval.value == pytest.approx(1.0)
    assert found["mae"].interval.high is not None


@pytest.mark.parametrize("spread", [1e-9, 1e-5, 1e-3, 1.0])
def test_what_rounding_takes_from_small_squares_is_no_overflow(spread):
    random = np.random.default_rng(3)
    predicted = random.normal(0, spread, 1000)
    assert measured(predicted, np.zeros(1000))["rmse"].interval.value == pytest.approx(
        float(np.sqrt((predicted**2).mean())), abs=1e-3
    )
