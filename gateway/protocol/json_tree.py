"""A JSON body read with nothing overlooked: malformed text, duplicate members and numbers beyond every type have reasons.

Enters: bytes. Leaves: plain lists, dicts and scalars, or `InvalidInput` that says where and why. Never accepts what JSON
does not have: NaN, byte order marks, other encodings, lone surrogates, trailing text.

Duplicates are found by counting. A colon in a body stands either after a key or inside a string, so a body has as many
colons as it has keys and colons inside strings. A decoder drops one of two equal keys: where what it kept has fewer
colons than the body, something was dropped. Only then is the body read again, slowly, with a hook.
"""

import json
import re
from collections.abc import Sequence
from math import isfinite
from typing import Any, Final, NamedTuple, NoReturn

import msgspec

from contracts.errors import InvalidInput
from gateway.protocol.wording import Beyond, shown

DIGITS_MAX: Final = 310
"""Digits of the longest integer that any datatype could hold (FP64 up to 1.8e308), and one more."""

_NO_JSON_NUMBERS: Final = (b"NaN", b"Infinity", b"-Infinity", b"inf", b"nan")
_HALF_A_PAIR: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u)")


class Tree(NamedTuple):
    """A decoded body. `beyond` says that it holds a number that nothing can hold: such a body must be refused."""

    root: Any
    beyond: bool


def read_tree(body: bytes) -> Tree:
    """The decoded body; raises `InvalidInput` where it is malformed or an object has the same member twice."""
    try:
        root = msgspec.json.decode(body)
        kept = colons_of(root)
    except msgspec.ValidationError:
        return Tree(_read_again(body), beyond=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(body, error) from None
    except RecursionError:
        raise _too_deep() from None
    if body.count(b":") != kept or may_escape_colons(body):
        _read_again(body)
    return Tree(root, beyond=False)


def colons_of(value: Any) -> int:
    """Keys, and colons inside strings, of a decoded value."""
    return msgspec.json.encode(value).count(b":")


def may_escape_colons(body: bytes) -> bool:
    """Whether a string may hold an escaped colon: one that a decoder counts and the body's bytes do not show."""
    return b"\\" in body and b"\\u003" in body


def _read_again(body: bytes) -> Any:
    """The body once more, slowly: duplicates raise, and a number beyond everything is kept as it was written."""
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=_object,
            parse_float=_float,
            parse_int=_integer,
            parse_constant=_no_number,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _malformed(body, error) from None
    except RecursionError:
        raise _too_deep() from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise InvalidInput(
                    f"the member {shown(name)} stands twice in one object: which one counts is anyone's guess"
                )
            seen.add(name)
    return members


def _float(text: str) -> float | Beyond:
    number = float(text)
    return number if isfinite(number) else Beyond(text)


def _integer(text: str) -> int | Beyond:
    return int(text) if len(text) <= DIGITS_MAX else Beyond(text)


def _no_number(text: str) -> NoReturn:
    raise InvalidInput(f"the body is not JSON: JSON has no {text}; a missing value is null")


def _too_deep() -> InvalidInput:
    return InvalidInput("the body is nested too deeply: no tensor has more than 32 dimensions")


def _malformed(body: bytes, error: Exception) -> InvalidInput:
    if not body.strip():
        return InvalidInput("the body is empty: send a JSON object with 'inputs'")
    return InvalidInput(f"the body is not JSON: {_why_malformed(body, error)}")


def _why_malformed(body: bytes, error: Exception) -> str:
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark; send UTF-8 without one"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in body[:2]:
        return "it is UTF-16 or UTF-32; send UTF-8"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    text = str(error).removeprefix("JSON is malformed: ")
    place = text.rpartition("(byte ")[2].rstrip(")")
    if place.isdigit():
        rest = body[int(place) : int(place) + 10]
        number = next((number for number in _NO_JSON_NUMBERS if rest.startswith(number)), None)
        if number is not None:
            return f"JSON has no {number.decode()} (byte {place}); a missing value is null"
    elif _HALF_A_PAIR.search(body):
        return "a string holds half of a surrogate pair (such as \\ud800); send whole characters"
    return text
