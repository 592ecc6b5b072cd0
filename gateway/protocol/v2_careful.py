"""V2 JSON requests that the fast path does not take: the unusual but legal, and the wrong.

Enters: the same bytes. Leaves: the same `InferRequest` (from nested data, unknown members at the top, and the like), or
`InvalidInput` that names field, tensor, position and value. Accepts exactly what the fast path would, only more shapes of
writing it; never guesses.

An unknown member of a tensor is an error. At the top level one is tolerated, as the protocol's own examples have
`model_name` there, unless it looks like a misspelling of a known one: `parameter` must not silently lose a routing key.
"""

from collections.abc import Collection, Mapping
from itertools import chain
from math import prod
from typing import Any, Final

from msgspec import UNSET

from contracts.datatypes import FLOATS
from contracts.errors import InvalidInput
from gateway.protocol.json_tree import read_tree
from gateway.protocol.parameters import (
    read_request_parameters,
    refuse_output_parameters,
    refuse_tensor_parameters,
    text_within,
)
from gateway.protocol.request import TENSORS_MAX, InferRequest
from gateway.protocol.tensors import DIMENSION_MAX, PARAMETERS_MAX, RANK_MAX, TENSOR_OF, Tensor, wrong_element
from gateway.protocol.wording import closest, did_you_mean, shown

TOP_MEMBERS: Final = ("id", "parameters", "inputs", "outputs")
TENSOR_MEMBERS: Final = ("name", "shape", "datatype", "parameters", "data")
TENSOR_MEMBERS_NEEDED: Final = ("name", "shape", "datatype", "data")
OUTPUT_MEMBERS: Final = ("name", "parameters")
MISSPELT_CUTOFF: Final = 0.8
"""Similarity (difflib's ratio) from which an unknown top-level member counts as misspelt: `input` does, `model_name` not."""


def decode_carefully(body: bytes) -> InferRequest:
    """The request that `body` holds, however it is written; `InvalidInput` says what is wrong with it."""
    tree = read_tree(body)
    top = _object("the body", tree.root)
    _refuse_misspelt(top)
    asked = read_request_parameters(_parameters(top))
    request = InferRequest(
        id=_request_id(top.get("id")),
        nulls=b"null" in body,
        outputs=_outputs(top.get("outputs")),
        **_inputs(top),
        **asked,
    )
    if tree.beyond:
        raise InvalidInput("the body holds a number beyond the range of FP64")
    return request


def _refuse_misspelt(top: Mapping[str, Any]) -> None:
    for member in top:
        near = None if member in TOP_MEMBERS else closest(member, TOP_MEMBERS, MISSPELT_CUTOFF)
        if near is not None:
            raise InvalidInput(f"unknown member {shown(member)}; did you mean {shown(near)}?")


def _request_id(value: Any) -> str | None:
    return None if value is None or value == "" else text_within("id", value)


def _inputs(top: Mapping[str, Any]) -> dict[str, Any]:
    if "inputs" not in top:
        raise InvalidInput("'inputs' is missing: a list of tensors with name, shape, datatype and data")
    written = _list("'inputs'", top["inputs"])
    if not written:
        raise InvalidInput("'inputs' is empty: send at least one tensor")
    if len(written) > TENSORS_MAX:
        raise InvalidInput(f"'inputs' has {len(written)} tensors; at most {TENSORS_MAX}")
    inputs: dict[str, Tensor] = {}
    rows: int | None = None
    for index, value in enumerate(written):
        try:
            tensor = _tensor(value)
            _check_once(tensor.name, inputs)
            rows = _same_rows(tensor.shape[0], rows)
        except InvalidInput as error:
            raise InvalidInput(f"{_where('inputs', index, value)}: {error}") from None
        inputs[tensor.name] = tensor
    return {"inputs": inputs, "rows": rows}


def _check_once(name: str, before: Collection[str]) -> None:
    if name in before:
        raise InvalidInput("a tensor of this name stands before it: send each once")


def _same_rows(rows: int, before: int | None) -> int:
    if before is not None and rows != before:
        raise InvalidInput(
            f"it has {rows} rows and the inputs before it have {before}; each needs one for each prediction"
        )
    return rows


def _tensor(value: Any) -> Tensor:
    written = _object("a tensor", value)
    refuse_tensor_parameters(_parameters(written))
    _check_members(written, TENSOR_MEMBERS, TENSOR_MEMBERS_NEEDED)
    kind = _datatype(written["datatype"])
    shape = _shape(written["shape"])
    values = _flat(_list("'data'", written["data"]), shape)
    data = _elements(kind.datatype, values)
    return kind(name=_name(written), shape=shape, data=data, parameters=written.get("parameters", UNSET))


def _name(written: Mapping[str, Any]) -> str:
    name = written["name"]
    if isinstance(name, str):
        return name
    raise InvalidInput(f"'name' = {shown(name)} must be a string")


def _datatype(value: Any) -> type[Tensor]:
    kind = TENSOR_OF.get(value) if isinstance(value, str) else None
    if kind is not None:
        return kind
    if value == "BF16":
        raise InvalidInput("datatype 'BF16' has no JSON form; send FP32")
    hint = did_you_mean(value, TENSOR_OF) if isinstance(value, str) else ""
    raise InvalidInput(f"datatype {shown(value)} is unknown{hint}; known are {', '.join(TENSOR_OF)}")


def _shape(value: Any) -> list[int]:
    shape = _list("'shape'", value)
    if not shape:
        raise InvalidInput("shape [] has no rows: the first dimension is the batch; send [1] for one value")
    if len(shape) > RANK_MAX:
        raise InvalidInput(f"'shape' has {len(shape)} dimensions; at most {RANK_MAX}")
    for axis, size in enumerate(shape):
        if type(size) is not int:
            raise InvalidInput(f"shape[{axis}] = {shown(size)} must be an integer")
        if size < 1:
            reason = "a request carries real sizes" if size < 0 else "there is nothing to predict"
            raise InvalidInput(f"shape[{axis}] = {shown(size)} must be at least 1: {reason}")
        if size > DIMENSION_MAX:
            raise InvalidInput(f"shape[{axis}] = {shown(size)} is too large; at most {DIMENSION_MAX}")
    return shape


def _flat(data: list[Any], shape: list[int]) -> list[Any]:
    """The values row-major, whether they were sent flat or nested as `shape` says."""
    if list not in map(type, data):
        if len(data) != prod(shape):
            raise InvalidInput(f"shape {shape} has {prod(shape)} values and 'data' has {len(data)}")
        return data
    level: list[Any] = [data]
    for axis, size in enumerate(shape):
        for position, items in enumerate(level):
            if type(items) is not list:
                here = _place(position, shape[:axis])
                raise InvalidInput(f"{here} = {shown(items)} must be a list of {size}: shape is {shape}")
            if len(items) != size:
                raise InvalidInput(
                    f"{_place(position, shape[:axis])} has {len(items)} items where shape {shape} has {size}"
                )
        level = list(chain.from_iterable(level))
    return level


def _elements(datatype: str, values: list[Any]) -> list[Any]:
    """The values, each checked; numbers of a floating datatype as floats."""
    for position, value in enumerate(values):
        reason = wrong_element(datatype, value)
        if reason is not None:
            raise InvalidInput(f"data[{position}] = {shown(value)} {reason}")
    if datatype in FLOATS:
        return [None if value is None else float(value) for value in values]
    return values


def _place(position: int, sizes: list[int]) -> str:
    indices = []
    for size in reversed(sizes):
        position, index = divmod(position, size)
        indices.append(f"[{index}]")
    return "data" + "".join(reversed(indices))


def _outputs(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    written = _list("'outputs'", value)
    if len(written) > TENSORS_MAX:
        raise InvalidInput(f"'outputs' has {len(written)} tensors; at most {TENSORS_MAX}")
    names: dict[str, None] = {}
    for index, item in enumerate(written):
        try:
            name = _requested(_object("an output", item))
            _check_once(name, names)
        except InvalidInput as error:
            raise InvalidInput(f"{_where('outputs', index, item)}: {error}") from None
        names[name] = None
    return tuple(names) or None


def _requested(written: Mapping[str, Any]) -> str:
    refuse_output_parameters(_parameters(written))
    _check_members(written, OUTPUT_MEMBERS, ("name",))
    return _name(written)


def _where(members: str, index: int, value: Any) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return f"{members}[{index}] {shown(name)}" if isinstance(name, str) else f"{members}[{index}]"


def _parameters(owner: Mapping[str, Any]) -> Mapping[str, Any]:
    value = owner.get("parameters")
    if value is None:
        return {}
    parameters = _object("'parameters'", value)
    if len(parameters) > PARAMETERS_MAX:
        raise InvalidInput(f"{len(parameters)} parameters; at most {PARAMETERS_MAX}")
    for name, setting in parameters.items():
        if setting is None or isinstance(setting, list | dict):
            raise InvalidInput(f"parameter {shown(name)} = {shown(setting)} must be a string, a number or a boolean")
    return parameters


def _check_members(written: Mapping[str, Any], known: Collection[str], needed: Collection[str]) -> None:
    lacking = [member for member in needed if member not in written]
    if not lacking and len(written) == len(needed):
        return
    for member in written:
        if member not in known:
            hint = did_you_mean(member, known)
            raise InvalidInput(f"unknown member {shown(member)}{hint}; known are {', '.join(known)}")
    if lacking:
        raise InvalidInput(f"{shown(lacking[0])} is missing")


def _object(what: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise InvalidInput(f"{what} must be an object, not {shown(value)}")


def _list(what: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise InvalidInput(f"{what} must be a list, not {shown(value)}")
