"""The outputs of a batch of records -> the numbers that each row's prediction is: [rows, values].

Enters: the tensors that hold the predictions of one version's records, and its task. Leaves: the probability of the
positive class (binary), one probability a class (multiclass) or the value (regression); NaN where the record has no such
tensor, in the wrong shape, or no number. Never raises on a tensor.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from contracts.prediction import Output
from contracts.task import Task
from monitor.counts.columns import Floats, parse_numbers


class Predicted(NamedTuple):
    """`values` is [rows, values]; `unusable` rows have no usable output."""

    values: Floats
    unusable: int


def predicted_of(task: Task, outputs: Sequence[Output | None], rows: Sequence[int]) -> Predicted:
    """Every row's prediction, record after record; at least one record."""
    whole = _taken(task, outputs, rows)
    if whole is not None:
        return whole
    parts = [
        _taken(task, [output], [count]) or Predicted(np.full((count, _values(task)), np.nan), count)
        for output, count in zip(outputs, rows, strict=True)
    ]
    return Predicted(np.concatenate([part.values for part in parts]), sum(part.unusable for part in parts))


def predicted_of_table(task: Task, values: npt.NDArray[Any] | list[Any] | None, rows: int, width: int) -> Predicted:
    """Every row's prediction where one tensor [rows, width] holds all of them, flat; null where there is none."""
    if values is None or not rows or not _fits(task, width):
        return Predicted(np.full((rows, _values(task)), np.nan), rows)
    numbers, wrong = parse_numbers(values) if isinstance(values, list) else (values.astype(np.float64), 0)
    return _predicted(task, numbers.reshape(-1, width), wrong)


def _predicted(task: Task, table: Floats, wrong: int) -> Predicted:
    if task.kind == "binary" and table.shape[1] > 1:
        table = table[:, task.positive : task.positive + 1]
    return Predicted(np.ascontiguousarray(table), min(wrong, len(table)))


def _taken(task: Task, outputs: Sequence[Output | None], rows: Sequence[int]) -> Predicted | None:
    """All records at once, or null where they differ in shape or one of them cannot be used."""
    data = [output.data for output in outputs if output is not None and output.shape]
    if len(data) < len(outputs) or not rows or not rows[0]:
        return None
    width = len(data[0]) // rows[0]
    if list(map(len, data)) != [count * width for count in rows] or not _fits(task, width):
        return None
    if [output.shape[0] for output in outputs if output is not None] != list(rows):
        return None
    numbers, wrong = parse_numbers(list(chain.from_iterable(data)))
    return _predicted(task, numbers.reshape(-1, width), wrong)


def _fits(task: Task, width: int) -> bool:
    if task.kind == "binary":
        return width == 1 or width > task.positive >= 0
    return width == _values(task) and width > 0


def _values(task: Task) -> int:
    return len(task.classes) if task.kind == "multiclass" else 1
