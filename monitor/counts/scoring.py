"""A prediction and its truth -> the cells that the row adds to, and by how much.

Enters: a generation, predictions and truths of some rows. Leaves: cells and weights, one line a row: the same line with
the opposite sign takes the row back. The counts are those of `monitor.counts.counting`, row by row instead of added up,
because every row goes to its own pane and slices. Real numbers are rounded to integers row by row
(`monitor.counts.layout.SCALE`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from monitor.counts.binning import calibration_cells
from monitor.counts.columns import Bools, Floats, Ints, bin_numbers, usable_rows
from monitor.counts.counting import P_MIN
from monitor.counts.generation import Generation
from monitor.counts.join import Change
from monitor.counts.join_record import row_type
from monitor.counts.layout import CALIBRATION_BINS, CLASS_SCORE_BINS, ERROR_CLIP, SCALE, Layout
from monitor.counts.panes import PANE_US
from monitor.counts.summary import Marks, Summaries, empty, update


class Scored(NamedTuple):
    """Row i adds weights[j, i] to cells[j, i]; both are [m, rows] int64. A weight may be 0."""

    cells: Ints
    weights: Ints


class _Ledger:
    """Cells and weights as they are found, for all rows at once."""

    def __init__(self, layout: Layout, rows: int) -> None:
        self._layout = layout
        self._rows = rows
        self._cells: list[Ints] = []
        self._weights: list[Ints] = []

    def add(self, section: str, offset: Ints | int, weight: Ints | Bools | int) -> None:
        """Put `weight` on cell `offset` of a section, for every row."""
        start, size = self._layout.sections[section]
        cells = np.broadcast_to(np.asarray(offset, np.int64), self._rows)
        assert not len(cells) or (cells.min() >= 0 and cells.max() < size), (section, cells)
        self._cells.append(cells + start)
        self._weights.append(np.broadcast_to(np.asarray(weight, np.int64), self._rows))

    def scored(self) -> Scored:
        """All of them."""
        return Scored(np.stack(self._cells), np.stack(self._weights))


def count_changes(generation: Generation, group: int, changes: Sequence[Change]) -> Summaries:
    """The summaries that these changes add, all of one group: every row in the pane and slices of its prediction."""
    layout = row_type(generation.values)
    width = layout.itemsize
    rows = np.frombuffer(b"".join(c.record.rows[c.row * width : (c.row + 1) * width] for c in changes), layout)
    cells, weights = score(generation, rows["values"], np.array([change.truth for change in changes]))
    weights = weights * np.array([change.sign for change in changes], np.int64)
    panes = np.array([change.record.event_us // PANE_US for change in changes], np.int64)
    return update(empty(), group, generation.layout.size, Marks(cells, weights, panes, rows["mask"]))


def score(generation: Generation, values: Floats, truths: Floats) -> Scored:
    """What labelled rows add: predictions [rows, values] and truths [rows], as `outputs` and `truth` give them.

    Every row adds to `labelled`; one whose prediction is not finite adds nothing else, but for a binary task the special
    cell of its class.
    """
    ledger = _Ledger(generation.layout, len(truths))
    ledger.add("labelled", 0, 1)
    task = generation.task
    if task is None:
        return ledger.scored()
    usable = usable_rows(values)
    if task.kind == "regression":
        _score_regression(ledger, generation.layout.target_scale, values[:, 0], truths, usable)
    elif task.kind == "binary":
        _score_binary(ledger, generation, values[:, 0], truths, usable)
    else:
        _score_classes(ledger, values, truths.astype(np.int64), usable)
    return ledger.scored()


def _score_binary(ledger: _Ledger, generation: Generation, p: Floats, y: Floats, usable: Bools) -> None:
    assert generation.prediction is not None, "a binary task always has score bins"
    cells = bin_numbers(generation.prediction, p)
    ledger.add("negatives", cells, y == 0.0)
    ledger.add("positives", cells, y == 1.0)
    p = np.clip(np.where(usable, p, 0.0), 0.0, 1.0)
    _score_calibration(ledger, p, y, usable)
    spread = 1.0 - 2.0 * p
    ledger.add("log_loss", 0, _scaled(-np.log(np.clip(np.where(y == 1.0, p, 1.0 - p), P_MIN, 1.0)), usable))
    ledger.add("brier", 0, _scaled((y - p) ** 2, usable))
    ledger.add("spiegelhalter", 0, _scaled((y - p) * spread, usable))
    ledger.add("spiegelhalter", 1, _scaled(spread**2 * p * (1.0 - p), usable))


def _score_classes(ledger: _Ledger, values: Floats, y: Ints, usable: Bools) -> None:
    p = np.clip(np.where(usable[:, None], values, 0.0), 0.0, 1.0)
    rows, k = p.shape
    top = p.argmax(axis=1)
    ledger.add("confusion", y * k + top, usable)
    for label in range(k):
        bins = np.minimum((p[:, label] * CLASS_SCORE_BINS).astype(np.int64), CLASS_SCORE_BINS - 1)
        ledger.add("class_positives", bins + label * CLASS_SCORE_BINS, usable & (y == label))
        ledger.add("class_negatives", bins + label * CLASS_SCORE_BINS, usable & (y != label))
    _score_calibration(ledger, p.max(axis=1), (top == y).astype(np.float64), usable)
    ledger.add("log_loss", 0, _scaled(-np.log(np.clip(p[np.arange(rows), y], P_MIN, 1.0)), usable))
    ledger.add("brier", 0, _scaled(((p - (y[:, None] == np.arange(k))) ** 2).sum(axis=1), usable))


def _score_regression(ledger: _Ledger, scale: float, value: Floats, y: Floats, usable: Bools) -> None:
    with np.errstate(over="ignore"):  # what overflows is clipped, and counted as clipped
        error, y = (np.where(usable, value, 0.0) - y) / scale, y / scale
    clipped = (np.abs(error) > ERROR_CLIP) | (np.abs(y) > ERROR_CLIP)
    error, y = np.clip(error, -ERROR_CLIP, ERROR_CLIP), np.clip(y, -ERROR_CLIP, ERROR_CLIP)
    for cell, term in enumerate((error, np.abs(error), error**2, y, y**2)):
        ledger.add("error", cell, _scaled(term, usable))
    ledger.add("error", 5, clipped & usable)


def _score_calibration(ledger: _Ledger, p: Floats, y: Floats, usable: Bools) -> None:
    bins = np.minimum(calibration_cells(p), CALIBRATION_BINS - 1)
    ledger.add("calibration_n", bins, usable)
    ledger.add("calibration_positive", bins, usable & (y == 1.0))
    ledger.add("calibration_p", bins, _scaled(p, usable))


def _scaled(terms: Floats, usable: Bools) -> Ints:
    scaled: Ints = np.rint(np.where(usable, terms, 0.0) * SCALE).astype(np.int64)
    return scaled
