"""Where each count of a version stands in its summaries' vector of integers.

Enters: a reference (or none: then only rows, statuses and, with a task, performance over default score bins).
Leaves: a layout: named sections of one int64 vector; a summary is that vector, so summaries add and subtract.
Never counts anything itself.

Sums of real numbers are integers too: each term is round(x * SCALE) before it is added, so that adding and taking back
are exact, in any order. Regression errors are first divided by `Layout.target_scale` and clipped to +-ERROR_CLIP.
"""

from typing import Final, NamedTuple

import numpy as np

from contracts.reference import SCORE_BINS, CategoricalBins, NumericBins, Reference
from contracts.task import Task

SCALE: Final = 2**20
ERROR_CLIP: Final = 1e4
CALIBRATION_BINS: Final = 60
CLASS_SCORE_BINS: Final = 100
STATUSES: Final = ("ok", "error", "timeout", "refused", "skipped", "fallback")
"""Cells of the section `statuses`: records by status; `fallback` counts answers given by the champion for another."""


class Section(NamedTuple):
    """A named run of cells: [start, start + size)."""

    start: int
    size: int

    @property
    def cells(self) -> slice:
        """The slice of the vector that this section is."""
        return slice(self.start, self.start + self.size)


class Layout(NamedTuple):
    """The sections of one version's vector, `size` cells in all.

    Always: `statuses` (as STATUSES), `rows` (1 cell: rows of ok records), `labelled` (1 cell: those with a label).
    Each feature of the reference: `feature:<name>`, cells as `contracts.reference` says. `prediction` likewise.
    Binary: `negatives` and `positives` over the cells of `prediction`; `calibration_n`, `calibration_positive`,
    `calibration_p` (sum of p * SCALE) over CALIBRATION_BINS equal widths of [0, 1]; `log_loss`, `brier`,
    `spiegelhalter` (2 cells: sum of (y-p)(1-2p) and of (1-2p)^2 p(1-p)).
    Multiclass, k classes: `confusion` (k*k, row = truth, column = predicted), `class_positives` and `class_negatives`
    (k * CLASS_SCORE_BINS, equal widths of [0, 1], one class against the rest), `calibration_*` of the top class
    (`calibration_positive`: it was right), `log_loss`, `brier`.
    Regression: `error` (6 cells: sums of e, |e|, e^2, y, y^2 in units of `target_scale`, and the number of clipped rows).
    """

    reference_hash: str
    task: Task | None
    sections: dict[str, Section]
    size: int
    prediction: NumericBins | CategoricalBins | None
    target_scale: float

    def zeros(self) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        """A vector of no observations."""
        return np.zeros(self.size, np.int64)


def layout_of(reference: Reference | None, task: Task | None) -> Layout:
    """The layout of a version with this reference; `task` (from its metadata) is used where the reference has none."""
    task = reference.task if reference is not None and reference.task is not None else task
    prediction = reference.prediction if reference is not None else None
    if prediction is None and task is not None:
        prediction = default_prediction_bins(task)
    sizes = {"statuses": len(STATUSES), "rows": 1, "labelled": 1}
    if reference is not None:
        sizes |= {f"feature:{feature.name}": cells_of(feature.bins) for feature in reference.features}
    if prediction is not None:
        sizes["prediction"] = cells_of(prediction)
    if task is not None:
        sizes |= _performance_sizes(task, prediction)
    sections, start = {}, 0
    for name, size in sizes.items():
        sections[name] = Section(start, size)
        start += size
    scale = reference.target_std if reference is not None and reference.target_std else 1.0
    return Layout(reference.hash if reference is not None else "", task, sections, start, prediction, scale)


def cells_of(bins: NumericBins | CategoricalBins) -> int:
    """How many cells these bins have, the special ones included."""
    return len(bins.edges) + 4 if isinstance(bins, NumericBins) else len(bins.values) + 3


def default_prediction_bins(task: Task) -> NumericBins | CategoricalBins | None:
    """Bins where no reference gives any: equal widths of [0, 1] for a probability, the classes, or none (regression)."""
    if task.kind == "regression":
        return None
    if task.kind == "multiclass":
        values = tuple(str(value) for value in task.classes)
        return CategoricalBins(values=values, tail=(), counts=(0,) * (len(values) + 3))
    grid = {float(edge) for edge in np.linspace(0.0, 1.0, SCORE_BINS + 1)[1:]}
    just_under = {float(np.nextafter(0.0, -1.0)), float(np.nextafter(task.threshold, -1.0))}
    edges = tuple(sorted(grid | just_under))
    display = tuple(range(0, len(edges), 50))
    return NumericBins(edges=edges, display=display, counts=(0,) * (len(edges) + 4), mean=None, std=None)


def _performance_sizes(task: Task, prediction: NumericBins | CategoricalBins | None) -> dict[str, int]:
    if task.kind == "regression":
        return {"error": 6}
    calibration = {f"calibration_{part}": CALIBRATION_BINS for part in ("n", "positive", "p")}
    if task.kind == "binary":
        assert prediction is not None, "a binary task always has score bins"
        score = cells_of(prediction)
        return {"negatives": score, "positives": score} | calibration | {"log_loss": 1, "brier": 1, "spiegelhalter": 2}
    k = len(task.classes)
    return (
        {"confusion": k * k, "class_positives": k * CLASS_SCORE_BINS, "class_negatives": k * CLASS_SCORE_BINS}
        | calibration
        | {"log_loss": 1, "brier": 1}
    )
