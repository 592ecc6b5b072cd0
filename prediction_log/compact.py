"""The compact form of a prediction record, in which gateways log what was answered: bytes of arrays instead of their JSON.

Enters: what many records share, what one record adds, and the arrays that went into the model and came out of it. Leaves:
a payload; or its parts again, each checked for its size before it is trusted. Only records of status `ok` have this form;
a payload that begins with `{` is JSON. Never makes values of bytes: that is `prediction_log.expansion`. All numbers are
little-endian.

    prefix    0x01 | u32 size | JSON of `Layout`
    fixed     `FIXED`, which ends with the size of what follows
    odd       JSON of `Odd`; nothing where nothing is odd
    sections  one a feature block, then one an output: the array's bytes, row-major; of BYTES u32 size | JSON list
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from struct import Struct
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from contracts.datatypes import NUMPY_OF
from contracts.errors import InvalidRecord
from contracts.prediction import Reason, Role, UnitSource
from contracts.wire import Contract, decode, encode_canonical
from prediction_log.spool.segment import PAYLOAD_BYTES_MAX

MARK: Final = b"\x01"
"""How a compact payload begins; JSON cannot."""
FIXED: Final = Struct("<36sqqQdqqqIIBBBxI")
"""The fields of `Fixed`."""
ID_BYTES: Final = 36
REASONS: Final[tuple[Reason, ...]] = ("hash", "forced", "pinned", "fallback", "shadow")
UNIT_SOURCES: Final[tuple[UnitSource, ...]] = ("routing_key", "request_id")
FORMS_MAX: Final = 256
"""Layouts that are remembered, ready to read with; the least recently used one is read again."""
DIMENSIONS_MAX: Final = 30
VALUES_MAX: Final = PAYLOAD_BYTES_MAX
"""No payload can hold more values; an array with a dimension of zero could claim any number of rows, or of empty lists."""

_SIZE: Final = Struct("<I")
_LEAD: Final = Struct("<cI")
ID_CHARACTERS: Final = bytes(set(range(0x21, 0x7F)) - set(b'"\\'))
"""What stands in JSON as it is, and can be part of a prediction's id."""
BOOLEANS: Final = b"\x00\x01"


class FeatureBlock(Contract, frozen=True, kw_only=True):
    """Features whose values stand in one array [rows, len(names), *tail]. `tail` () is one value a row and feature;
    otherwise each row's value of a feature is a nested list of this shape.
    """

    names: tuple[str, ...]
    datatype: str
    tail: tuple[int, ...] = ()


class OutputLayout(Contract, frozen=True, kw_only=True):
    """An output whose values stand in an array [rows, *tail]."""

    name: str
    datatype: str
    tail: tuple[int, ...]


class Layout(Contract, frozen=True, kw_only=True):
    """What many records share: who answered under which plan, and how the arrays of their features and outputs lie. The
    fields are those of `contracts.prediction`; features and outputs are in the order of their sections.
    """

    model: str
    version: str
    digest: str
    variant: str
    role: Role
    revision: int
    salt: str
    share: float
    worker: str
    gateway_version: str
    features: tuple[FeatureBlock, ...]
    outputs: tuple[OutputLayout, ...]


class Odd(Contract, frozen=True, kw_only=True, omit_defaults=True):
    """What few records have; as in `contracts.prediction.Prediction`."""

    request_id: str | None = None
    extra_features: list[str] = []
    fallback_from: str | None = None


class Fixed(NamedTuple):
    """What every record has. `prediction_id` is 36 printable ASCII characters, `unit_hash` the number whose 16 hex digits
    the JSON has, `reason` and `unit_source` the places in REASONS and UNIT_SOURCES, `answered` 0 or 1, `odd_size` bytes.
    """

    prediction_id: bytes
    received_us: int
    event_us: int
    unit_hash: int
    propensity: float
    queue_us: int
    run_us: int
    total_us: int
    rows: int
    batch_rows: int
    reason: int
    unit_source: int
    answered: int
    odd_size: int


class Shape(NamedTuple):
    """How one section is read: `values` of `dtype` a row, in `size` bytes; a section of BYTES says its size itself, and
    `size` is 0. `cost` is what a row comes to where every list, empty ones too, counts like a value.
    """

    datatype: str
    dtype: "np.dtype[Any]"
    values: int
    size: int
    cost: int


class Form(NamedTuple):
    """A layout, ready to read with. `shapes` are those of its features' sections, then of its outputs'."""

    prefix: bytes
    layout: Layout
    shapes: tuple[Shape, ...]


class Parsed(NamedTuple):
    """A payload in its parts. `sections` are in the order of the form's shapes: an array's bytes, or the JSON of a list of
    strings and nulls, which nobody has looked into.
    """

    form: Form
    fixed: Fixed
    odd: Odd
    sections: list[bytes]


def is_compact(payload: bytes) -> bool:
    """Whether a payload claims to be in the compact form."""
    return payload.startswith(MARK)


def prefix_of(layout: Layout) -> bytes:
    """How each record of this layout begins. Raises InvalidRecord where no record can have it."""
    encoded = encode_canonical(layout)
    return form_of(_LEAD.pack(MARK, len(encoded)) + encoded).prefix


def odd_of(odd: Odd) -> bytes:
    """The bytes for what is odd about a record: none where nothing is."""
    encoded = msgspec.json.encode(odd)
    return b"" if encoded == b"{}" else encoded


def text_section(values: Sequence[str | None]) -> bytes:
    """The section of a BYTES array: its values row-major, null for a missing one."""
    encoded = msgspec.json.encode(values)
    return _SIZE.pack(len(encoded)) + encoded


def pack(fixed: tuple[Any, ...], odd: bytes, sections: Sequence[bytes]) -> bytes:
    """A payload behind its prefix. `fixed` are the fields of `Fixed` but its last; the sections of numbers and BOOL are the
    bytes of the array in the datatype of `contracts.datatypes.NUMPY_OF`. Nothing is checked here.
    """
    return b"".join((FIXED.pack(*fixed, len(odd)), odd, *sections))


def parse(payload: bytes) -> Parsed:
    """The parts of a payload. Raises InvalidRecord where they are not all there, are not what they should be, or are not
    all that is there.
    """
    form = form_of(prefix_in(payload))
    start = len(form.prefix)
    if len(payload) < start + FIXED.size:
        raise InvalidRecord(f"the payload of {len(payload)} bytes ends within its fixed fields, which begin at {start}")
    fixed = Fixed._make(FIXED.unpack_from(payload, start))
    _check_fixed(fixed)
    start += FIXED.size
    end = start + fixed.odd_size
    if end > len(payload):
        raise InvalidRecord(
            f"the payload of {len(payload)} bytes ends before byte {end}, where its odd fields would end"
        )
    odd = decode(Odd, payload[start:end]) if fixed.odd_size else Odd()
    return Parsed(form, fixed, odd, _sections(form, fixed.rows, payload, end))


def prefix_in(payload: bytes) -> bytes:
    """The prefix of a payload. Raises InvalidRecord where there is no whole one."""
    if len(payload) < _LEAD.size or not payload.startswith(MARK):
        raise InvalidRecord(f"{payload[:8]!r} is not the beginning of a compact record")
    end = _LEAD.size + _SIZE.unpack_from(payload, len(MARK))[0]
    if end > len(payload):
        raise InvalidRecord(f"the payload of {len(payload)} bytes ends before byte {end}, where its layout would end")
    return payload[:end]


def id_in(payload: bytes) -> bytes:
    """The prediction id of a payload. Raises InvalidRecord where it has none."""
    start = _LEAD.size + int.from_bytes(payload[len(MARK) : _LEAD.size], "little")
    found = payload[start : start + ID_BYTES]
    if len(found) < ID_BYTES or found.translate(None, ID_CHARACTERS):
        raise InvalidRecord(f"a compact record with {found!r} for a prediction id")
    return found


def ids_in(payloads: Sequence[bytes]) -> list[bytes]:
    """The prediction ids of payloads. Raises InvalidRecord where one of them has none, or is JSON; it does not say which."""
    found, prefix = [], b""
    for payload in payloads:
        if not prefix or not payload.startswith(prefix):
            prefix = prefix_in(payload)
        start = len(prefix)
        found.append(payload[start : start + ID_BYTES])
    if set(map(len, found)) - {ID_BYTES} or b"".join(found).translate(None, ID_CHARACTERS):
        raise InvalidRecord("a compact record without a prediction id")
    return found


def received_in(payload: bytes) -> int:
    """When the record was received, in microseconds since the epoch. Raises InvalidRecord where it does not say."""
    start = len(prefix_in(payload))
    if len(payload) < start + FIXED.size:
        raise InvalidRecord(f"the payload of {len(payload)} bytes ends within its fixed fields, which begin at {start}")
    return Fixed._make(FIXED.unpack_from(payload, start)).received_us


@lru_cache(maxsize=FORMS_MAX)
def form_of(prefix: bytes) -> Form:
    """The form that a prefix says. Raises InvalidRecord where no array can lie like that, or names stand twice."""
    layout = decode(Layout, prefix[_LEAD.size :])
    _check_names([name for block in layout.features for name in block.names], "features")
    _check_names([output.name for output in layout.outputs], "outputs")
    shapes = [_shape(block.datatype, block.tail, len(block.names)) for block in layout.features]
    shapes += [_shape(output.datatype, output.tail, 1) for output in layout.outputs]
    return Form(prefix, layout, tuple(shapes))


def _shape(datatype: str, tail: tuple[int, ...], features: int) -> Shape:
    if datatype not in NUMPY_OF:
        raise InvalidRecord(f"the layout has datatype {datatype!r}; known are {', '.join(NUMPY_OF)}")
    if len(tail) > DIMENSIONS_MAX or not all(0 <= size <= VALUES_MAX for size in tail):
        raise InvalidRecord(f"the layout has an array of the shape {list(tail[: DIMENSIONS_MAX + 1])} a row")
    values = features * prod(tail)
    dtype = NUMPY_OF[datatype].newbyteorder("<")
    size = 0 if datatype == "BYTES" else values * dtype.itemsize
    return Shape(datatype, dtype, values, size, features * prod(max(1, size) for size in tail))


def _check_names(names: Sequence[str], what: str) -> None:
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidRecord(f"the layout has {what} twice: {', '.join(twice)}")


def _check_fixed(fixed: Fixed) -> None:
    if fixed.prediction_id.translate(None, ID_CHARACTERS):
        raise InvalidRecord(f"{fixed.prediction_id!r} is no prediction id")
    if fixed.reason >= len(REASONS) or fixed.unit_source >= len(UNIT_SOURCES) or fixed.answered > 1:
        codes = f"reason {fixed.reason}, unit_source {fixed.unit_source}, answered {fixed.answered}"
        raise InvalidRecord(f"the record has {codes}: not all of them are known")
    if not 0.0 <= fixed.propensity <= 1.0:
        raise InvalidRecord(f"the record has propensity {fixed.propensity}, which is no probability")
    if fixed.rows > VALUES_MAX:
        raise InvalidRecord(f"the record claims {fixed.rows} rows")


def _sections(form: Form, rows: int, payload: bytes, start: int) -> list[bytes]:
    """What lies from `start` to the end of the payload."""
    sections = []
    for number, shape in enumerate(form.shapes):
        if rows * shape.cost > VALUES_MAX:
            raise InvalidRecord(f"the record claims {rows} rows of {shape.cost} values in section {number}")
        size = shape.size * rows
        if shape.datatype == "BYTES":
            if start + _SIZE.size > len(payload):
                raise InvalidRecord(f"the payload of {len(payload)} bytes ends before section {number}")
            (size,) = _SIZE.unpack_from(payload, start)
            start += _SIZE.size
        end = start + size
        if end > len(payload):
            raise InvalidRecord(
                f"the payload of {len(payload)} bytes ends within section {number}, which ends at {end}"
            )
        section = payload[start:end]
        if shape.datatype == "BOOL" and section.translate(None, BOOLEANS):
            raise InvalidRecord(f"section {number} is BOOL and holds other bytes than 0 and 1")
        sections.append(section)
        start = end
    if start != len(payload):
        raise InvalidRecord(
            f"the payload of {len(payload)} bytes goes on after its last section, which ends at {start}"
        )
    return sections
