"""AUC within its certificate, decisions and losses equal to scikit-learn's, intervals that cover, undefined as null."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from contracts.task import Task
from monitor.counts.binning import just_under
from monitor.counts.counting import count_labelled
from monitor.counts.layout import default_prediction_bins, layout_of
from monitor.measures.performance import binary
from monitor.measures.policy import MonitorPolicy
from monitor.measures.ranking import auc, auc_interval
from monitor.measures.statistics import Baseline
from monitor.references.reference_building import Sample, build_reference

TASK = Task(kind="binary", output="p", threshold=0.3)


def layout(scores=None, task=TASK):
    if scores is None:
        return layout_of(None, task)
    return layout_of(build_reference("m", "1", Sample({"x": [1.0] * len(scores)}, scores), task), None)


def measured(of, p, y, figures=None, policy=None):
    vector = count_labelled(of, np.asarray(p, float), np.asarray(y, float))
    labels = int(vector[of.sections["labelled"].start])
    return {
        found.statistic: found
        for found in binary(of, vector, Baseline(figures or {}, labels, policy or MonitorPolicy()))
    }


def scored(random, n):
    """Scores of one of several characters: smooth, few different ones, with an atom, float32, nearly sure."""
    kind = int(random.integers(5))
    p = random.beta(random.uniform(0.3, 3), random.uniform(0.3, 3), n)
    p = [p, np.round(p, 1), np.where(random.random(n) < 0.5, 0.25, p), p.astype(np.float32).astype(float), p**8][kind]
    return p, (random.random(n) < random.uniform(0.01, 0.6) * (0.5 + p)).astype(int)


@pytest.mark.parametrize("block", range(5))
def test_the_exact_auc_lies_within_its_certificate(block):
    random, compared = np.random.default_rng(block), 0
    for _ in range(100):
        own, _ = scored(random, int(random.integers(30, 2000)))
        p, y = scored(random, int(random.integers(20, 2000)))
        found = measured(layout(own if random.random() < 0.8 else None), p, y)
        if y.min() == y.max():
            assert found["auc"].interval == (None, None, None)
            continue
        exact, (value, low, high) = roc_auc_score(y, p), found["auc_bound"].interval
        assert low - 1e-12 <= exact <= high + 1e-12
        assert found["auc"].interval.low <= low <= value <= high <= found["auc"].interval.high
        compared += 1
    assert compared >= 90


def test_auc_is_exact_where_every_bin_holds_one_score():
    random = np.random.default_rng(1)
    for _ in range(20):
        p = random.integers(0, 64, 500) / 64
        y = (random.random(500) < p).astype(int)
        found = measured(layout(p), p, y)["auc_bound"].interval
        assert found == pytest.approx((roc_auc_score(y, p),) * 3, abs=1e-12)


def test_the_certificate_of_a_thousand_bins_is_narrow():
    random = np.random.default_rng(2)
    p = random.beta(1, 8, 100_000)
    y = (random.random(100_000) < p).astype(int)
    _, low, high = measured(layout(p[:20_000]), p, y)["auc_bound"].interval
    assert high - low < 0.002


def test_the_variance_of_auc_is_delongs():
    random = np.random.default_rng(3)
    p = np.round(random.random(300), 2)
    y = random.random(300) < p
    wins = (p[y][:, None] > p[~y][None, :]) + 0.5 * (p[y][:, None] == p[~y][None, :])
    expected = wins.mean(axis=1).var(ddof=1) / y.sum() + wins.mean(axis=0).var(ddof=1) / (~y).sum()
    grid = np.arange(101)
    counts = [np.bincount(np.rint(p[side] * 100).astype(int), minlength=101) for side in (~y, y)]
    assert auc(*counts, np.ones(len(grid), bool)).variance == pytest.approx(expected)


def test_the_interval_of_auc_covers_the_truth():
    random = np.random.default_rng(4)
    of, truth, covered = layout(), None, 0
    big = random.random(200_000)
    truth = roc_auc_score(random.random(200_000) < big**3, big)
    for _ in range(300):
        p = random.random(400)
        low, high = measured(of, p, random.random(400) < p**3)["auc"].interval[1:]
        covered += low <= truth <= high
    assert 0.92 <= covered / 300 <= 0.99


def test_perfect_separation_of_few_is_not_certainty():
    few = auc_interval(auc(np.array([20, 0]), np.array([0, 20]), np.array([True, True])))
    many = auc_interval(auc(np.array([2000, 0]), np.array([0, 2000]), np.array([True, True])))
    assert few.value == few.high == 1.0
    assert 0.8 < few.low < many.low < 1.0
    worst = auc_interval(auc(np.array([0, 20]), np.array([20, 0]), np.array([True, True])))
    assert worst.value == worst.low == 0.0
    assert worst.high == pytest.approx(1 - few.low)


@pytest.mark.parametrize("block", range(3))
def test_decisions_and_losses_are_scikit_learns(block):
    random = np.random.default_rng(block)
    for _ in range(40):
        threshold = float(random.choice([0.5, 0.3, 0.1, 0.7, np.float32(0.2), random.random()]))
        task = Task(kind="binary", output="p", threshold=threshold)
        p, y = scored(random, int(random.integers(50, 1000)))
        p = np.clip(p, 1e-6, 1 - 1e-6)
        p[random.random(len(p)) < 0.1] = threshold
        decided = (p >= threshold).astype(int)
        found = measured(layout(p if random.random() < 0.7 else None, task), p, y)
        (tn, fp), (fn, tp) = confusion_matrix(y, decided, labels=[0, 1])
        value = {name: of.interval.value for name, of in found.items()}

        assert value["accuracy"] == accuracy_score(y, decided)
        assert value["precision"] == (precision_score(y, decided) if tp + fp else None)
        assert value["recall"] == (recall_score(y, decided) if tp + fn else None)
        assert value["f1"] == pytest.approx(f1_score(y, decided)) if tp + fp + fn else value["f1"] is None
        assert value["fpr"] == (fp / (fp + tn) if fp + tn else None)
        assert value["log_loss"] == pytest.approx(log_loss(y, p, labels=[0, 1]), abs=1e-6)
        assert value["brier"] == pytest.approx(brier_score_loss(y, p, pos_label=1), abs=1e-6)
        assert value["prevalence"] == y.mean()


def test_a_sure_and_wrong_answer_costs_a_finite_log_loss():
    found = measured(layout(), [0.0, 1.0, 1.0], [1, 0, 1])
    assert found["log_loss"].interval.value == pytest.approx(-2 * np.log(1e-15) / 3, abs=1e-6)
    assert found["brier"].interval.value == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_score_at_the_threshold_is_positive_and_its_neighbour_below_is_not(dtype):
    for threshold in (0.5, 0.3, 0.7, 0.1, 1.0, 1e-3):
        task = Task(kind="binary", output="p", threshold=threshold)
        near = dtype(threshold)
        p = np.array([np.nextafter(near, dtype(0)), near, np.nextafter(near, dtype(2))]).astype(float)
        for of in (layout(None, task), layout(p, task)):
            found = measured(of, p, [1, 1, 1])
            assert found["recall"].interval.value == (p >= threshold).mean()


def test_a_threshold_that_is_no_edge_has_no_decisions():
    bins = default_prediction_bins(TASK)
    assert just_under(0.3) in bins.edges
    reference = build_reference("m", "1", Sample({"x": [1.0] * 3}, np.array([0.1, 0.2, 0.9])), TASK)
    moved = layout_of(reference, None)._replace(task=Task(kind="binary", output="p", threshold=0.6))
    found = measured(moved, [0.1, 0.9], [0, 1])
    assert found["precision"].interval == (None, None, None)
    assert found["auc"].interval.value == 1.0


def test_one_class_and_no_rows_are_null_and_insufficient():
    only_negative = measured(layout(), [0.1, 0.2, 0.6], [0, 0, 0])
    assert only_negative["auc"].interval == (None, None, None)
    assert only_negative["recall"].interval.value is None
    assert only_negative["precision"].interval.value == 0.0
    assert only_negative["fpr"].interval.value == pytest.approx(1 / 3)

    nothing = measured(layout(), [], [])
    assert {of.status for of in nothing.values()} == {"insufficient"}
    assert {of.interval for of in nothing.values()} == {(None, None, None)}


def test_rows_without_a_score_count_nowhere():
    found = measured(layout(), [0.1, np.nan, 0.9, np.nan], [0, 1, 1, 0])
    assert (found["auc"].interval.value, found["auc"].n) == (1.0, 2)
    assert found["accuracy"].interval.value == 1.0
    assert found["brier"].n == 2


def test_the_intervals_of_the_losses_cover_their_expectation():
    random = np.random.default_rng(5)
    of, covered = layout(), {"log_loss": 0, "brier": 0}
    grid = (np.arange(100_000) + 0.5) / 100_000
    truth = {
        "log_loss": float(-(grid * np.log(grid) + (1 - grid) * np.log(1 - grid)).mean()),
        "brier": float((grid * (1 - grid)).mean()),
    }
    for _ in range(300):
        p = random.random(300)
        found = measured(of, p, random.random(300) < p)
        for name in covered:
            covered[name] += found[name].interval.low <= truth[name] <= found[name].interval.high
    assert all(0.92 <= times / 300 <= 0.98 for times in covered.values())


def test_a_loss_is_certain_before_it_is_an_alarm():
    random = np.random.default_rng(6)
    p = random.random(4000)
    y = (random.random(4000) < 0.3 + 0.4 * p).astype(int)
    own = roc_auc_score(y, p)
    status = {gap: measured(layout(), p, y, {"auc": own + gap})["auc"].status for gap in (0.0, 0.03, 0.1)}
    assert status == {0.0: "ok", 0.03: "warn", 0.1: "alarm"}
    assert measured(layout(), p, y, {"fpr": 0.0})["fpr"].status == "alarm"
    assert measured(layout(), p, y, {"fpr": 1.0})["fpr"].status == "ok"
    brier = brier_score_loss(y, p)
    statuses = [measured(layout(), p, y, {"brier": brier / k})["brier"].status for k in (1.0, 1.12, 1.5)]
    assert statuses == ["ok", "warn", "alarm"]
    assert measured(layout(), p, y)["auc"].status == "ok"


def test_too_few_labels_are_insufficient_even_when_they_look_bad():
    p = np.linspace(0, 1, 99)
    assert measured(layout(), p, p < 0.5, {"auc": 0.9})["auc"].status == "insufficient"
    rare = np.zeros(5000)
    rare[:9] = 1
    assert measured(layout(), np.linspace(0, 1, 5000), rare, {"auc": 0.9})["auc"].status == "insufficient"
    assert measured(layout(), np.linspace(0, 1, 5000), rare, {"accuracy": 0.9})["accuracy"].status == "alarm"
