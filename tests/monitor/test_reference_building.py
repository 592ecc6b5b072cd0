"""A reference says what its data were, is sealed by its hash, and is refused where the data make no sense."""

import math

import msgspec
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from contracts.errors import InvalidInput, ModelRejected
from contracts.reference import SCORE_BINS, CategoricalBins, NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import decode, encode
from monitor.counts.binning import just_under
from monitor.counts.layout import default_prediction_bins, layout_of
from monitor.references.reference_building import Sample, build_reference, frequent_slices, predicted_classes, sealed
from registry_client.documents import decode_reference

BINARY = Task(kind="binary", output="p", threshold=0.4)


def flights(n=4000, seed=0):
    random = np.random.default_rng(seed)
    p = random.beta(1, 2, n)
    columns = {
        "delay": random.normal(5, 20, n),
        "carrier": random.choice(["AA", "UA", "B6"], n, p=[0.6, 0.3, 0.1]).tolist(),
        "month": random.integers(1, 13, n).astype(float),
    }
    return columns, p, (random.random(n) < p).astype(int)


def test_a_reference_holds_bins_counts_and_performance_of_its_data():
    columns, p, y = flights()
    reference = build_reference("flight-delay", "2", Sample(columns, p, y.tolist()), BINARY, thresholds=(0.7,))

    assert (reference.model, reference.version, reference.rows) == ("flight-delay", "2", 4000)
    assert [feature.name for feature in reference.features] == ["delay", "carrier", "month"]
    assert [type(feature.bins) for feature in reference.features] == [NumericBins, CategoricalBins, CategoricalBins]
    assert all(sum(feature.bins.counts) == 4000 for feature in reference.features)
    assert (reference.labelled, reference.positives, reference.target_std) == (4000, y.sum(), None)
    assert reference.performance["auc"] == pytest.approx(roc_auc_score(y, p), abs=1e-3)
    assert reference.performance["accuracy"] == accuracy_score(y, p >= 0.4)
    assert SCORE_BINS <= len(reference.prediction.edges) <= SCORE_BINS + 4
    assert {just_under(0.4), just_under(0.7)} <= set(reference.prediction.edges)


def test_the_hash_seals_the_content_and_the_registry_accepts_it():
    columns, p, y = flights()
    reference = build_reference(
        "m", "1", Sample(columns, p, y.tolist()), BINARY, [Slice(feature="carrier", values=("AA",))]
    )

    assert decode(Reference, encode(reference)) == reference
    assert decode_reference(encode(reference), "m", "1") == reference
    assert build_reference("m", "1", Sample(columns, p, y.tolist()), BINARY).hash != reference.hash
    assert sealed(reference) == reference
    with pytest.raises(ModelRejected, match="build it again"):
        decode_reference(encode(msgspec.structs.replace(reference, rows=1)), "m", "1")


def test_every_slice_has_counts_and_performance_of_its_own():
    columns, p, y = flights()
    cuts = [frequent_slices("carrier", columns["carrier"]), frequent_slices("month", columns["month"])]
    reference = build_reference("m", "1", Sample(columns, p, y.tolist()), BINARY, cuts)
    ua = np.array(columns["carrier"]) == "UA"

    assert cuts[0].values == ("AA", "UA", "B6")
    assert set(reference.slice_counts) == {
        "carrier=AA",
        "carrier=UA",
        "carrier=B6",
        *(f"month={i}" for i in range(1, 13)),
    }
    counts = reference.slice_counts["carrier=UA"]
    assert set(counts) == {"feature:delay", "feature:carrier", "feature:month", "prediction"}
    assert {sum(cells) for cells in counts.values()} == {int(ua.sum())}
    assert reference.slice_performance["carrier=UA"]["prevalence"] == pytest.approx(y[ua].mean())
    whole = sum(np.array(reference.slice_counts[f"month={i}"]["feature:delay"]) for i in range(1, 13))
    assert tuple(whole) == reference.features[0].bins.counts


def test_multiclass_counts_classes_in_their_order_even_those_never_predicted():
    task = Task(kind="multiclass", output="p", classes=("late", 7, True))
    scores = np.array([[0.2, 0.8, 0.0], [0.7, 0.2, 0.1], [np.nan, 0.5, 0.5], [0.5, 0.5, 0.0]])
    reference = build_reference("m", "1", Sample({"x": [1.0] * 4}, scores, ["late", 7, True, "late"]), task)

    assert predicted_classes(task, scores) == ["7", "late", None, "late"]
    assert reference.prediction == CategoricalBins(values=("late", "7", "true"), tail=(), counts=(2, 1, 0, 0, 0, 1))
    assert len(reference.prediction.counts) == len(default_prediction_bins(task).counts)
    assert reference.performance["accuracy"] == pytest.approx(1 / 3)


def test_regression_measures_errors_in_the_spread_of_the_labels():
    random = np.random.default_rng(0)
    y = random.normal(100, 25, 3000)
    reference = build_reference(
        "m", "1", Sample({"x": y}, y + random.normal(0, 5, 3000), y), Task(kind="regression", output="y")
    )

    assert reference.target_std == pytest.approx(25, rel=0.05)
    assert layout_of(reference, None).target_scale == reference.target_std
    assert reference.performance["rmse"] == pytest.approx(5, rel=0.05)
    assert reference.performance["r2"] == pytest.approx(1 - 25 / 625, abs=0.01)


def test_labels_may_be_missing_and_scores_too():
    columns, p, y = flights()
    partly = build_reference(
        "m", "1", Sample(columns, p, [None if i % 2 else int(label) for i, label in enumerate(y)]), BINARY
    )
    assert partly.labelled == 2000
    unscored = build_reference("m", "1", Sample(columns), BINARY)
    assert (unscored.prediction, unscored.performance, unscored.labelled) == (None, {}, 0)
    assert build_reference("m", "1", Sample(columns), None).task is None
    numbers = build_reference("m", "1", Sample(columns, p, np.where(y == 1, 1.0, np.nan)), BINARY)
    assert (numbers.labelled, numbers.positives) == (y.sum(), y.sum())


def test_scores_that_are_missing_are_counted_as_missing():
    columns, p, y = flights()
    p = np.where(np.arange(4000) < 40, np.nan, p)
    reference = build_reference("m", "1", Sample(columns, p, y), BINARY)
    assert reference.prediction.counts[len(reference.prediction.edges) + 1] == 40
    assert math.isfinite(reference.performance["auc"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {}, "scores": None, "labels": None}, "one length above 0"),
        ({"columns": {"x": []}, "scores": None, "labels": None}, "one length above 0"),
        ({"columns": {"x": [1.0, 2.0]}, "scores": np.zeros(3)}, r"the scores.*3"),
        ({"labels": [0, 1, 2]}, "label 2 in row 2 is not a class"),
        ({"labels": [0, "1", 1]}, "label '1' in row 1 is not a class"),
        ({"scores": None}, "labels without scores"),
        ({"scores": np.zeros((3, 2))}, "needs \\[n\\]"),
        ({"task": None, "labels": None}, "scores need a task"),
        ({"slices": [Slice(feature="gone", values=("a",))]}, "gone.*not in the data"),
        ({"categorical": ["gone"]}, "gone.*not in the data"),
        ({"slices": [Slice(feature="x", values=tuple(range(33)))]}, "more than 32 slices"),
    ],
)
def test_data_that_make_no_sense_are_refused_with_the_reason(change, message):
    given = {"columns": {"x": [1.0, 2.0, 3.0]}, "scores": np.array([0.1, 0.2, 0.3]), "labels": [0, 1, 1]}
    given |= {"task": BINARY, "slices": (), "categorical": ()} | change
    sample = Sample(given["columns"], given["scores"], given["labels"])
    with pytest.raises(InvalidInput, match=message):
        build_reference("m", "1", sample, given["task"], given["slices"], given["categorical"])


def test_only_text_whole_numbers_and_booleans_make_slices():
    assert frequent_slices("x", np.array([1.0, 1.0, 2.0])).values == (1, 2)
    assert frequent_slices("x", [True, None, True, False]).values == (True, False)
    assert len(frequent_slices("x", [str(i) for i in range(100)]).values) == 16
    with pytest.raises(InvalidInput, match=r"'x' holds 0\.5"):
        frequent_slices("x", [0.5])
