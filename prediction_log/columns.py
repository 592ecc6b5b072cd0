"""Compact records of one shape -> columns: all values of a field, of a section, one after the other.

Enters: payloads whose features and outputs lie alike, whoever wrote them. Leaves: arrays and lists, without any work in
Python a record and value; or `InvalidRecord` where any of the payloads is not as it should be, and then
`prediction_log.compact.parse` says which, and what is wrong with it. Never makes records of columns.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.errors import InvalidRecord
from prediction_log.compact import (
    BOOLEANS,
    FIXED,
    ID_CHARACTERS,
    REASONS,
    UNIT_SOURCES,
    VALUES_MAX,
    Fixed,
    Form,
    Odd,
    Shape,
    form_of,
    prefix_in,
)

Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]
Section = Array | list[str | None]

FIXED_TYPE: Final = np.dtype(
    {
        "names": list(Fixed._fields),
        "formats": ["S36", "<i8", "<i8", "<u8", "<f8", "<i8", "<i8", "<i8", "<u4", "<u4", "u1", "u1", "u1", "<u4"],
        "offsets": [0, 36, 44, 52, 60, 68, 76, 84, 92, 96, 100, 101, 102, 104],
        "itemsize": FIXED.size,
    }
)
"""`FIXED` as numpy reads it."""
_SIZE_TYPE: Final = np.dtype("<u4")
_NOTHING: Final = b"{}"
_DECODE_ODDS: Final = msgspec.json.Decoder(Odd).decode_lines
_DECODE_TEXTS: Final = msgspec.json.Decoder(list[str | None]).decode_lines


class Columns(NamedTuple):
    """Records as columns. `fixed` has one FIXED_TYPE a record, `odds` what is odd about each, null where nothing is odd
    about any. `sections` are in the order of the form's shapes, each the values of all records, flat: an array, or the
    strings of BYTES. `form` is the first record's: others may be of other writers.
    """

    form: Form
    fixed: Array
    odds: list[Odd] | None
    sections: list[Section]


class _Bytes(NamedTuple):
    """All payloads in one piece: where each begins and ends. `at` moves on as they are read."""

    buffer: bytes
    at: Ints
    ends: Ints

    def taken(self, dtype: "np.dtype[Any]") -> Array:
        """One value of each payload, and on behind it. Raises InvalidRecord where one of them ends before."""
        if (self.at + dtype.itemsize > self.ends).any():
            raise InvalidRecord("a payload ends too early")
        whole = len(self.buffer) - dtype.itemsize + 1
        found = np.ndarray((whole,), dtype, self.buffer, strides=(1,))[self.at]
        self.at[:] += dtype.itemsize
        return found

    def cut(self, sizes: Ints) -> list[bytes]:
        """So many bytes of each payload, and on behind them. Raises InvalidRecord where one of them ends before."""
        ends = self.at + sizes
        if (ends > self.ends).any():
            raise InvalidRecord("a payload ends too early")
        buffer = self.buffer
        pieces = [buffer[start:end] for start, end in zip(self.at.tolist(), ends.tolist(), strict=True)]
        self.at[:] = ends
        return pieces


def grouped(payloads: Sequence[bytes]) -> dict[bytes, list[int]]:
    """The places of compact payloads by their prefix. Raises InvalidRecord where one has none."""
    groups: dict[bytes, list[int]] = {}
    prefix, places = b"", []
    for place, payload in enumerate(payloads):
        if not prefix or not payload.startswith(prefix):
            prefix = prefix_in(payload)
            places = groups.setdefault(prefix, [])
        places.append(place)
    return groups


def columns_of(payloads: Sequence[bytes], prefixes: Sequence[bytes]) -> Columns:
    """Some records as columns, at least one; they begin with these prefixes, whose forms have equal shapes.

    Raises InvalidRecord where one of the payloads, or a form, is not as it should be; it does not say which.
    """
    form = form_of(prefixes[0])
    ends = np.cumsum(np.fromiter(map(len, payloads), np.int64, len(payloads)))
    starts = np.concatenate([[0], ends[:-1]]) + np.fromiter(map(len, prefixes), np.int64, len(prefixes))
    data = _Bytes(b"".join(payloads), starts, ends)
    fixed = data.taken(FIXED_TYPE)
    _check_fixed(fixed)
    odds = _odds(data, fixed["odd_size"].astype(np.int64))
    rows = fixed["rows"].astype(np.int64)
    sections = [_section(data, shape, rows) for shape in form.shapes]
    if (data.at != ends).any():
        raise InvalidRecord("a payload goes on after its last section")
    return Columns(form, fixed, odds, sections)


def _check_fixed(fixed: Array) -> None:
    """As `prediction_log.compact` checks one."""
    propensity = fixed["propensity"]
    known = (fixed["reason"] < len(REASONS)) & (fixed["unit_source"] < len(UNIT_SOURCES)) & (fixed["answered"] <= 1)
    known &= (propensity >= 0.0) & (propensity <= 1.0) & (fixed["rows"] <= VALUES_MAX)
    if not known.all() or fixed["prediction_id"].tobytes().translate(None, ID_CHARACTERS):
        raise InvalidRecord("a fixed field is not as it should be")


def _odds(data: _Bytes, sizes: Ints) -> list[Odd] | None:
    if not sizes.any():
        return None
    pieces = data.cut(sizes)
    return _decoded(_DECODE_ODDS, [piece or _NOTHING for piece in pieces])


def _section(data: _Bytes, shape: Shape, rows: Ints) -> Section:
    if (rows * min(shape.cost, VALUES_MAX + 1) > VALUES_MAX).any():
        raise InvalidRecord("a record claims too many rows")
    if shape.datatype == "BYTES":
        return _texts(data, shape, rows)
    if not shape.size or not rows.any():
        return np.empty(0, shape.dtype)
    first = int(rows[0])
    if (rows == first).all():
        array = data.taken(np.dtype(f"V{shape.size * first}")).view(shape.dtype)
    else:
        array = np.frombuffer(b"".join(data.cut(rows * shape.size)), shape.dtype)
    if shape.datatype == "BOOL" and array.tobytes().translate(None, BOOLEANS):
        raise InvalidRecord("a section of BOOL holds other bytes than 0 and 1")
    return array


def _texts(data: _Bytes, shape: Shape, rows: Ints) -> list[str | None]:
    pieces = data.cut(data.taken(_SIZE_TYPE).astype(np.int64))
    lists: list[list[str | None]] = _decoded(_DECODE_TEXTS, pieces)
    if list(map(len, lists)) != (rows * min(shape.values, VALUES_MAX)).tolist():
        raise InvalidRecord("a section of BYTES has not as many strings as it should have")
    return list(chain.from_iterable(lists))


def _decoded(decode_lines: Any, pieces: Sequence[bytes]) -> list[Any]:
    """What each piece holds: one JSON value."""
    try:
        values: list[Any] = decode_lines(b"\n".join(pieces))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(f"a piece of JSON that is not as it should be: {error}") from None
    if len(values) != len(pieces):
        raise InvalidRecord("a piece of JSON that is more than one value, or none")
    return values
