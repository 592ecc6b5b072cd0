"""Rows with their truth -> the counts of performance: the sections of a layout that only labels fill.

Enters: a layout, predictions and truths as arrays. Leaves: an int64 vector; add it for a label, take it off again when
the label is corrected or retracted. Sums of real numbers are rounded to integers row by row
(`monitor.counts.layout.SCALE`), so the counts of many rows are exactly the sum of the counts of each. Never joins,
never judges.
"""

from typing import Any, Final, TypeAlias

import numpy as np

from contracts.reference import NumericBins
from monitor.counts.binning import Cells, Floats, calibration_cells, numeric_cells
from monitor.counts.layout import CLASS_SCORE_BINS, ERROR_CLIP, SCALE, Layout

Counts: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.int64]]"
Probabilities: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"

P_MIN: Final = 1e-15
"""The least probability that log loss takes the logarithm of: one sure and wrong answer costs 34.5 nats, not infinity."""


def count_labelled(layout: Layout, predicted: "Floats | Probabilities", truths: Floats) -> Counts:
    """The counts of rows whose truth is known: [size]; `labelled` and the performance sections, nothing else.

    `predicted` is [n] (binary: probability of the positive class; regression: the value) or [n, k] (multiclass),
    `truths` [n] as `monitor.counts.truth` gives them, NaN where there is none. Rows without a truth count nowhere; a
    labelled row whose prediction is NaN counts in `labelled` and, binary, in the missing cell of its class.
    """
    assert layout.task is not None, "without a task there is nothing to hold a label against"
    known = ~np.isnan(truths)
    predicted, truths = predicted[known], truths[known]
    vector = layout.zeros()
    _put(layout, vector, "labelled", np.array([len(truths)]))
    if layout.task.kind == "binary":
        _count_binary(layout, vector, predicted, truths)
    elif layout.task.kind == "multiclass":
        _count_multiclass(layout, vector, predicted, truths.astype(np.int64))
    else:
        _count_regression(layout, vector, predicted, truths)
    return vector


def _count_binary(layout: Layout, vector: Counts, p: Any, y: Floats) -> None:
    assert isinstance(layout.prediction, NumericBins), "a binary task always has score bins"
    cells = numeric_cells(np.asarray(layout.prediction.edges), p)
    for section, wanted in (("negatives", 0.0), ("positives", 1.0)):
        _put(layout, vector, section, _tally(cells[y == wanted], layout.sections[section].size))
    scored = np.isfinite(p)
    p, y = np.clip(p[scored], 0.0, 1.0), y[scored]
    _count_calibration(layout, vector, p, y)
    _put(layout, vector, "log_loss", _total(-np.log(np.clip(np.where(y == 1.0, p, 1.0 - p), P_MIN, 1.0))))
    _put(layout, vector, "brier", _total((y - p) ** 2))
    spread = 1.0 - 2.0 * p
    _put(layout, vector, "spiegelhalter", np.concatenate([_total((y - p) * spread), _total(spread**2 * p * (1.0 - p))]))


def _count_multiclass(layout: Layout, vector: Counts, p: Any, y: Cells) -> None:
    scored = np.isfinite(p).all(axis=1)
    p, y = np.clip(p[scored], 0.0, 1.0), y[scored]
    rows, k = p.shape
    top = p.argmax(axis=1)
    truth = np.zeros((rows, k))
    truth[np.arange(rows), y] = 1.0
    _put(layout, vector, "confusion", _tally(y * k + top, k * k))
    bins = np.arange(k) * CLASS_SCORE_BINS + np.clip((p * CLASS_SCORE_BINS).astype(np.int64), 0, CLASS_SCORE_BINS - 1)
    _put(layout, vector, "class_positives", _tally(bins[truth == 1.0], k * CLASS_SCORE_BINS))
    _put(layout, vector, "class_negatives", _tally(bins[truth == 0.0], k * CLASS_SCORE_BINS))
    _count_calibration(layout, vector, p.max(axis=1, initial=0.0), (top == y).astype(np.float64))
    _put(layout, vector, "log_loss", _total(-np.log(np.clip(p[np.arange(rows), y], P_MIN, 1.0))))
    _put(layout, vector, "brier", _total(((p - truth) ** 2).sum(axis=1)))


def _count_regression(layout: Layout, vector: Counts, predicted: Any, y: Floats) -> None:
    scored = np.isfinite(predicted) & np.isfinite(y)
    error, y = (predicted[scored] - y[scored]) / layout.target_scale, y[scored] / layout.target_scale
    clipped = np.count_nonzero((np.abs(error) > ERROR_CLIP) | (np.abs(y) > ERROR_CLIP))
    error, y = np.clip(error, -ERROR_CLIP, ERROR_CLIP), np.clip(y, -ERROR_CLIP, ERROR_CLIP)
    sums = [_total(term) for term in (error, np.abs(error), error**2, y, y**2)]
    _put(layout, vector, "error", np.concatenate([*sums, np.array([clipped])]))


def _count_calibration(layout: Layout, vector: Counts, p: Floats, y: Floats) -> None:
    bins = calibration_cells(p)
    size = layout.sections["calibration_n"].size
    _put(layout, vector, "calibration_n", _tally(bins, size))
    _put(layout, vector, "calibration_positive", _tally(bins[y == 1.0], size))
    sums = np.zeros(size, np.int64)
    np.add.at(sums, bins, _scaled(p))
    _put(layout, vector, "calibration_p", sums)


def _put(layout: Layout, vector: Counts, section: str, counts: Counts) -> None:
    vector[layout.sections[section].cells] = counts


def _tally(cells: Cells, size: int) -> Counts:
    return np.bincount(cells, minlength=size).astype(np.int64)


def _scaled(terms: Floats) -> Counts:
    return np.rint(terms * SCALE).astype(np.int64)


def _total(terms: Floats) -> Counts:
    return np.array([_scaled(terms).sum()], np.int64)
