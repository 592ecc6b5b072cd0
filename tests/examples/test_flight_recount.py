"""The recount reads the log by itself: winning labels, retractions, scores by version and variant."""

import itertools
import math

import pytest

from contracts.errors import InvalidRecord
from contracts.label import Label
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.statistic import Statistic
from contracts.task import Task
from contracts.wire import encode
from examples.flights.closing import all_counted, closings
from examples.flights.recount import Log, recount
from prediction_log.spool.reader import Entry
from prediction_log.spool.segment import Kind
from tests.prediction_log.compact_kit import plain_twin

TASKS = {"1": Task(kind="binary", output="probabilities", classes=(0, 1), threshold=0.5)}
CHAMPION = ("champion", "1")


def prediction(name, late, *, variant="champion", version="1", status="ok", rows=1):
    late = late if isinstance(late, list) else [late]
    output = Output(datatype="FP32", shape=[rows, 2], data=[part for p in late for part in (1 - p, p)])
    return Prediction(
        prediction_id=name,
        request_id=None,
        received_us=0,
        event_us=0,
        model="flight-delay",
        version=version,
        digest="d",
        variant=variant,
        role="champion" if variant == "champion" else "shadow",
        answered=variant == "champion",
        revision=1,
        assignment=Assignment(
            unit_hash="0" * 16, unit_source="routing_key", salt="s", share=1.0, propensity=1.0, reason="hash"
        ),
        rows=rows,
        features={},
        extra_features=[],
        outputs={"probabilities": output} if status == "ok" else {},
        status=status,
        error_code=None,
        error=None,
        fallback_from=None,
        latency=Latency(queue_us=0, run_us=0, total_us=0),
        batch_rows=rows,
        worker="worker-0",
        gateway_version="0",
    )


def label(name, value, *, version=0, observed=0, op="upsert"):
    return Label(prediction_id=name, label=value, observed_us=observed, received_us=0, label_version=version, op=op)


def log_of(*records):
    kinds = {Prediction: Kind.PREDICTION, Label: Kind.LABEL}
    log = Log(TASKS)
    log.take(Entry("log", seq, kinds[type(record)], encode(record)) for seq, record in enumerate(records, 1))
    return log


HAND_MADE = (
    prediction("a", 0.9),
    prediction("b", 0.2),
    prediction("c", 0.6),
    prediction("d", 0.4),
    prediction("cancelled", 0.5),
    label("a", 0, version=0, observed=5),
    label("a", 1, version=1, observed=3),
    label("b", 0),
    label("c", 0),
    label("d", 1),
    label("d", 1),
    label("unknown", 1),
)


def test_figures_of_a_hand_made_log_are_those_made_by_hand():
    found = recount(log_of(*HAND_MADE))[CHAMPION]
    assert (found.predictions, found.labelled, found.label_coverage, found.share) == (5, 4, 0.8, 1.0)
    # positives 0.9 and 0.4, negatives 0.2 and 0.6: three of four pairs in order
    assert found.auc == pytest.approx(0.75)
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.36 + 0.36) / 4)
    assert found.log_loss == pytest.approx(-sum(map(math.log, (0.9, 0.8, 0.4, 0.4))) / 4)
    assert found.ece == pytest.approx((0.1 + 0.2 + 0.6 + 0.6) / 4)
    assert (found.precision, found.recall) == (0.5, 0.5)


def test_the_order_of_arrival_does_not_matter():
    some = HAND_MADE[:2] + HAND_MADE[5:8]
    expected = recount(log_of(*some))
    for order in itertools.permutations(some):
        assert recount(log_of(*order)) == expected


def test_a_retracted_label_counts_no_more():
    found = recount(log_of(prediction("a", 0.9), label("a", 1), label("a", None, version=1, op="retract")))[CHAMPION]
    assert (found.labelled, found.auc, found.brier) == (0, None, None)


def test_one_class_has_no_auc():
    found = recount(log_of(prediction("a", 0.9), label("a", 1)))[CHAMPION]
    assert found.auc is None
    assert found.log_loss == pytest.approx(-math.log(0.9))


def test_a_prediction_that_failed_has_no_figures():
    assert recount(log_of(prediction("a", 0.9, status="error"))) == {}


def test_a_shadow_is_measured_by_its_own_scores_and_the_same_label():
    log = log_of(prediction("a", 0.9), prediction("a", 0.2, variant="shadow-1"), label("a", 1))
    found = recount(log)
    assert found["shadow-1", "1"].brier == pytest.approx(0.64)
    assert found["shadow-1", "1"].share == 1.0


def test_rows_of_one_request_have_labels_of_their_own():
    found = recount(log_of(prediction("a", [0.9, 0.1], rows=2), label("a#0", 1), label("a#1", 0)))[CHAMPION]
    assert (found.predictions, found.labelled, found.auc) == (2, 2, 1.0)


def rows_saying(found, **changed):
    said = {
        "predictions": float(found.predictions),
        "label_coverage": found.label_coverage,
        "log_loss": found.log_loss,
        "brier": found.brier,
        "ece": found.ece,
        "precision": found.precision,
        "recall": found.recall,
    } | changed
    auc = changed.pop("auc", found.auc)
    rows = [row(name, value) for name, value in said.items() if name != "auc"]
    return [*rows, row("auc", auc), row("auc_bound", auc, auc - 0.01, auc + 0.01)]


def row(statistic, value, low=None, high=None, *, feature=""):
    return Statistic(
        model="flight-delay",
        version="1",
        variant="champion",
        slice="",
        from_="",
        to="",
        feature=feature,
        statistic=statistic,
        value=value,
        low=low,
        high=high,
        n=4,
        status="ok",
    )


def test_equal_figures_agree():
    recounts = recount(log_of(*HAND_MADE))
    (closing,) = closings(recounts, rows_saying(recounts[CHAMPION]))
    assert closing.agrees
    assert {comparison.statistic for comparison in closing.comparisons} == {
        "predictions",
        "auc",
        "label_coverage",
        "log_loss",
        "brier",
        "ece",
        "precision",
        "recall",
    }


@pytest.mark.parametrize(
    ("statistic", "value"), [("predictions", 6.0), ("brier", 0.1926), ("auc", 0.77), ("recall", None), ("ece", 0.0)]
)
def test_a_figure_that_differs_does_not_agree(statistic, value):
    recounts = recount(log_of(*HAND_MADE))
    rows = [r for r in rows_saying(recounts[CHAMPION]) if r.statistic not in {statistic, f"{statistic}_bound"}]
    rows.append(row(statistic, value))
    if statistic == "auc":
        rows.append(row("auc_bound", value, value - 0.01, value + 0.01))
    (closing,) = closings(recounts, rows)
    assert [c.statistic for c in closing.comparisons if not c.agrees] == [statistic]
    assert not closing.agrees


def test_without_the_monitors_rows_nothing_agrees():
    recounts = recount(log_of(*HAND_MADE))
    (closing,) = closings(recounts, [])
    assert not any(comparison.agrees for comparison in closing.comparisons)
    assert not all_counted(recounts, [])


def test_an_interval_of_auc_holds_what_the_bins_hide():
    recounts = recount(log_of(*HAND_MADE))
    (closing,) = closings(recounts, rows_saying(recounts[CHAMPION], auc=0.755))
    assert closing.agrees


def test_the_most_drift_comes_first():
    drift = [
        row("psi", value, feature=name) for name, value in (("temp", 0.3), ("dest", 0.1), ("hour", 0.2), ("x", 0.0))
    ]
    (closing,) = closings(recount(log_of(*HAND_MADE)), drift)
    assert [found.feature for found in closing.drift] == ["temp", "hour", "dest"]


def test_a_log_of_compact_records_is_recounted_like_one_of_json():
    twins = [plain_twin(number, version="1") for number in range(20)]
    task = Task(kind="binary", output="p", classes=(0, 1), threshold=0.5)
    logs = [Log({"1": task}), Log({"1": task})]
    logs[0].take(Entry("log", seq, Kind.PREDICTION, twin.payload) for seq, twin in enumerate(twins, 1))
    logs[1].take(Entry("log", seq, Kind.PREDICTION, encode(twin.prediction)) for seq, twin in enumerate(twins, 1))

    assert recount(logs[0]) == recount(logs[1])
    assert recount(logs[0])[CHAMPION].predictions == 20
    with pytest.raises(InvalidRecord):
        logs[0].take([Entry("log", 21, Kind.PREDICTION, twins[0].payload[:-1])])
