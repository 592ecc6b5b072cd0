"""Classifiers as scikit-learn's converters write them by default: scores as one map of class to score a row -> a tensor.

Enters: a graph's outputs, and what a run gave for them. Leaves: the same outputs as tensors of [n, classes], the classes in
ascending order. A version without such an output is not touched: its runs go straight to onnxruntime. Never opens a
graph. The operator: ZipMap of the domain ai.onnx.ml, https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.errors import ModelFailed, ModelRejected
from gateway.models.graph_signature import GraphTensor
from gateway.models.inputs import Array

MAPS: Final = frozenset({"seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))"})
CLASSES_MAX: Final = 10_000

RunPlainly = Callable[[Sequence[str], Mapping[str, Array], Any], list[Any]]
"""onnxruntime's own: names of outputs, arrays, options of the run or None."""


class Scores(NamedTuple):
    """The output at `place` is a list of maps, with these keys."""

    place: int
    classes: tuple[int | str, ...]


def scores_of(outputs: Sequence[GraphTensor], given: Sequence[Any]) -> tuple[Scores, ...]:
    """Which of a run's outputs are maps, and of which classes; raises ModelRejected where that cannot be told."""
    found = []
    for place, (tensor, rows) in enumerate(zip(outputs, given, strict=True)):
        if tensor.type not in MAPS:
            continue
        if not rows or not all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows):
            raise ModelRejected(f"output {tensor.name!r} is {tensor.type}, and its rows are not of the same classes")
        if len(rows[0]) > CLASSES_MAX:
            raise ModelRejected(
                f"output {tensor.name!r} has {len(rows[0])} classes; at most {CLASSES_MAX} can be served"
            )
        found.append(Scores(place, tuple(sorted(rows[0]))))
    return tuple(found)


def as_tensors(outputs: Sequence[GraphTensor], scores: Sequence[Scores]) -> list[GraphTensor]:
    """The outputs as they are served."""
    served = list(outputs)
    for place, classes in scores:
        served[place] = GraphTensor(outputs[place].name, "tensor(float)", [None, len(classes)])
    return served


def unmapped(run: RunPlainly, scores: Sequence[Scores]) -> RunPlainly:
    """A run that gives tensors; raises ModelFailed where a row lacks a class."""

    def run_and_unmap(names: Sequence[str], feeds: Mapping[str, Array], options: Any) -> list[Any]:
        given = run(names, feeds, options)
        for place, classes in scores:
            try:
                rows = [[row[label] for label in classes] for row in given[place]]
            except KeyError as missing:
                raise ModelFailed(f"output {names[place]!r} holds a row without the class {missing}") from None
            given[place] = np.array(rows, np.float32).reshape(len(rows), len(classes))
        return given

    return run_and_unmap if scores else run
