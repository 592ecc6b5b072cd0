"""Large V2 JSON requests: numbers go from text into arrays, without a Python object for each.

Enters: a whole body. Leaves: the request as written, its tensors holding arrays, or None where something in it is not plain
numbers in one flat list: then the ordinary way reads the body and says what is wrong. Never coerces: what an array's type
cannot hold exactly as the ordinary way would is not taken.
"""

from functools import cache, lru_cache
from threading import get_ident
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import simdjson
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from contracts.datatypes import FLOATS, NUMPY_OF
from gateway.protocol.request import TENSORS_MAX
from gateway.protocol.tensors import FLOAT_LIMITS, INTEGER_BOUNDS, TENSOR_OF, Parameters, Shape, Tensor
from gateway.protocol.written import RequestedOutputs, Written

LARGE_BYTES: Final = 16 * 2**10
"""From here on an array costs less than a list."""
PARSERS_MAX: Final = 16
"""Threads that decode; of one more the least recently used parser is made anew."""

Array = np.ndarray[Any, Any]


class _Untouched(Struct, gc=False):
    """A tensor whose data is still text."""

    name: str
    shape: Shape
    datatype: str
    data: Raw
    parameters: Parameters | UnsetType | None = UNSET


class _Body(Struct, gc=False):
    inputs: Annotated[list[_Untouched], Meta(min_length=1, max_length=TENSORS_MAX)]
    id: str | UnsetType | None = UNSET
    parameters: Parameters | UnsetType | None = UNSET
    outputs: RequestedOutputs | UnsetType | None = UNSET


def read_large(body: bytes) -> Written | None:
    """The request as written, with arrays of the tensors' own datatypes; None where it wants the ordinary way.

    Raises what the decoder raises.
    """
    body_read = _decoder().decode(body)
    tensors: list[Tensor] = []
    for untouched in body_read.inputs:
        data = _numbers(untouched.datatype, bytes(untouched.data))
        if data is None:
            return None
        made: Any = TENSOR_OF[untouched.datatype]
        tensors.append(made(name=untouched.name, shape=untouched.shape, data=data, parameters=untouched.parameters))
    return Written(tensors, body_read.id, body_read.parameters, body_read.outputs)


@cache
def _decoder() -> "msgspec.json.Decoder[_Body]":
    return msgspec.json.Decoder(_Body)


def _numbers(datatype: str, text: bytes) -> Array | None:
    """The numbers of a flat JSON list in the datatype's type: [n]; None where it holds anything else."""
    if (datatype not in FLOATS and datatype not in INTEGER_BOUNDS) or text.find(b"[", 1) >= 0:
        return None
    try:
        found = _parser(get_ident()).parse(text)
        if not isinstance(found, simdjson.Array):
            return None
        numbers = _buffer(datatype, found)
    except (ValueError, TypeError, RuntimeError):  # the three by which it says that an element is of no such type
        return None
    return numbers.astype(NUMPY_OF[datatype]) if numbers.size and _fits(datatype, numbers) else None


@lru_cache(maxsize=PARSERS_MAX)
def _parser(_thread: int) -> simdjson.Parser:
    """A thread's own parser, which keeps the memory that it works in: touching fresh pages would cost more than parsing."""
    return simdjson.Parser()


def _buffer(datatype: str, found: simdjson.Array) -> Array:
    """All elements as the widest type of their kind. Raises where one is of another kind, or beyond it."""
    if datatype in FLOATS:
        return np.frombuffer(found.as_buffer(of_type="d"), np.float64)
    if datatype.startswith("U"):
        return np.frombuffer(found.as_buffer(of_type="u"), np.uint64)
    return np.frombuffer(found.as_buffer(of_type="i"), np.int64)


def _fits(datatype: str, numbers: Array) -> bool:
    low: float = numbers.min().item()
    high: float = numbers.max().item()
    if datatype in FLOATS:
        limit = FLOAT_LIMITS[datatype]
        return -limit < low <= high < limit
    least, most = INTEGER_BOUNDS[datatype]
    return bool(least <= low <= high <= most)
