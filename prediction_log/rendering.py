"""Many compact records -> their JSON, byte for byte what `prediction_log.expansion` makes of each alone.

Enters: payloads of prediction records in either form, in any order. Leaves: for each its JSON, or the `InvalidRecord` that
says what is wrong with it. What many records share is encoded once; their values are encoded column by column, and all is
put together by slices: no Python runs for a record and value, for this is on the forwarder's way to Kafka. Never decides
what becomes of a damaged record.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from contracts.datatypes import FLOATS
from contracts.errors import InvalidRecord
from prediction_log.columns import Array, Columns, Section, columns_of, grouped
from prediction_log.compact import FORMS_MAX, REASONS, UNIT_SOURCES, FeatureBlock, Form, Shape, form_of, is_compact
from prediction_log.expansion import named, nested, record_json

RECORDS_AT_ONCE: Final = 256
"""Enough to make what is done once for all of them cheap, few enough for the processor's cache."""

_LINES: Final = msgspec.json.Encoder().encode_lines
_JSON: Final = msgspec.json.encode
_ANSWERED: Final = (b"false", b"true")

Pieces = list[bytes]
"""A column of the JSON of values, one a record."""


class _Frame(NamedTuple):
    """The JSON of a layout's records between their values, for records of one row and for others: [values + 1]."""

    of_one_row: tuple[bytes, ...]
    of_rows: tuple[bytes, ...]


def rendered(payloads: Sequence[bytes]) -> list[bytes | InvalidRecord]:
    """The JSON of each; a payload that is JSON already is passed through and not looked into."""
    found: list[bytes | InvalidRecord] = list(payloads)
    compact = [place for place, payload in enumerate(payloads) if is_compact(payload)]
    for start in range(0, len(compact), RECORDS_AT_ONCE):
        places = compact[start : start + RECORDS_AT_ONCE]
        for place, line in zip(places, _rendered([payloads[place] for place in places]), strict=True):
            found[place] = line
    return found


def _rendered(payloads: Sequence[bytes]) -> list[bytes | InvalidRecord]:
    found: list[bytes | InvalidRecord] = list(payloads)
    try:
        for prefix, places in grouped(payloads).items():
            lines = _json_of(prefix, columns_of([payloads[place] for place in places], [prefix] * len(places)))
            for place, line in zip(places, lines, strict=True):
                found[place] = line
    except InvalidRecord:
        return [_rendered_alone(payload) for payload in payloads]
    return found


def _rendered_alone(payload: bytes) -> bytes | InvalidRecord:
    try:
        return record_json(payload)
    except InvalidRecord as error:
        return error


def _json_of(prefix: bytes, columns: Columns) -> Pieces:
    """The JSON of records that have this prefix."""
    single = _is_single(columns)
    frame = _frame_of(prefix)
    between = frame.of_one_row if single else frame.of_rows
    values = _values_of(columns, single=single)
    width = 2 * len(between) - 1
    line = [b""] * width
    line[::2] = between
    pieces = line * len(columns.fixed)
    for place, column in enumerate(values):
        pieces[2 * place + 1 :: width] = column
    assert len(values) == len(between) - 1, (len(values), len(between))
    return b"".join(pieces).split(b"\n")[:-1]  # JSON has no line breaks of its own


def _is_single(columns: Columns) -> bool:
    """Whether every value of a feature is a value by itself: one row a record, and no lists in it."""
    return bool((columns.fixed["rows"] == 1).all()) and not any(block.tail for block in columns.form.layout.features)


def _values_of(columns: Columns, *, single: bool) -> list[Pieces]:
    """The columns in the order of a record's fields: what stands between the pieces of its frame."""
    form, fixed, odds, sections = columns
    count, first = len(fixed), len(form.layout.features)
    rows = fixed["rows"].tolist()
    reasons, sources = fixed["reason"].tolist(), fixed["unit_source"].tolist()
    rows_json = _numbers(rows)
    values = [
        fixed["prediction_id"].tolist(),
        _lines([odd.request_id for odd in odds]) if odds else [b"null"] * count,
        _numbers(fixed["received_us"].tolist()),
        _numbers(fixed["event_us"].tolist()),
        [_ANSWERED[answered] for answered in fixed["answered"].tolist()],
        fixed["unit_hash"].astype(">u8").tobytes().hex("\n", 8).encode().split(b"\n"),
        [_SOURCES_JSON[source] for source in sources],
        _lines(fixed["propensity"].tolist()),
        [_REASONS_JSON[reason] for reason in reasons],
        rows_json,
    ]
    for block, shape, section in zip(form.layout.features, form.shapes, sections, strict=False):
        values += _features(block, shape, section, rows, single=single)
    values.append(_lines([odd.extra_features for odd in odds]) if odds else [b"[]"] * count)
    for shape, section in zip(form.shapes[first:], sections[first:], strict=True):
        values += [rows_json, _lines(_output_lists(shape, section, rows))]
    values.append(_lines([odd.fallback_from for odd in odds]) if odds else [b"null"] * count)
    return values + [_numbers(fixed[name].tolist()) for name in ("queue_us", "run_us", "total_us", "batch_rows")]


def _features(
    block: FeatureBlock, shape: Shape, section: Section, rows: Sequence[int], *, single: bool
) -> list[Pieces]:
    """The columns of a block's features."""
    width = len(block.names)
    values = _plain(shape, section, None)
    if single:
        pieces = _lines(values)
        return [pieces[place::width] for place in range(width)]
    if not block.tail:
        bounds = list(pairwise(_starts(rows, width)))
        return [_lines([values[start + place : end : width] for start, end in bounds]) for place in range(width)]
    lists = [nested(values, (sum(rows), width, *block.tail), place) for place in range(width)]
    starts = _starts(rows, 1)
    return [_lines([column[s:e] for s, e in pairwise(starts)]) for column in lists]


def _output_lists(shape: Shape, section: Section, rows: Sequence[int]) -> list[list[Any]]:
    values, starts = _plain(shape, section, "NaN"), _starts(rows, shape.values)
    return [values[start:end] for start, end in pairwise(starts)]


def _starts(rows: Sequence[int], width: int) -> list[int]:
    """Where each record's values begin, and where the last one's end."""
    starts: list[int] = np.cumsum([0, *[count * width for count in rows]]).tolist()
    return starts


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


def _lines(values: Sequence[Any]) -> Pieces:
    return _LINES(values).split(b"\n")[:-1]


def _numbers(values: Sequence[int]) -> Pieces:
    """A column of integers, which often are all the same."""
    first = values[0]
    if values.count(first) == len(values):
        return [b"%d" % first] * len(values)
    return _lines(values)


@lru_cache(maxsize=FORMS_MAX)
def _frame_of(prefix: bytes) -> _Frame:
    """What a layout's records have in common, encoded. Bound: FORMS_MAX; the least recently used is made again."""
    form = form_of(prefix)
    return _Frame(_frame(form, b"[", b"]"), _frame(form, b"", b""))


def _frame(form: Form, opening: bytes, closing: bytes) -> tuple[bytes, ...]:
    """The pieces between values; `opening` and `closing` stand around each value of a feature."""
    layout, gap = form.layout, b"\n"
    features = [
        _JSON(name) + b":" + opening + gap + closing for name in chain.from_iterable(b.names for b in layout.features)
    ]
    outputs = [
        _JSON(one.name) + b':{"datatype":' + _JSON(one.datatype) + b',"shape":['
        + b",".join([gap, *map(_JSON, one.tail)]) + b'],"data":' + gap + b"}"
        for one in layout.outputs
    ]  # fmt: skip
    whole = b"".join(
        [
            b'{"schema":1,"prediction_id":"' + gap + b'","request_id":' + gap,
            b',"received_us":' + gap + b',"event_us":' + gap + b',"model":' + _JSON(layout.model),
            b',"version":' + _JSON(layout.version) + b',"digest":' + _JSON(layout.digest),
            b',"variant":' + _JSON(layout.variant) + b',"role":' + _JSON(layout.role) + b',"answered":' + gap,
            b',"revision":'
            + _JSON(layout.revision)
            + b',"assignment":{"unit_hash":"'
            + gap
            + b'","unit_source":'
            + gap,
            b',"salt":' + _JSON(layout.salt) + b',"share":' + _JSON(layout.share) + b',"propensity":' + gap,
            b',"reason":' + gap + b'},"rows":' + gap + b',"features":{' + b",".join(features),
            b'},"extra_features":' + gap + b',"outputs":{' + b",".join(outputs),
            b'},"status":"ok","error_code":null,"error":null,"fallback_from":' + gap,
            b',"latency":{"queue_us":' + gap + b',"run_us":' + gap + b',"total_us":' + gap,
            b'},"batch_rows":' + gap + b',"worker":' + _JSON(layout.worker),
            b',"gateway_version":' + _JSON(layout.gateway_version) + b"}",
        ]
    )
    *first, last = whole.split(gap)
    return (*first, last + gap)


_REASONS_JSON: Final = tuple(map(_JSON, REASONS))
_SOURCES_JSON: Final = tuple(map(_JSON, UNIT_SOURCES))
