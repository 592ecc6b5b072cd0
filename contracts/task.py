"""What a model predicts, and where in its outputs the prediction stands."""

from typing import Literal

from contracts.wire import Contract


class Task(Contract, frozen=True, kw_only=True):
    """`output` is the tensor that holds the prediction: [n] or [n, 1] values (regression, or the probability of a binary
    model), or [n, k] with one probability a class. `classes` are the labels as the outside world writes them, in column
    order; for a binary model without them they are 0 and 1. `positive` is the index of the positive class. `threshold`
    turns a binary probability into a decision: positive where p >= threshold.
    """

    kind: Literal["binary", "multiclass", "regression"]
    output: str
    classes: tuple[str | int | bool, ...] = ()
    positive: int = 1
    threshold: float = 0.5


class Slice(Contract, frozen=True, kw_only=True):
    """A declared cut through the traffic: one slice `feature=value` for each value of a categorical feature."""

    feature: str
    values: tuple[str | int | bool, ...]
