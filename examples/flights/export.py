"""Turns a fitted pipeline, preprocessing and all, into one ONNX graph, and proves that both say the same.

Enters: a fitted scikit-learn pipeline and rows to try it on. Leaves: the graph's bytes. Never lets a graph out that differs.
"""

import warnings
from typing import Any, Final

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.pipeline import Pipeline

from examples.flights.data import STRINGS, WHOLE_NUMBERS
from examples.flights.versions import MODEL

OPSET: Final = 21
DIFFERENCE_MAX: Final = 1e-5
"""Greatest difference between a probability of the graph (single precision) and of scikit-learn (double)."""


def export(pipeline: Pipeline, rows: pd.DataFrame) -> bytes:
    """The graph with one [n, 1] input for each column of `rows` and the outputs `label` [n] and `probabilities` [n, 2].

    Raises ValueError where the graph's probabilities of `rows` are not scikit-learn's to within DIFFERENCE_MAX.
    """
    graph = _graph(pipeline, [str(name) for name in rows.columns])
    difference = largest_difference(graph, pipeline, rows)
    if not difference <= DIFFERENCE_MAX:
        raise ValueError(f"the ONNX graph differs from scikit-learn by {difference:.3g}; allowed is {DIFFERENCE_MAX}")
    return graph


def probabilities(graph: bytes, rows: pd.DataFrame) -> NDArray[np.float32]:
    """What the graph says of these rows: [n, 2], the second column the probability of a late arrival."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], feeds(rows))
    said: NDArray[np.float32] = found
    return said


def feeds(rows: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The columns as the graph takes them: one [n, 1] array each."""
    return {str(name): rows[[name]].to_numpy(_numpy_type(str(name))) for name in rows.columns}


def largest_difference(graph: bytes, pipeline: Pipeline, rows: pd.DataFrame) -> float:
    """The greatest absolute difference between the two implementations' probabilities over `rows`."""
    return float(np.abs(probabilities(graph, rows) - pipeline.predict_proba(rows)).max())


def _graph(pipeline: Pipeline, columns: list[str]) -> bytes:
    kinds = [(name, _onnx_type(name)([None, 1])) for name in columns]
    with warnings.catch_warnings():
        # skl2onnx 1.20 hands booleans to protobuf where the graph wants 0 and 1: that is its affair, the result is right.
        warnings.filterwarnings("ignore", r"Field onnx\.AttributeProto\.ints: Expected an int", DeprecationWarning)
        options = {id(pipeline): {"zipmap": False}}
        model = to_onnx(pipeline, initial_types=kinds, name=MODEL, options=options, target_opset=OPSET)
    # skl2onnx lists them in the order of a set: the version's digest would vary with it from process to process
    model.opset_import.sort(key=lambda opset: opset.domain)
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def _onnx_type(name: str) -> Any:
    if name in STRINGS:
        return StringTensorType
    return Int64TensorType if name in WHOLE_NUMBERS else FloatTensorType


def _numpy_type(name: str) -> "type[np.generic | object]":
    if name in STRINGS:
        return object
    return np.int64 if name in WHOLE_NUMBERS else np.float32
