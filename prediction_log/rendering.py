"""Many compact records -> their JSON, byte for byte what `prediction_log.expansion` makes of each alone.

Enters: payloads of prediction records in either form, in any order. Leaves: for each its JSON, or the `InvalidRecord` that
says what is wrong with it. Records are made of columns by `map` alone, as objects with the fields of `contracts.prediction`:
no Python runs for a record and value, for this is on the forwarder's way to Kafka. Never decides what becomes of a damaged
record.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise, repeat
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from contracts.datatypes import FLOATS
from contracts.errors import InvalidRecord
from contracts.prediction import SCHEMA, Assignment, Latency, Output, Prediction
from prediction_log.columns import Array, Columns, Section, columns_of, grouped
from prediction_log.compact import (
    FORMS_MAX,
    MARK,
    REASONS,
    UNIT_SOURCES,
    FeatureBlock,
    Shape,
    form_of,
)
from prediction_log.expansion import named, nested, record_json

RECORDS_AT_ONCE: Final = 256
"""Enough to make what is done once for all of them cheap, few enough for the processor's cache."""

_NEEDS_ESCAPE: Final = re.compile(r'["\\\x00-\x1f]')
"""Names that JSON has to escape cannot be names of fields."""

Make = Callable[..., Any]


class _Makers(NamedTuple):
    """What makes the features and the outputs of a layout's records of their values."""

    features: Make
    outputs: Make


def rendered(payloads: Sequence[bytes]) -> list[bytes | InvalidRecord]:
    """The JSON of each; a payload that is JSON already is passed through and not looked into."""
    found: list[bytes | InvalidRecord] = list(payloads)
    compact = [place for place, payload in enumerate(payloads) if payload.startswith(MARK)]
    for start in range(0, len(compact), RECORDS_AT_ONCE):
        places = compact[start : start + RECORDS_AT_ONCE]
        for place, line in zip(places, _rendered([payloads[place] for place in places]), strict=True):
            found[place] = line
    return found


def _rendered(payloads: Sequence[bytes]) -> list[bytes | InvalidRecord]:
    found: list[bytes | InvalidRecord] = list(payloads)
    try:
        for prefix, places in grouped(payloads).items():
            columns = columns_of([payloads[place] for place in places], [prefix] * len(places))
            for place, line in zip(places, map(msgspec.json.encode, _records(prefix, columns)), strict=True):
                found[place] = line
    except InvalidRecord:
        return [_rendered_alone(payload) for payload in payloads]
    return found


def _rendered_alone(payload: bytes) -> bytes | InvalidRecord:
    try:
        return record_json(payload)
    except InvalidRecord as error:
        return error


def _records(prefix: bytes, columns: Columns) -> Iterable[Any]:
    """Objects that are encoded as these records; all have this prefix."""
    form, fixed, odds, _ = columns
    layout, makers = form.layout, _makers_of(prefix)
    column = {name: fixed[name].tolist() for name in fixed.dtype.names or ()}
    count, rows = len(fixed), column["rows"]
    fields = {
        **{name: repeat(getattr(layout, name)) for name in layout.__struct_fields__},
        **column,
        "schema": repeat(SCHEMA),
        "prediction_id": fixed["prediction_id"].astype("U").tolist(),
        "request_id": [odd.request_id for odd in odds] if odds else repeat(None),
        "answered": fixed["answered"].astype(np.bool_).tolist(),
        "unit_hash": fixed["unit_hash"].astype(">u8").tobytes().hex("\n", 8).split("\n"),
        "unit_source": [UNIT_SOURCES[code] for code in column["unit_source"]],
        "reason": [REASONS[code] for code in column["reason"]],
        "features": _objects(makers.features, _features(columns, rows), count),
        "extra_features": [odd.extra_features for odd in odds] if odds else repeat([]),
        "outputs": _objects(makers.outputs, _outputs(columns, rows), count),
        "status": repeat("ok"),
        "error_code": repeat(None),
        "error": repeat(None),
        "fallback_from": [odd.fallback_from for odd in odds] if odds else repeat(None),
    }
    fields["assignment"] = map(_ASSIGNMENT, *[fields[name] for name in Assignment.__struct_fields__])
    fields["latency"] = map(_LATENCY, *[fields[name] for name in Latency.__struct_fields__])
    return map(_PREDICTION, *[fields[name] for name in Prediction.__struct_fields__])


def _objects(make: Make, columns: Sequence[Iterable[Any]], count: int) -> Iterable[Any]:
    return map(make, *columns) if columns else repeat(make(), count)


def _features(columns: Columns, rows: Sequence[int]) -> list[Sequence[Any]]:
    """Every feature's column: of each record one value a row."""
    found: list[Sequence[Any]] = []
    for block, shape, section in zip(columns.form.layout.features, columns.form.shapes, columns.sections, strict=False):
        found += _block(block, _plain(shape, section, None), rows)
    return found


def _block(block: FeatureBlock, values: list[Any], rows: Sequence[int]) -> Iterable[Sequence[Any]]:
    width = len(block.names)
    if block.tail:
        lists = [nested(values, (sum(rows), width, *block.tail), place) for place in range(width)]
        return [_cut(column, rows, 1) for column in lists]
    if rows.count(1) == len(rows):
        alone = list(zip(values, strict=True))  # what is to be a list may be a tuple, which is made faster
        return [alone[place::width] for place in range(width)]
    return [_cut(values[place::width], rows, 1) for place in range(width)]


def _outputs(columns: Columns, rows: Sequence[int]) -> list[Iterable[Any]]:
    """Every output's column."""
    layout, first = columns.form.layout, len(columns.form.layout.features)
    sections = zip(layout.outputs, columns.form.shapes[first:], columns.sections[first:], strict=True)
    return [
        map(
            _OUTPUT,
            repeat(output.datatype),
            [(count, *output.tail) for count in rows],
            _cut(_plain(shape, section, "NaN"), rows, shape.values),
        )
        for output, shape, section in sections
    ]


def _cut(values: list[Any], rows: Sequence[int], width: int) -> list[list[Any]]:
    """Each record's values, of which a row has `width`."""
    bounds = np.cumsum([0, *rows]) * width
    return [values[start:end] for start, end in pairwise(bounds.tolist())]


def _plain(shape: Shape, section: Section, nan: str | None) -> list[Any]:
    """The values as JSON has them. A NaN that is to be null can stay: the encoder writes null for it."""
    if isinstance(section, list):
        return section
    values: list[Any] = section.tolist()
    if shape.datatype in FLOATS and not _is_writable(section, nan):
        return named(values, nan)
    return values


def _is_writable(array: Array, nan: str | None) -> bool:
    return bool(np.isfinite(array).all() if nan is not None else not np.isinf(array).any())


@lru_cache(maxsize=FORMS_MAX)
def _makers_of(prefix: bytes) -> _Makers:
    """The makers of a layout. Bound: FORMS_MAX; the least recently used are made again."""
    layout = form_of(prefix).layout
    features = [name for block in layout.features for name in block.names]
    return _Makers(_maker(features), _maker([output.name for output in layout.outputs]))


def _maker(names: Sequence[str]) -> Make:
    """What makes an object of one value a name."""
    if any(map(_NEEDS_ESCAPE.search, names)):
        return lambda *values: dict(zip(names, values, strict=True))
    return _type_of([f"f{number}" for number in range(len(names))], names)


def _type_of(fields: Sequence[str], names: Sequence[str]) -> Make:
    """A type of these fields, which takes them in this order; in JSON they have these names."""
    made = [(field, Any) for field in fields]
    return msgspec.defstruct("Fields", made, rename=dict(zip(fields, names, strict=True)), gc=False)


def _like(contract: type[msgspec.Struct]) -> Make:
    """A type that is encoded like a contract, whose values nobody checks and which is made by position."""
    return _type_of(contract.__struct_fields__, contract.__struct_fields__)


_PREDICTION: Final = _like(Prediction)
_ASSIGNMENT: Final = _like(Assignment)
_LATENCY: Final = _like(Latency)
_OUTPUT: Final = _like(Output)
