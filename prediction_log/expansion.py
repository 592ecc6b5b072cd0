"""A payload of the log, in whichever form -> the prediction record that it holds, or that record's JSON.

Enters: payloads of prediction records. Leaves: what `contracts.prediction` says, or its JSON to the last byte;
`InvalidRecord` where a compact payload is damaged, saying where. Never looks into a payload that is JSON already: it is
passed through.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from contracts.datatypes import FLOATS
from contracts.errors import InvalidRecord
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.wire import decode, encode
from prediction_log.compact import (
    REASONS,
    UNIT_SOURCES,
    Fixed,
    Layout,
    OutputLayout,
    Parsed,
    Shape,
    is_compact,
    parse,
)

_INFINITY: Final = ("-Infinity", "Infinity")


def expand(payload: bytes) -> Prediction:
    """The record that a payload holds, in whichever form. Raises InvalidRecord where it holds none."""
    if not is_compact(payload):
        return decode(Prediction, payload)
    parsed = parse(payload)
    layout, fixed, odd = parsed.form.layout, parsed.fixed, parsed.odd
    return Prediction(
        prediction_id=fixed.prediction_id.decode("ascii"),
        request_id=odd.request_id,
        received_us=fixed.received_us,
        event_us=fixed.event_us,
        model=layout.model,
        version=layout.version,
        digest=layout.digest,
        variant=layout.variant,
        role=layout.role,
        answered=bool(fixed.answered),
        revision=layout.revision,
        assignment=_assignment(layout, fixed),
        rows=fixed.rows,
        features=dict(_features(parsed)),
        extra_features=odd.extra_features,
        outputs=_outputs(parsed),
        status="ok",
        error_code=None,
        error=None,
        fallback_from=odd.fallback_from,
        latency=Latency(queue_us=fixed.queue_us, run_us=fixed.run_us, total_us=fixed.total_us),
        batch_rows=fixed.batch_rows,
        worker=layout.worker,
        gateway_version=layout.gateway_version,
    )


def record_json(payload: bytes) -> bytes:
    """The JSON of the record that a payload holds. Raises InvalidRecord where a compact payload holds none."""
    return encode(expand(payload)) if is_compact(payload) else payload


def texts_of(section: bytes, count: int) -> list[str | None]:
    """The strings of a BYTES section. Raises InvalidRecord where they are not as many, or something else."""
    try:
        texts = msgspec.json.decode(section, type=list[str | None])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(f"a section of BYTES that is no list of strings: {error}") from None
    if len(texts) != count:
        raise InvalidRecord(f"a section of BYTES with {len(texts)} strings instead of {count}")
    return texts


def _assignment(layout: Layout, fixed: Fixed) -> Assignment:
    return Assignment(
        unit_hash=f"{fixed.unit_hash:016x}",
        unit_source=UNIT_SOURCES[fixed.unit_source],
        salt=layout.salt,
        share=layout.share,
        propensity=fixed.propensity,
        reason=REASONS[fixed.reason],
    )


def _features(parsed: Parsed) -> Iterator[tuple[str, list[Any]]]:
    """Every feature with one value a row."""
    form, fixed, _, sections = parsed
    for block, shape, section in zip(form.layout.features, form.shapes, sections, strict=False):
        values = _values(shape, section, fixed.rows, None)
        width = len(block.names)
        for place, name in enumerate(block.names):
            yield name, nested(values, (fixed.rows, width, *block.tail), place) if block.tail else values[place::width]


def _outputs(parsed: Parsed) -> dict[str, Output]:
    form, fixed, _, sections = parsed
    first = len(form.layout.features)
    of_outputs = zip(form.layout.outputs, form.shapes[first:], sections[first:], strict=True)
    return {layout.name: _output(layout, shape, section, fixed.rows) for layout, shape, section in of_outputs}


def _output(layout: OutputLayout, shape: Shape, section: bytes, rows: int) -> Output:
    data = _values(shape, section, rows, "NaN")
    return Output(datatype=layout.datatype, shape=[rows, *layout.tail], data=data)


def _values(shape: Shape, section: bytes, rows: int, nan: str | None) -> list[Any]:
    """The values of a section row-major; infinities by their names, NaN as `nan`."""
    if shape.datatype == "BYTES":
        return list(texts_of(section, shape.values * rows))
    array = np.frombuffer(section, shape.dtype)
    values: list[Any] = array.tolist()
    return named(values, nan) if shape.datatype in FLOATS and not np.isfinite(array).all() else values


def named(values: Sequence[float], nan: str | None) -> list[Any]:
    """The values with infinities by their names, and NaN as `nan`."""
    return [value if math.isfinite(value) else nan if math.isnan(value) else _INFINITY[value > 0] for value in values]


def nested(values: Sequence[Any], shape: tuple[int, ...], place: int) -> list[Any]:
    """One nested list a row: what [:, place] of the values is, in this shape [rows, features, *tail]."""
    array = np.empty(len(values), np.object_)
    array[:] = values
    lists: list[Any] = array.reshape(shape)[:, place].tolist() if shape[0] else []
    return lists
