"""Reads from an ONNX graph which inputs a request has to send: their names and types of elements, nothing else.

Enters: the bytes of `model.onnx`. Leaves: its inputs in the graph's order, without those that only give a weight its type.
Never builds the graph; ModelRejected where the bytes are none, or too many to look through.

Field numbers: onnx.proto, https://github.com/onnx/onnx.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Final, NamedTuple

from contracts.errors import ModelRejected
from registry_client.protobuf import DELIMITED, VARINT, Field, read_fields, read_text, read_varint

FIELDS_MAX: Final = 4_000_000
MODEL_GRAPH: Final = 7
GRAPH_INITIALIZER: Final = 5
GRAPH_INPUT: Final = 11
TENSOR_NAME: Final = 8
VALUE_NAME: Final = 1
TYPE_PATH: Final = (2, 1)
"""ValueInfoProto.type, TypeProto.tensor_type."""
ELEM_TYPE: Final = 1
FLOATS: Final = frozenset({1, 10, 11, 16})
"""TensorProto.DataType: FLOAT, FLOAT16, DOUBLE, BFLOAT16."""
AMONG_INPUTS: Final = "among its inputs"


class GraphInput(NamedTuple):
    """One input. `floating` tells whether its elements are floating-point numbers."""

    name: str
    floating: bool


def graph_inputs(graph: bytes | mmap) -> list[GraphInput]:
    """The inputs of a graph; raises ModelRejected as the file's docstring says."""
    inputs, weights = list[GraphInput](), set[str]()
    for number, field in _of_graph(graph):
        if number == GRAPH_INPUT:
            inputs.append(_input(graph, field))
        elif number == GRAPH_INITIALIZER:
            weights.update(_texts(graph, field, TENSOR_NAME))
    return [one for one in inputs if one.name not in weights]


def _of_graph(graph: bytes | mmap) -> Iterator[tuple[int, Field]]:
    seen = 0
    for outer in read_fields(graph, 0, len(graph)):
        if outer.number != MODEL_GRAPH or outer.wire != DELIMITED:
            continue
        for field in read_fields(graph, outer.start, outer.end):
            seen += 1
            if seen > FIELDS_MAX:
                raise ModelRejected(f"model.onnx has more than {FIELDS_MAX} nodes and tensors")
            if field.wire == DELIMITED:
                yield field.number, field


def _input(graph: bytes | mmap, value: Field) -> GraphInput:
    within = [value]
    for number in TYPE_PATH:
        within = [
            field
            for outer in within
            for field in read_fields(graph, outer.start, outer.end)
            if field.number == number and field.wire == DELIMITED
        ]
    kinds = [
        read_varint(graph, field.start, field.end)[0]
        for tensor in within
        for field in read_fields(graph, tensor.start, tensor.end)
        if field.number == ELEM_TYPE and field.wire == VARINT
    ]
    names = _texts(graph, value, VALUE_NAME)
    return GraphInput(names[-1] if names else "", bool(kinds) and kinds[-1] in FLOATS)


def _texts(graph: bytes | mmap, message: Field, number: int) -> list[str]:
    return [
        read_text(graph, field, AMONG_INPUTS)
        for field in read_fields(graph, message.start, message.end)
        if field.number == number and field.wire == DELIMITED
    ]
