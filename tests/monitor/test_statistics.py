"""One summary's rows: every fixed name is there, undefined is null, a slice is compared with itself."""

import json
import math

import numpy as np
import pytest

from contracts.statistic import Statistic
from contracts.task import Slice, Task
from contracts.wire import decode, encode
from monitor.counts.binning import cells_of_column
from monitor.counts.counting import count_labelled
from monitor.counts.layout import layout_of
from monitor.measures.policy import MonitorPolicy
from monitor.measures.statistics import Key, statistics
from monitor.references.reference_building import Sample, build_reference

KEY = Key("flight-delay", "2", "champion", "all", 1_364_774_400_000_000, 1_364_774_700_000_000)
DRIFT = {
    "psi",
    "psi_debiased",
    "psi_p_value",
    "min_detectable_psi",
    "js",
    "hellinger",
    "tvd",
    "l_infinity",
    "missing_rate",
}
SERVICE = {"predictions", "error_rate", "fallback_rate", "label_coverage"}
PERFORMANCE = {
    "binary": {
        *("auc", "auc_bound", "precision", "recall", "f1", "accuracy", "fpr", "log_loss", "brier", "prevalence"),
        *("ece", "ece_null_p95", "ece_15", "observed_expected", "spiegelhalter_z", "spiegelhalter_p_value"),
    },
    "multiclass": {"auc", "auc_bound", "accuracy", "log_loss", "brier", "ece", "ece_null_p95", "ece_15"},
    "regression": {"mae", "rmse", "bias", "r2"},
}


def data(kind, n, seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    columns = {
        "delay": random.normal(shift, 1, n),
        "carrier": random.choice(["AA", "UA", "B6"], n, p=[0.6, 0.3, 0.1]).tolist(),
    }
    if kind == "regression":
        y = random.normal(10, 3, n)
        return columns, y + random.normal(0, 1, n), y
    if kind == "multiclass":
        p = random.dirichlet([1, 1, 1], n)
        return columns, p, np.array([random.choice(3, p=row) for row in p]).astype(float)
    p = random.beta(1, 2, n)
    return columns, p, (random.random(n) < p).astype(float)


def task_of(kind):
    return Task(kind=kind, output="p", classes=("a", "b", "c") if kind == "multiclass" else ())


def reference_of(kind, slices=()):
    columns, scores, y = data(kind, 5000)
    labels = [task_of(kind).classes[int(c)] for c in y] if kind == "multiclass" else y.tolist()
    return build_reference("flight-delay", "2", Sample(columns, scores, labels), task_of(kind), slices)


def counted(layout, reference, columns, scores, y):
    vector = count_labelled(layout, scores, y)
    vector[layout.sections["statuses"].start] = vector[layout.sections["rows"].start] = len(y)
    for feature in reference.features:
        section = layout.sections[f"feature:{feature.name}"]
        cells = cells_of_column(feature.bins, columns[feature.name])
        vector[section.cells] = np.bincount(cells, minlength=section.size)
    values = np.asarray(["a", "b", "c"])[scores.argmax(axis=1)] if scores.ndim == 2 else scores
    section = layout.sections["prediction"]
    vector[section.cells] = np.bincount(cells_of_column(layout.prediction, values), minlength=section.size)
    return vector


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_every_statistic_of_a_task_has_its_fixed_name(kind):
    reference = reference_of(kind)
    layout = layout_of(reference, None)
    rows = statistics(layout, reference, counted(layout, reference, *data(kind, 1000, 1)), KEY, MonitorPolicy())

    assert {row.statistic for row in rows if not row.feature} == SERVICE | PERFORMANCE[kind]
    assert {row.statistic for row in rows if row.feature == "delay"} == DRIFT | {
        "ks",
        "wasserstein",
        "out_of_range_rate",
    }
    assert {row.statistic for row in rows if row.feature == "carrier"} == DRIFT | {"unseen_rate"}
    assert {row.statistic for row in rows if row.feature == "prediction"} >= DRIFT
    if kind == "multiclass":
        assert {row.statistic for row in rows if row.feature == "b"} == {"precision", "recall", "auc"}
    assert len({(row.feature, row.statistic) for row in rows}) == len(rows)
    assert not [row for row in rows if row.status in {"alarm", "insufficient"}]


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_an_empty_window_is_null_and_insufficient_throughout(kind):
    reference = reference_of(kind)
    layout = layout_of(reference, None)
    rows = statistics(layout, reference, layout.zeros(), KEY, MonitorPolicy())

    assert {row.status for row in rows} == {"insufficient"}
    assert {row.value for row in rows if row.statistic != "predictions"} == {None}


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_few_rows_never_give_nan_or_an_infinity(kind, n):
    reference = reference_of(kind)
    layout = layout_of(reference, None)
    for seed in range(10):
        vector = counted(layout, reference, *data(kind, n, seed))
        for row in statistics(layout, reference, vector, KEY, MonitorPolicy()):
            parts = [part for part in (row.value, row.low, row.high) if part is not None]
            assert all(math.isfinite(part) for part in parts), row
            assert parts == sorted(parts) or row.low is None or row.high is None or row.low <= row.value <= row.high, (
                row
            )


def test_rows_are_the_json_of_the_summaries_endpoint():
    reference = reference_of("binary")
    layout = layout_of(reference, None)
    row = statistics(layout, reference, layout.zeros(), KEY, MonitorPolicy())[0]

    assert decode(Statistic, encode(row)) == row
    assert json.loads(encode(row)) == {
        "model": "flight-delay",
        "version": "2",
        "variant": "champion",
        "slice": "",
        "from": "2013-04-01T00:00:00Z",
        "to": "2013-04-01T00:05:00Z",
        "feature": "",
        "statistic": "predictions",
        "value": 0.0,
        "low": None,
        "high": None,
        "n": 0,
        "status": "insufficient",
    }


def test_a_shift_of_one_feature_alarms_for_it_alone():
    reference = reference_of("binary")
    layout = layout_of(reference, None)
    rows = statistics(
        layout, reference, counted(layout, reference, *data("binary", 2000, 1, shift=1.0)), KEY, MonitorPolicy()
    )

    bad = {(row.feature, row.statistic) for row in rows if row.status == "alarm"}
    assert {("delay", "psi"), ("delay", "ks"), ("delay", "wasserstein")} <= bad
    assert {feature for feature, _ in bad} == {"delay"}


def test_a_slice_is_compared_with_the_references_own_slice():
    cut = Slice(feature="carrier", values=("AA", "UA"))
    reference = reference_of("binary", [cut])
    layout = layout_of(reference, None)
    columns, scores, y = data("binary", 3000, 1)
    own = np.array(columns["carrier"]) == "UA"
    inside = {name: np.asarray(values)[own] for name, values in columns.items()}
    vector = counted(layout, reference, inside, scores[own], y[own])

    sliced = statistics(layout, reference, vector, KEY._replace(slice="carrier=UA"), MonitorPolicy())
    whole = statistics(layout, reference, vector, KEY, MonitorPolicy())
    unknown = statistics(layout, reference, vector, KEY._replace(slice="carrier=XX"), MonitorPolicy())

    def status(rows, statistic="psi", feature="carrier"):
        return next((row.status for row in rows if (row.statistic, row.feature) == (statistic, feature)), None)

    assert (status(sliced), status(whole), status(unknown)) == ("ok", "alarm", None)
    assert {row.slice for row in sliced} == {"carrier=UA"}
    assert status(sliced, "auc", "") == status(unknown, "auc", "") == "ok"


def test_without_a_reference_there_is_service_and_with_a_task_performance():
    bare = layout_of(None, None)
    assert {row.statistic for row in statistics(bare, None, bare.zeros(), KEY, MonitorPolicy())} == SERVICE
    layout = layout_of(None, task_of("binary"))
    _, scores, y = data("binary", 500)
    rows = statistics(layout, None, count_labelled(layout, scores, y), KEY, MonitorPolicy())
    assert {row.statistic for row in rows} == SERVICE | PERFORMANCE["binary"]


def test_counts_of_another_reference_are_refused():
    reference = reference_of("binary")
    with pytest.raises(AssertionError, match="another reference"):
        statistics(
            layout_of(None, task_of("binary")),
            reference,
            layout_of(None, task_of("binary")).zeros(),
            KEY,
            MonitorPolicy(),
        )
