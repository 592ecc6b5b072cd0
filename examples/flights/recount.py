"""The figures of every version a second time, straight from the log, by scikit-learn and none of the monitor's code.

Enters: the records of a prediction log. Leaves: counts and scores per version and variant. Never asks the monitor.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score, roc_auc_score

from contracts.errors import InvalidRecord
from contracts.label import Label, precedence
from contracts.prediction import Prediction, split_row
from contracts.task import Task
from contracts.wire import decode
from examples.flights.versions import Who
from prediction_log.rendering import rendered
from prediction_log.spool.reader import Entry
from prediction_log.spool.segment import Kind

ECE_BINS: Final = 10

Row = tuple[str, int]


class Recount(msgspec.Struct, frozen=True):
    """What the log says of one version in one variant; null where there is nothing to compute from.

    `share` is of all answered requests; for a shadow, of those it was asked beside. Log loss in nats; ECE over ECE_BINS
    equal widths of [0, 1].
    """

    predictions: int
    share: float
    labelled: int
    label_coverage: float
    auc: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    ece: float | None = None
    precision: float | None = None
    recall: float | None = None


@dataclass(slots=True)
class Log:
    """What is needed of a log: the probability of the positive class by row, of each version and variant, and the winning
    label of each row that has one. A row is (prediction id, row number). `tasks` says by version where the probability is.
    """

    tasks: Mapping[str, Task]
    scores: dict[Who, dict[Row, float]] = field(default_factory=dict)
    labels: dict[Row, Label] = field(default_factory=dict)
    answered: int = 0

    def take(self, entries: Iterable[Entry]) -> None:
        """Take the predictions that ran, and the labels; in any order. Raises InvalidRecord."""
        known = list(entries)
        for record in rendered([entry.payload for entry in known if entry.kind == Kind.PREDICTION]):
            if isinstance(record, InvalidRecord):
                raise record
            self._take_prediction(decode(Prediction, record))
        for entry in known:
            if entry.kind == Kind.LABEL:
                self._take_label(decode(Label, entry.payload))

    def _take_prediction(self, prediction: Prediction) -> None:
        self.answered += prediction.answered
        if prediction.status == "ok":
            of_variant = self.scores.setdefault((prediction.variant, prediction.version), {})
            of_variant.update(_scores_of(prediction, self.tasks[prediction.version]))

    def _take_label(self, label: Label) -> None:
        row = split_row(label.prediction_id)
        if row not in self.labels or precedence(label) > precedence(self.labels[row]):
            self.labels[row] = label


def recount(log: Log) -> dict[Who, Recount]:
    """The figures of every version and variant in the log."""
    return {who: _recounted(log, rows, log.tasks[who[1]]) for who, rows in sorted(log.scores.items())}


def _scores_of(prediction: Prediction, task: Task) -> dict[Row, float]:
    output = prediction.outputs[task.output]
    columns = np.asarray(output.data, np.float64).reshape(prediction.rows, -1)
    scores = columns[:, task.positive if columns.shape[1] > 1 else 0]
    return {(prediction.prediction_id, row): float(score) for row, score in enumerate(scores)}


def _recounted(log: Log, rows: dict[Row, float], task: Task) -> Recount:
    truths = {row: log.labels[row].label for row in rows if row in log.labels and log.labels[row].op == "upsert"}
    counts = Recount(
        predictions=len(rows),
        share=len(rows) / max(log.answered, 1),
        labelled=len(truths),
        label_coverage=len(truths) / len(rows),
    )
    if not truths:
        return counts
    truth = np.array([label == task.classes[task.positive] for label in truths.values()])
    return msgspec.structs.replace(
        counts, **_performance(truth, np.array([rows[row] for row in truths]), task.threshold)
    )


def _performance(truth: NDArray[np.bool_], scores: NDArray[np.float64], threshold: float) -> dict[str, float | None]:
    decided = scores >= threshold
    both = 0 < truth.sum() < len(truth)
    return {
        "auc": float(roc_auc_score(truth, scores)) if both else None,
        "log_loss": float(log_loss(truth, scores, labels=[False, True])),
        "brier": float(brier_score_loss(truth, scores)),
        "ece": _calibration_error(truth, scores),
        "precision": float(precision_score(truth, decided)) if decided.any() else None,
        "recall": float(recall_score(truth, decided)) if truth.any() else None,
    }


def _calibration_error(truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    bins = np.minimum((scores * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return float(np.abs(np.bincount(bins, weights=truth - scores)).sum() / len(scores))
