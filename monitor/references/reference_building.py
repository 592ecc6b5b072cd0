"""Training or validation data -> the reference of a version: its bins, its counts, its own performance, all hashed.

Enters: columns as the model sees them (cast to its input types), its scores, and labels where there are any. Leaves: a
`Reference`, or `InvalidInput` that names what is wrong. Never reads a file, never runs a model.

The reference's own performance is measured by the monitor's own functions on the monitor's own counts, so that a version
is held against figures that were taken the same way.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import InvalidInput
from contracts.reference import FINE_BINS, SCORE_BINS, CategoricalBins, Feature, NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import encode_canonical
from monitor.counts.binning import Cells, Values, category_of, cells_of_column
from monitor.counts.counting import Counts, count_labelled
from monitor.counts.layout import Layout, cells_of, layout_of
from monitor.counts.truth import truth_of, truth_table
from monitor.measures.policy import MonitorPolicy
from monitor.measures.statistics import performance
from monitor.references.reference_bins import bins_of, numeric_bins, tally_of

Floats = npt.NDArray[np.float64]

SLICES_MAX: Final = 32
"""Slices of one model: each costs the monitor a vector of counts per pane."""
SLICE_VALUES_MAX: Final = 16
"""Values that a feature is sliced by unless they are named; the most frequent ones."""


class Sample(NamedTuple):
    """The data, row by row: one value a row in every column; `scores` is [n] (binary: the probability of the positive
    class; regression: the value) or [n, k] (multiclass), as float64; `labels` are as the outside world writes them, null
    where the truth is not known.
    """

    columns: Mapping[str, Values]
    scores: Floats | None = None
    labels: Values | None = None


def build_reference(
    model: str,
    version: str,
    sample: Sample,
    task: Task | None,
    slices: Sequence[Slice] = (),
    categorical: Iterable[str] = (),
    thresholds: Sequence[float] = (),
) -> Reference:
    """The reference of one version.

    `categorical` names features that hold categories whatever they look like; `thresholds` are decision thresholds beside
    the task's own. Raises `InvalidInput` where lengths differ, a name is unknown, or labels are none of the task's.
    """
    rows = _check(sample, task, slices, frozenset(categorical))
    declared = frozenset(categorical)
    features = tuple(
        Feature(name=name, bins=bins_of(values, categorical=name in declared))
        for name, values in sample.columns.items()
    )
    truths = None if sample.labels is None or task is None else truths_of(task, sample.labels)
    reference = Reference(
        model=model,
        version=version,
        rows=rows,
        task=task,
        features=features,
        prediction=_prediction_bins(task, sample.scores, thresholds),
        slices=tuple(slices),
        labelled=0 if truths is None else int(np.isfinite(truths).sum()),
        positives=_positives(task, truths),
        target_std=_target_std(task, truths),
    )
    return sealed(_measured(reference, sample, truths))


def sealed(reference: Reference) -> Reference:
    """The reference with the hash of its content."""
    content = msgspec.structs.replace(reference, hash="")
    return msgspec.structs.replace(content, hash=hashlib.sha256(encode_canonical(content)).hexdigest())


def frequent_slices(name: str, values: Values) -> Slice:
    """A slice for each of the most frequent values of a feature, at most `SLICE_VALUES_MAX`.

    Raises `InvalidInput` where the feature holds other than text, whole numbers and booleans.
    """
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    tally: dict[str, list[Any]] = {}
    for value in plain:
        category = category_of(value)
        if category is not None:
            tally.setdefault(category, [value, 0])[1] += 1
    ranked = sorted(tally, key=lambda category: (-tally[category][1], category))[:SLICE_VALUES_MAX]
    return Slice(feature=name, values=tuple(_slice_value(name, tally[category][0]) for category in ranked))


def predicted_classes(task: Task, scores: Floats) -> list[str | None]:
    """The class of the greatest probability, as JSON writes it; null where a probability is missing: [n]."""
    names = [category_of(label) for label in task.classes]
    known = np.asarray(np.isfinite(scores).all(axis=1))
    top = np.where(known, np.where(known[:, None], scores, 0.0).argmax(axis=1), -1)
    return [None if position < 0 else names[position] for position in top.tolist()]


def _check(sample: Sample, task: Task | None, slices: Sequence[Slice], categorical: frozenset[str]) -> int:
    lengths = {name: len(values) for name, values in sample.columns.items()}
    if sample.scores is not None:
        lengths["the scores"] = len(sample.scores)
    if sample.labels is not None:
        lengths["the labels"] = len(sample.labels)
    rows = next(iter(lengths.values()), 0)
    wrong = {name: length for name, length in lengths.items() if length != rows}
    if not rows or wrong:
        raise InvalidInput(f"a reference needs columns of one length above 0; the first has {rows}, others {wrong}")
    unknown = sorted((categorical | {cut.feature for cut in slices}) - set(sample.columns))
    if unknown:
        raise InvalidInput(f"features {unknown} are not in the data; it has {sorted(sample.columns)}")
    if sum(len(cut.values) for cut in slices) > SLICES_MAX:
        raise InvalidInput(f"more than {SLICES_MAX} slices: name fewer features or fewer values")
    if sample.scores is not None:
        _check_scores(sample.scores, task)
    elif sample.labels is not None:
        raise InvalidInput("labels without scores say nothing of the version: give its scores too")
    return rows


def _check_scores(scores: Floats, task: Task | None) -> None:
    if task is None:
        raise InvalidInput("scores need a task, to know what they mean: add `task` to the version's model.json")
    wanted = (len(task.classes),) if task.kind == "multiclass" else ()
    if scores.shape[1:] != wanted:
        raise InvalidInput(
            f"scores of shape {list(scores.shape)} for a {task.kind} task: needs [n{', k' * len(wanted)}]"
        )


def truths_of(task: Task, labels: Values) -> Floats:
    """The labels as `monitor.counts.truth` reads them, NaN where null: [n]. `InvalidInput` names one that is none."""
    table = truth_table(task)
    truths = np.full(len(labels), np.nan)
    for row, label in enumerate(labels.tolist() if isinstance(labels, np.ndarray) else labels):
        if category_of(label) is not None:
            value, reason = truth_of(table, label)
            if reason:
                raise InvalidInput(
                    f"label {label!r} in row {row} is {reason.replace('_', ' ')} of this {task.kind} task"
                )
            truths[row] = value
    return truths


def _positives(task: Task | None, truths: Floats | None) -> int:
    return int((truths == 1.0).sum()) if task is not None and task.kind == "binary" and truths is not None else 0


def _target_std(task: Task | None, truths: Floats | None) -> float | None:
    """The labels' standard deviation, in which errors are counted; null unless they vary."""
    if task is None or task.kind != "regression" or truths is None or np.isnan(truths).all():
        return None
    spread = float(np.nanstd(truths))
    return spread if spread > 0 and math.isfinite(spread) else None


def _prediction_bins(
    task: Task | None, scores: Floats | None, thresholds: Sequence[float]
) -> NumericBins | CategoricalBins | None:
    """Of a multiclass task one cell a class in the order of the classes, whether or not it was predicted."""
    if task is None or scores is None:
        return None
    if task.kind == "binary":
        return numeric_bins(scores, SCORE_BINS, (task.threshold, *thresholds))
    if task.kind == "regression":
        return numeric_bins(scores, FINE_BINS, tuple(thresholds))
    names = tuple(category_of(label) or "" for label in task.classes)
    empty = CategoricalBins(values=names, tail=(), counts=())
    cells = cells_of_column(empty, predicted_classes(task, scores))
    return CategoricalBins(values=names, tail=(), counts=tally_of(cells, cells_of(empty)))


def _measured(reference: Reference, sample: Sample, truths: Floats | None) -> Reference:
    """With its own performance, and with counts and performance of every slice."""
    layout = layout_of(reference, None)
    cells = _cells(reference, sample)
    masks = {
        f"{cut.feature}={category_of(value)}": _mask(sample.columns[cut.feature], value)
        for cut in reference.slices
        for value in cut.values
    }
    everything = np.ones(reference.rows, np.bool_)
    return msgspec.structs.replace(
        reference,
        performance=_figures(layout, sample.scores, truths, everything),
        slice_counts={
            name: {section: tally_of(column[mask], layout.sections[section].size) for section, column in cells.items()}
            for name, mask in masks.items()
        },
        slice_performance={name: _figures(layout, sample.scores, truths, mask) for name, mask in masks.items()},
    )


def _cells(reference: Reference, sample: Sample) -> dict[str, Cells]:
    """The cell of every value, by section."""
    cells = {
        f"feature:{feature.name}": cells_of_column(feature.bins, sample.columns[feature.name])
        for feature in reference.features
    }
    if reference.prediction is not None and reference.task is not None and sample.scores is not None:
        multiclass = reference.task.kind == "multiclass"
        predicted: Values = predicted_classes(reference.task, sample.scores) if multiclass else sample.scores
        cells["prediction"] = cells_of_column(reference.prediction, predicted)
    return cells


def _mask(values: Values, wanted: Any) -> npt.NDArray[np.bool_]:
    plain = values.tolist() if isinstance(values, np.ndarray) else values
    category = category_of(wanted)
    return np.fromiter((category_of(value) == category for value in plain), np.bool_, len(plain))


def _figures(
    layout: Layout, scores: Floats | None, truths: Floats | None, mask: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """The statistics of performance of some rows, by `statistic` or `statistic:feature`; undefined ones are left out."""
    if scores is None or truths is None or layout.task is None:
        return {}
    vector: Counts = count_labelled(layout, scores[mask], truths[mask])
    return {
        f"{found.statistic}:{found.feature}" if found.feature else found.statistic: found.interval.value
        for found in performance(layout, None, vector, "", MonitorPolicy())
        if found.interval.value is not None
    }


def _slice_value(name: str, value: Any) -> str | int | bool:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | int):
        return value
    raise InvalidInput(f"feature {name!r} holds {value!r}: only text, whole numbers and booleans make slices")
