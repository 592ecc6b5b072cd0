"""Reads the protobuf wire format, just enough to walk a graph: the `onnx` package is no runtime dependency.

Enters: bytes and a stretch of them that holds one message. Leaves: its fields, one by one, unread; ModelRejected where the
bytes are none. Builds nothing, does not recurse, and is stricter than a parser where two parsers could disagree.

Wire format: https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Iterator
from mmap import mmap
from typing import Final, NamedTuple

from contracts.errors import ModelRejected

VARINT: Final = 0
FIXED64: Final = 1
DELIMITED: Final = 2
FIXED32: Final = 5
NAME_BYTES_MAX: Final = 4096


class Field(NamedTuple):
    """One field on the wire: its number, wire type, and the stretch [start, end) of its content."""

    number: int
    wire: int
    start: int
    end: int


def read_fields(graph: bytes | mmap, start: int, end: int) -> Iterator[Field]:
    """The fields of the message in [start, end), in their order."""
    at = start
    while at < end:
        tag, at = read_varint(graph, at, end)
        number, wire = tag >> 3, tag & 7
        begin = at
        if wire == VARINT:
            _, at = read_varint(graph, at, end)
        elif wire == FIXED64:
            at += 8
        elif wire == FIXED32:
            at += 4
        elif wire == DELIMITED:
            size, begin = read_varint(graph, at, end)
            at = begin + size
        if at > end or number == 0 or tag >= 2**32 or wire not in {VARINT, FIXED64, DELIMITED, FIXED32}:
            raise ModelRejected(f"model.onnx is not an ONNX model: no protobuf field at byte {begin}")
        yield Field(number, wire, begin, at)


def read_text(graph: bytes | mmap, field: Field, where: str) -> str:
    """The text that a field holds; `where` says in an error which name is too long."""
    if field.end - field.start > NAME_BYTES_MAX:
        raise ModelRejected(f"model.onnx has a name of {field.end - field.start} bytes {where}")
    return graph[field.start : field.end].decode("utf-8", errors="backslashreplace")


def read_varint(graph: bytes | mmap, at: int, end: int) -> tuple[int, int]:
    """The number at `at` and where it ends."""
    value, shift = 0, 0
    while at < end and shift < 70:
        byte = graph[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ModelRejected(f"model.onnx is not an ONNX model: no number at byte {at}")
