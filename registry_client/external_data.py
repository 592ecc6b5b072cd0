"""Finds every place where an ONNX graph points at a file beside it, and refuses those that point elsewhere.

Enters: the bytes of `model.onnx` and the sizes of the version's own files. Leaves: nothing, or ModelRejected. Builds
nothing and does not recurse; what it cannot read it refuses.

Field numbers: onnx.proto, https://github.com/onnx/onnx.
"""

from collections.abc import Iterator, Mapping
from mmap import mmap
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.errors import ModelRejected
from registry_client.protobuf import DELIMITED, read_fields, read_text

DEPTH_MAX: Final = 100
"""Messages in messages; protobuf's own default, so what is refused here could not be loaded either."""
FIELDS_MAX: Final = 4_000_000
SEARCHED_BYTES_MAX: Final = 8 * 2**30
SEARCH_WHOLE_MAX: Final = 64 * 2**20

LOCATION: Final = b"location"
ORT_MEMORY: Final = "_ORT_MEM_ADDR_"

CHILDREN: Final[Mapping[str, Mapping[int, str]]] = MappingProxyType(
    {
        "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
        "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
        "NodeProto": {5: "AttributeProto"},
        "AttributeProto": {
            5: "TensorProto",
            6: "GraphProto",
            10: "TensorProto",
            11: "GraphProto",
            22: "SparseTensorProto",
            23: "SparseTensorProto",
        },
        "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
        "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
        "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
        "TensorProto": {},
    }
)
"""Message type to (field number to message type): every way from a model to a tensor."""
TENSOR_NAME: Final = 8
TENSOR_EXTERNAL_DATA: Final = 13
ENTRY_KEY: Final = 1
ENTRY_VALUE: Final = 2
BESIDE: Final = "beside external data"


class Message(NamedTuple):
    """A stretch [start, end) of the file that holds one message of a type, `depth` messages down."""

    kind: str
    start: int
    end: int
    depth: int


class ExternalTensor(NamedTuple):
    """A tensor whose data lie elsewhere: its name and what it says of the place, as written."""

    name: str
    entries: dict[str, str]


def check_external_data(graph: bytes | mmap, file_bytes: Mapping[str, int]) -> None:
    """Refuse a graph with a tensor outside the version's own files, whose sizes in bytes `file_bytes` holds by path.

    Raises ModelRejected naming the tensor and the place.
    """
    for tensor in external_tensors(graph):
        _check_place(tensor, file_bytes)


def external_tensors(graph: bytes | mmap) -> Iterator[ExternalTensor]:
    """Every tensor with external data: of the graph, subgraphs, functions, attributes and sparse tensors.

    Raises ModelRejected where the bytes are not readable as a model, or would take too long to read.
    """
    searched, fields = 0, 0
    waiting = [Message("ModelProto", 0, len(graph), 1)]
    while waiting:
        message = waiting.pop()
        size = message.end - message.start
        if size <= SEARCH_WHOLE_MAX:
            # most messages are passed over by one search: the million floats of a tree ensemble are no tensors
            searched += size
            if not _mentions_location(graph, message):
                continue
        if message.depth > DEPTH_MAX:
            raise ModelRejected(f"model.onnx is nested more than {DEPTH_MAX} messages deep")
        if message.kind == "TensorProto":
            yield from _external_tensor(graph, message)
        for field in read_fields(graph, message.start, message.end):
            fields += 1
            kind = CHILDREN[message.kind].get(field.number)
            if kind is not None and field.wire == DELIMITED:
                waiting.append(Message(kind, field.start, field.end, message.depth + 1))
            if fields > FIELDS_MAX or searched > SEARCHED_BYTES_MAX:
                raise ModelRejected(f"model.onnx has more than {FIELDS_MAX} fields: put large tensors in external data")


def _check_place(tensor: ExternalTensor, file_bytes: Mapping[str, int]) -> None:
    what = f"tensor {tensor.name!r} of model.onnx"
    location = tensor.entries.get("location")
    if location is None:
        return  # without a place there is nothing to read; onnxruntime refuses such a tensor itself
    if ORT_MEMORY in location:
        raise ModelRejected(f"{what} takes its data from an address in memory ({location!r})")
    path = PurePosixPath(location)
    if path.is_absolute() or "\\" in location or "\0" in location or ".." in path.parts:
        raise ModelRejected(f"{what} takes its data from {location!r}, outside the version's folder")
    size = file_bytes.get(str(path))
    if size is None:
        raise ModelRejected(f"{what} takes its data from {location!r}, which is not a file of the version")
    offset, length = (_count(what, tensor.entries, key) for key in ("offset", "length"))
    if offset + length > size:
        raise ModelRejected(f"{what} takes bytes {offset} to {offset + length} of {location!r}, which has {size}")


def _count(what: str, entries: Mapping[str, str], key: str) -> int:
    text = entries.get(key, "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise ModelRejected(f"{what} has external data with {key} {text[:40]!r}: must be a count of bytes")
    return int(text)


def _external_tensor(graph: bytes | mmap, tensor: Message) -> Iterator[ExternalTensor]:
    name, entries = "", dict[str, str]()
    for field in read_fields(graph, tensor.start, tensor.end):
        if field.number == TENSOR_NAME and field.wire == DELIMITED:
            name = read_text(graph, field, BESIDE)
        elif field.number == TENSOR_EXTERNAL_DATA and field.wire == DELIMITED:
            key, value = _entry(graph, Message("StringStringEntryProto", field.start, field.end, tensor.depth + 1))
            if key in entries:
                raise ModelRejected(f"tensor {name!r} of model.onnx says {key!r} of its external data twice")
            entries[key] = value
    if entries:
        yield ExternalTensor(name, entries)


def _entry(graph: bytes | mmap, entry: Message) -> tuple[str, str]:
    texts = {ENTRY_KEY: "", ENTRY_VALUE: ""}
    seen = 0
    for field in read_fields(graph, entry.start, entry.end):
        if field.number in texts and field.wire == DELIMITED:
            texts[field.number] = read_text(graph, field, BESIDE)
            seen += 1
    if seen > len(texts):
        raise ModelRejected("model.onnx has an entry of external data with more than one key and value")
    return texts[ENTRY_KEY], texts[ENTRY_VALUE]


def _mentions_location(graph: bytes | mmap, message: Message) -> bool:
    """Whether the key of a location can be in a message at all, looked for in pieces that do not hold up other threads."""
    step = 2**20
    return any(
        LOCATION in graph[start : min(start + step + len(LOCATION) - 1, message.end)]
        for start in range(message.start, message.end, step)
    )
