"""`input_example.json` -> the arrays of a first request, read exactly as live requests are read.

Enters: its bytes and the version's signature. Leaves: one array an input, or ModelRejected: an example that the version
could not be sent is no example. Three forms are read: a V2 request, a plain object of input names and nested lists, and
what MLflow saves beside a model.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from contracts.datatypes import NUMPY_OF
from contracts.errors import InvalidInput, ModelRejected
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import Array, Missing, fit, gather
from gateway.models.mlflow_example import named_values
from gateway.protocol.json_tree import read_tree
from gateway.protocol.v2 import decode_infer

RANK_MAX = 32


def read_example(content: bytes, signature: Signature) -> dict[str, Array]:
    """The arrays that the example holds, all with the same number of rows."""
    try:
        request = decode_infer(_as_v2(content, signature))
    except InvalidInput as error:
        raise ModelRejected(f"input_example.json: {error}") from None
    fitted = fit(request, signature)
    if isinstance(fitted, Missing):
        raise ModelRejected(fitted.message("input_example.json"))
    if fitted.extra:
        raise ModelRejected(f"input_example.json: the graph has no input {fitted.extra[0]!r}")
    return dict(gather([fitted], signature))


def zeros(signature: Signature) -> dict[str, Array]:
    """One row of zeros, false and empty strings; free dimensions are 1."""
    return {spec.name: np.full(_smallest(spec), _zero(spec), NUMPY_OF[spec.datatype]) for spec in signature.inputs}


def repeated(feeds: Mapping[str, Array], rows: int) -> dict[str, Array]:
    """As many rows, those of `feeds` over and over."""
    return {name: np.take(array, range(rows), axis=0, mode="wrap") for name, array in feeds.items()}


def _as_v2(content: bytes, signature: Signature) -> bytes:
    root = read_tree(content).root
    if not isinstance(root, dict) or not root:
        raise InvalidInput("must be a V2 request, or an object of input names and lists of values")
    listed = root.get("inputs")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return content
    root = named_values(root, signature) or root
    datatypes = {spec.name: spec.datatype for spec in signature.inputs}
    for name in root:
        if name not in datatypes:
            raise InvalidInput(f"the graph has no input {name!r}; it has {', '.join(map(repr, datatypes))}")
    tensors = [
        {"name": name, "datatype": datatypes[name], "shape": _shape(values), "data": values}
        for name, values in root.items()
    ]
    return msgspec.json.encode({"inputs": tensors})


def _shape(values: Any) -> list[int]:
    """The lengths of nested lists along their first elements; that the others agree is the decoder's to check."""
    shape: list[int] = []
    while isinstance(values, list) and len(shape) <= RANK_MAX:
        shape.append(len(values))
        values = values[0] if values else None
    return shape


def _smallest(spec: TensorSpec) -> list[int]:
    return [max(size, 1) for size in spec.shape]


def _zero(spec: TensorSpec) -> Any:
    return "" if spec.datatype == "BYTES" else 0
