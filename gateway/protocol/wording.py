"""How a caller's own values and names appear in messages: as JSON spells them, and cut short.

Enters: any decoded JSON value. Leaves: a few words. Never more than `SHOWN_CHARS_MAX` characters of what a caller sent.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final

import msgspec

SHOWN_CHARS_MAX: Final = 80
NAMES_SHOWN_MAX: Final = 20
CANDIDATES_MAX: Final = 1024
"""Names that are compared with a misspelt one; the comparison costs microseconds each."""


class Beyond(str):
    """A number as it was written, where no double and no integer of sensible length can hold it."""

    __slots__ = ()


def shown(value: Any) -> str:
    """A value as a message shows it.

    >>> shown(None), shown(True), shown("a"), shown([1])
    ('null', 'true', "'a'", 'a list')
    """
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, Beyond):
        return _cut(value)
    if isinstance(value, str):
        return repr(_cut(value))
    if type(value) is int:
        return _cut(str(value)) if value.bit_length() <= 4096 else "an integer of more than 1233 digits"
    return msgspec.json.encode(value).decode()


def listed(names: Iterable[str]) -> str:
    """Names in a row, quoted; after `NAMES_SHOWN_MAX` of them it says how many more there are."""
    every = list(names)
    rest = len(every) - NAMES_SHOWN_MAX
    return ", ".join(shown(name) for name in every[:NAMES_SHOWN_MAX]) + (f" and {rest} more" if rest > 0 else "")


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that `name` is most likely a misspelling of, or None."""
    candidates = {candidate.lower(): candidate for candidate in islice(known, CANDIDATES_MAX)}
    found = get_close_matches(name[:SHOWN_CHARS_MAX].lower(), candidates, n=1, cutoff=cutoff)
    return candidates[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or nothing where no known name is close."""
    near = closest(name, known)
    return f"; did you mean {shown(near)}?" if near is not None else ""


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 3]}..."
