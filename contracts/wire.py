"""Strict JSON for every contract: one way to bytes and one way back.

Enters: a frozen struct, or bytes. Leaves: bytes, or the struct; anything else is `InvalidRecord` naming the field.
Never coerces: a string is not a number, an unknown field or an unknown schema is an error.
"""

from functools import cache
from typing import Any, TypeVar

import msgspec

from contracts.errors import InvalidRecord

T = TypeVar("T", bound="Contract")


class Contract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all contract types share: frozen, keyword-only, no unknown fields."""


def encode(value: Contract) -> bytes:
    """The JSON bytes of a contract value; fields in the order of declaration."""
    return msgspec.json.encode(value)


def encode_canonical(value: Contract) -> bytes:
    """The JSON bytes with sorted keys: what hashes are taken of."""
    return msgspec.json.encode(value, order="sorted")


@cache
def _decoder(kind: "type[Contract]") -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def decode(kind: type[T], data: bytes) -> T:
    """The value that `data` holds; `InvalidRecord` says what is wrong and where."""
    try:
        value: T = _decoder(kind).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(f"not a {kind.__name__}: {error}") from None
    return value
