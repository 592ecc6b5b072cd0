"""The `parameters` of a V2 request, of its inputs and of its requested outputs -> what they ask of the gateway.

Enters: decoded parameters (strings, numbers, booleans). Leaves: the fields of an `InferRequest`, or `InvalidInput`
naming the parameter. What would change the answer and is not spoken here (binary tensors, shared memory, sequences,
classification) is refused by name. `priority` is checked and then ignored: there is one queue. Any other name is the
caller's own and ignored, as Triton does.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from contracts.errors import InvalidInput
from contracts.moment import parse_moment
from gateway.protocol.request import ID_BYTES_MAX
from gateway.protocol.wording import shown

TIMEOUT_US_MAX: Final = 24 * 3600 * 1_000_000
PRIORITY_MAX: Final = 2**32 - 1
EVENT_US_MAX: Final = 2**53
"""A prediction whose event is before 1970, or as late as this, is logged and cannot be counted: up to the year 2255."""

SHARED_MEMORY: Final = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")

Parameters = Mapping[str, Any]


def read_request_parameters(parameters: Parameters) -> dict[str, Any]:
    """The fields `routing_key`, `variant`, `event_us` and `timeout_us`, as far as the caller set them."""
    fields = {}
    for name, value in parameters.items():
        reader = _READERS.get(name)
        if reader is not None:
            field, read, where = reader
            fields[field] = read(where, value)
        elif name in _CHECKS:
            _CHECKS[name](f"parameters.{name}", value)
    return fields


def refuse_tensor_parameters(parameters: Parameters) -> None:
    """Refuse what an input's parameters may not ask."""
    if "binary_data_size" in parameters:
        raise InvalidInput("parameters.binary_data_size: binary tensors are not spoken here; send 'data' as JSON")
    _refuse_shared_memory(parameters)


def refuse_output_parameters(parameters: Parameters) -> None:
    """Refuse what a requested output's parameters may not ask."""
    if "binary_data" in parameters:
        _refuse_binary("parameters.binary_data", parameters["binary_data"])
    if "classification" in parameters:
        raise InvalidInput("parameters.classification: not spoken here; the reply holds all values")
    _refuse_shared_memory(parameters)


def text_within(where: str, value: Any) -> str:
    """A non-empty string of at most `ID_BYTES_MAX` bytes."""
    if not isinstance(value, str) or not value:
        raise InvalidInput(f"{where} = {shown(value)} must be a non-empty string")
    size = len(value) if value.isascii() else len(value.encode())
    if size > ID_BYTES_MAX:
        raise InvalidInput(f"{where} = {shown(value)} has {size} bytes; at most {ID_BYTES_MAX}")
    return value


def _routing_key(where: str, value: Any) -> str:
    if type(value) is int:
        value = str(value)
    elif not isinstance(value, str):
        raise InvalidInput(f"{where} = {shown(value)} must be a string or an integer")
    return text_within(where, value)


def _timeout(where: str, value: Any) -> int:
    if type(value) is int and 0 < value <= TIMEOUT_US_MAX:
        return value
    raise InvalidInput(
        f"{where} = {shown(value)} must be an integer of microseconds from 1 to {TIMEOUT_US_MAX} (a day)"
    )


def _event_time(where: str, value: Any) -> int:
    if not isinstance(value, str):
        raise InvalidInput(f"{where} = {shown(value)} must be a string; write it like 2013-04-01T12:00:00Z")
    event_us = parse_moment(where, value)
    if not 0 <= event_us < EVENT_US_MAX:
        raise InvalidInput(f"{where} = {shown(value)} must lie between the years 1970 and 2255")
    return event_us


def _check_priority(where: str, value: Any) -> None:
    if type(value) is not int or not 0 <= value <= PRIORITY_MAX:
        raise InvalidInput(f"{where} = {shown(value)} must be an integer from 0 to {PRIORITY_MAX}")


def _refuse_binary(where: str, value: Any) -> None:
    if value is not False:
        raise InvalidInput(f"{where} = {shown(value)}: replies are JSON only; send false or leave it out")


def _refuse_sequence(where: str, value: Any) -> None:
    if value not in (0, "", False):
        raise InvalidInput(f"{where} = {shown(value)}: sequences are not served; every request stands for itself")


def _refuse_shared_memory(parameters: Parameters) -> None:
    for name in SHARED_MEMORY:
        if name in parameters:
            raise InvalidInput(f"parameters.{name}: shared memory is not spoken here; send JSON")


_READERS: Final[Mapping[str, tuple[str, Callable[[str, Any], Any], str]]] = {
    "routing_key": ("routing_key", _routing_key, "parameters.routing_key"),
    "variant": ("variant", text_within, "parameters.variant"),
    "event_time": ("event_us", _event_time, "parameters.event_time"),
    "timeout": ("timeout_us", _timeout, "parameters.timeout"),
}
"""Name -> the request's field that it sets, how it is read, and what messages call it."""

_CHECKS: Final[Mapping[str, Callable[[str, Any], None]]] = {
    "priority": _check_priority,
    "binary_data_output": _refuse_binary,
    "sequence_id": _refuse_sequence,
    "sequence_start": _refuse_sequence,
    "sequence_end": _refuse_sequence,
}
