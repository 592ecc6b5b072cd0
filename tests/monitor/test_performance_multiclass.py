"""Multiclass figures equal scikit-learn's, the macro AUC lies within its certificate, a missing class is left out."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from contracts.task import Task
from monitor.counts.counting import count_labelled
from monitor.counts.layout import layout_of
from monitor.measures.calibration import calibration
from monitor.measures.multiclass import multiclass
from monitor.measures.policy import MonitorPolicy
from monitor.measures.statistics import Baseline

TASK = Task(kind="multiclass", output="p", classes=("setosa", 7, True))
LAYOUT = layout_of(None, TASK)


def measured(p, y, figures=None):
    vector = count_labelled(LAYOUT, np.asarray(p, float).reshape(-1, 3), np.asarray(y, float))
    baseline = Baseline(figures or {}, len(y), MonitorPolicy())
    found = [*multiclass(LAYOUT, vector, baseline), *calibration(LAYOUT, vector, baseline)]
    return {(of.statistic, of.feature): of for of in found}


def sample(random, n):
    p = random.dirichlet(random.uniform(0.2, 2, 3), n)
    y = np.array([random.choice(3, p=0.5 * row + 0.5 / 3) for row in p])
    return p, y


def test_the_values_are_scikit_learns():
    random = np.random.default_rng(0)
    for _ in range(20):
        p, y = sample(random, int(random.integers(60, 600)))
        p = np.clip(p, 1e-9, 1)
        p /= p.sum(axis=1, keepdims=True)
        top = p.argmax(axis=1)
        value = {key: of.interval.value for key, of in measured(p, y).items()}
        precision, recall, _, _ = precision_recall_fscore_support(y, top, labels=[0, 1, 2], zero_division=np.nan)

        assert value["accuracy", ""] == accuracy_score(y, top)
        assert value["log_loss", ""] == pytest.approx(log_loss(y, p, labels=[0, 1, 2]), abs=1e-6)
        whole = brier_score_loss(y, p, labels=[0, 1, 2], scale_by_half=False)
        assert value["brier", ""] == pytest.approx(whole, abs=1e-6)
        for i, name in enumerate(("setosa", "7", "true")):
            for statistic, expected in (("precision", precision[i]), ("recall", recall[i])):
                found = value[statistic, name]
                assert found is None if np.isnan(expected) else found == pytest.approx(expected)
        confidence, right = p.max(axis=1), (top == y).astype(float)
        bins = np.minimum((confidence * 10).astype(int), 9)
        ece = sum(abs((right - confidence)[bins == b].sum()) for b in range(10)) / len(y)
        assert value["ece", ""] == pytest.approx(ece, abs=1e-6)


def test_the_exact_macro_auc_lies_within_its_certificate():
    random = np.random.default_rng(1)
    for _ in range(30):
        p, y = sample(random, int(random.integers(60, 800)))
        found = measured(p, y)
        exact = roc_auc_score(y, p, multi_class="ovr", labels=[0, 1, 2])
        value, low, high = found["auc_bound", ""].interval
        assert low - 1e-12 <= exact <= high + 1e-12
        assert value == pytest.approx(exact, abs=0.02)
        assert found["auc", ""].interval.low <= low <= high <= found["auc", ""].interval.high
        assert found["auc", "7"].interval.value == pytest.approx(roc_auc_score(y == 1, p[:, 1]), abs=0.02)


def test_a_class_without_labels_is_null_and_left_out_of_the_mean():
    random = np.random.default_rng(2)
    p, y = sample(random, 400)
    kept = y < 2
    found = measured(p[kept], y[kept])
    assert found["auc", "true"].interval == (None, None, None)
    assert found["recall", "true"].interval.value is None
    expected = np.mean([found["auc", name].interval.value for name in ("setosa", "7")])
    assert found["auc", ""].interval.value == pytest.approx(expected)


def test_no_rows_are_null_and_insufficient():
    found = measured(np.zeros((0, 3)), [])
    assert {of.interval for of in found.values()} == {(None, None, None)}
    assert {of.status for of in found.values()} == {"insufficient"}


def test_a_class_is_held_against_its_own_figure():
    random = np.random.default_rng(3)
    p, y = sample(random, 2000)
    figures = {"recall:setosa": 1.0, "recall:7": 0.0, "accuracy": 1.0}
    found = measured(p, y, figures)
    assert found["recall", "setosa"].status == "alarm"
    assert found["recall", "7"].status == "ok"
    assert found["accuracy", ""].status == "alarm"
