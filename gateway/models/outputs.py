"""A run's output arrays -> each request's own outputs.

Enters: one array an output, with the rows of all requests of a batch. Leaves: for each request its part, as flat lists,
or `ModelFailed` where the part holds NaN or an infinity: JSON cannot carry those, and a model that answers them has
failed. Never passes a row to another request than the one that sent it.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contracts.datatypes import FLOATS
from contracts.errors import ModelFailed
from contracts.prediction import Output
from contracts.signature import TensorSpec


def split_outputs(
    specs: Sequence[TensorSpec],
    arrays: Sequence["np.ndarray[Any, Any]"],
    rows: Sequence[int],
    label: str,
) -> list[dict[str, Output] | ModelFailed]:
    """The outputs of each request; request i sent `rows[i]` rows. Raises `ModelFailed` where the rows do not add up."""
    total = sum(rows)
    parts: list[dict[str, Output]] = [{} for _ in rows]
    suspects: list[TensorSpec] = []
    for spec, array in zip(specs, arrays, strict=True):
        if array.ndim == 0 or array.shape[0] != total:
            raise ModelFailed(f"{label}: output {spec.name!r} has shape {list(array.shape)} for {total} rows")
        if spec.datatype in FLOATS and not np.isfinite(array).all():
            suspects.append(spec)
        _deal(spec, array, rows, parts)
    if not suspects:
        return list(parts)
    return [_refuse_non_finite(part, suspects, label) for part in parts]


def _deal(spec: TensorSpec, array: "np.ndarray[Any, Any]", rows: Sequence[int], parts: list[dict[str, Output]]) -> None:
    tail = list(array.shape[1:])
    width = math.prod(tail)
    flat = array.ravel().tolist()
    if len(rows) == 1:
        parts[0][spec.name] = Output(datatype=spec.datatype, shape=[rows[0], *tail], data=flat)
        return
    start = 0
    for part, count in zip(parts, rows, strict=True):
        stop = start + count * width
        part[spec.name] = Output(datatype=spec.datatype, shape=[count, *tail], data=flat[start:stop])
        start = stop


def _refuse_non_finite(
    part: dict[str, Output], suspects: Sequence[TensorSpec], label: str
) -> dict[str, Output] | ModelFailed:
    for spec in suspects:
        output = part[spec.name]
        for position, value in enumerate(output.data):
            if not math.isfinite(value):
                row = position // max(1, math.prod(output.shape[1:]))
                name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
                return ModelFailed(f"{label}: output {spec.name!r} holds {name} at row {row}: JSON cannot carry it")
    return part
