"""A label as the outside world wrote it -> the truth as a number, or the reason why it is none for this task.

Enters: a task and label values. Leaves: 0.0 or 1.0 (binary), the class's index (multiclass), the value (regression).
Never coerces: the string "1" is not the class 1, true is 1 only where 0 and 1 are what the classes are.
"""

import math
from typing import Any, Final, NamedTuple

from contracts.task import Task

Kind = tuple[str, Any]

NOT_A_CLASS: Final = "not_a_class"
NOT_A_NUMBER: Final = "not_a_number"
NOT_FINITE: Final = "not_finite"


class TruthTable(NamedTuple):
    """Label -> truth; `classes` is null where any finite number is a truth (regression) and `open` where nothing is known
    of the task: then every label is one, and only counted as there.
    """

    classes: dict[Kind, float] | None
    open: bool = False


class Truth(NamedTuple):
    """The truth, or why there is none (`reason` is empty where there is one)."""

    value: float
    reason: str = ""


def truth_table(task: Task | None) -> TruthTable:
    """How labels of this task are read."""
    if task is None or task.kind == "regression":
        return TruthTable(None, task is None)
    indices = {_kind(label): index for index, label in reversed(list(enumerate(task.classes)))}
    if task.kind == "multiclass":
        return TruthTable({kind: float(index) for kind, index in indices.items()})
    classes = {kind: float(index == task.positive) for kind, index in indices.items()}
    return TruthTable(_truth_values(classes) | classes)


def truth_of(table: TruthTable, label: Any) -> Truth:
    """What a label says under this table."""
    if table.open:
        return Truth(0.0)
    if table.classes is not None:
        truth = table.classes.get(_kind(label))
        return Truth(math.nan, NOT_A_CLASS) if truth is None else Truth(truth)
    if isinstance(label, bool) or not isinstance(label, int | float):
        return Truth(math.nan, NOT_A_NUMBER)
    try:
        value = float(label)
    except OverflowError:
        value = math.inf
    return Truth(value) if math.isfinite(value) else Truth(math.nan, NOT_FINITE)


def _truth_values(classes: dict[Kind, float]) -> dict[Kind, float]:
    """0, 1, false and true of a binary task, unless its classes are other numbers: there 1 may mean anything."""
    numbers = {value for kind, value in classes if kind == "number"}
    if not numbers <= {0, 1}:
        return {}
    zero = classes.get(("number", 0), classes.get(("boolean", False), 0.0))
    one = classes.get(("number", 1), classes.get(("boolean", True), 1.0))
    return {("number", 0): zero, ("number", 1): one, ("boolean", False): zero, ("boolean", True): one}


def _kind(label: Any) -> Kind:
    if isinstance(label, bool):
        return "boolean", label
    return ("number" if isinstance(label, int | float) else "text"), label
