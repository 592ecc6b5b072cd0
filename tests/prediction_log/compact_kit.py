"""Prediction records in both forms: any record that the compact form can hold, and what the JSON must then say.

The prediction is built from plain Python values, one by one, and the payload from arrays: the two meet only in the tests.
"""

import itertools
import math
import uuid
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from contracts.datatypes import FLOATS, NUMPY_OF
from contracts.prediction import Assignment, Latency, Output, Prediction
from prediction_log.compact import (
    REASONS,
    UNIT_SOURCES,
    FeatureBlock,
    Layout,
    Odd,
    OutputLayout,
    odd_of,
    pack,
    prefix_of,
    text_section,
)

I64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.lists(TEXT, max_size=5, unique=True)
ROWS = st.integers(0, 4)
TAILS = st.one_of(st.just(()), st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple))


class Twin(NamedTuple):
    """One record in both forms."""

    payload: bytes
    prediction: Prediction


def plain_twin(number: int, size: int = 0, **facts: Any) -> Twin:
    """A record of one row with three numbers and a text of `size` characters more; `facts` replace fields of its layout."""
    numbers, text = [number / 8, -0.5, float("nan") if number % 3 == 0 else 1.5], f"origin {number % 7}" + "é" * size
    shared: dict[str, Any] = {"model": "m", "version": "1", "digest": "d" * 64, "variant": "champion"}
    shared |= {"worker": "worker-0", "gateway_version": "0.1.0", "role": "champion", "revision": 7, **facts}
    layout = Layout(
        **shared,
        salt="salt",
        share=0.9,
        features=(
            FeatureBlock(names=("a", "b", "c"), datatype="FP32"),
            FeatureBlock(names=("origin",), datatype="BYTES"),
        ),
        outputs=(OutputLayout(name="p", datatype="FP64", tail=(2,)),),
    )
    prediction_id, times = str(uuid.UUID(int=number + (7 << 76))), (1_000_000 + number, 2_000_000 + number)
    fixed = (prediction_id.encode(), *times, number, 0.9, 1, 2, 3, 1, 4, 0, number % 2, 1)
    sections = [section_of("FP32", numbers), section_of("BYTES", [text]), section_of("FP64", [0.25, 0.75])]
    prediction = Prediction(
        **shared,
        prediction_id=prediction_id,
        request_id=None,
        received_us=times[0],
        event_us=times[1],
        answered=True,
        assignment=Assignment(
            unit_hash=f"{number:016x}",
            unit_source=UNIT_SOURCES[number % 2],
            salt="salt",
            share=0.9,
            propensity=0.9,
            reason="hash",
        ),
        rows=1,
        features={
            **{name: [as_json_says(value, None)] for name, value in zip("abc", numbers, strict=True)},
            "origin": [text],
        },
        extra_features=[],
        outputs={"p": Output(datatype="FP64", shape=[1, 2], data=[0.25, 0.75])},
        status="ok",
        error_code=None,
        error=None,
        fallback_from=None,
        latency=Latency(queue_us=1, run_us=2, total_us=3),
        batch_rows=4,
    )
    return Twin(prefix_of(layout) + pack(fixed, b"", sections), prediction)


def values_of(datatype: str) -> st.SearchStrategy[Any]:
    """One value as a caller of numpy would give it: of a float datatype also NaN and infinities, of BYTES also None."""
    if datatype == "BYTES":
        return st.none() | TEXT
    if datatype == "BOOL":
        return st.booleans()
    if datatype in FLOATS:
        return st.floats(width=NUMPY_OF[datatype].itemsize * 8)
    bounds = np.iinfo(NUMPY_OF[datatype])
    return st.integers(int(bounds.min), int(bounds.max))


def section_of(datatype: str, values: list[Any]) -> bytes:
    """The section of these values, row-major."""
    if datatype == "BYTES":
        return text_section(values)
    return np.array(values, NUMPY_OF[datatype].newbyteorder("<")).tobytes()


def as_json_says(value: Any, nan: str | None) -> Any:
    """A value as the record's JSON has it."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return nan if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def nested(values: list[Any], shape: tuple[int, ...]) -> Any:
    """The first of a shape's values as nested lists; takes them off the list."""
    return [nested(values, shape[1:]) for _ in range(shape[0])] if shape else values.pop(0)


class Kind(NamedTuple):
    """What records are drawn from: their rows, shapes, names, times, ids, and the facts of their layouts."""

    rows: st.SearchStrategy[int] = ROWS
    tails: st.SearchStrategy[tuple[int, ...]] = TAILS
    features: st.SearchStrategy[list[str]] = NAMES
    outputs: st.SearchStrategy[list[str]] = NAMES
    times: st.SearchStrategy[int] = I64
    ids: st.SearchStrategy[str] = st.uuids().map(str)
    facts: st.SearchStrategy[dict[str, str]] = st.fixed_dictionaries(
        dict.fromkeys(("model", "version", "digest", "variant", "worker"), TEXT)
    )


@st.composite
def twins(draw: st.DrawFn, kind: Kind | None = None) -> Twin:
    """Records with any datatypes and shapes, of no, one or some rows."""
    kind = kind or Kind()
    rows = draw(kind.rows)
    names = draw(kind.features)
    cuts = sorted(draw(st.sets(st.integers(0, len(names)), max_size=3)))
    blocks, columns, sections = [], {}, []
    for start, stop in itertools.pairwise([0, *cuts, len(names)]):
        block = FeatureBlock(
            names=tuple(names[start:stop]), datatype=draw(st.sampled_from(sorted(NUMPY_OF))), tail=draw(kind.tails)
        )
        count = rows * len(block.names) * math.prod(block.tail)
        values = draw(st.lists(values_of(block.datatype), min_size=count, max_size=count))
        blocks.append(block)
        sections.append(section_of(block.datatype, values))
        table = nested([as_json_says(value, None) for value in values], (rows, len(block.names), *block.tail))
        columns |= {name: [row[place] for row in table] for place, name in enumerate(block.names)}
    layouts, outputs = [], {}
    for name in draw(kind.outputs):
        layout = OutputLayout(name=name, datatype=draw(st.sampled_from(sorted(NUMPY_OF))), tail=draw(kind.tails))
        count = rows * math.prod(layout.tail)
        values = draw(st.lists(values_of(layout.datatype), min_size=count, max_size=count))
        layouts.append(layout)
        sections.append(section_of(layout.datatype, values))
        data = [as_json_says(value, "NaN") for value in values]
        outputs[name] = Output(datatype=layout.datatype, shape=[rows, *layout.tail], data=data)
    arrays = (tuple(blocks), tuple(layouts), sections)
    return draw(_twin_of(kind, rows, columns, outputs, arrays))


@st.composite
def _twin_of(
    draw: st.DrawFn,
    kind: Kind,
    rows: int,
    columns: dict[str, list[Any]],
    outputs: dict[str, Output],
    arrays: tuple[tuple[FeatureBlock, ...], tuple[OutputLayout, ...], list[bytes]],
) -> Twin:
    blocks, layouts, sections = arrays
    share, propensity = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    unit_hash, batch_rows = draw(st.integers(0, 2**64 - 1)), draw(st.integers(0, 2**32 - 1))
    received_us, event_us = draw(kind.times), draw(kind.times)
    latency = Latency(queue_us=draw(I64), run_us=draw(I64), total_us=draw(I64))
    reason, source, answered = draw(st.integers(0, 4)), draw(st.integers(0, 1)), draw(st.booleans())
    prediction_id = draw(kind.ids)
    odd = Odd(
        request_id=draw(st.none() | TEXT),
        extra_features=draw(st.lists(TEXT, max_size=2)),
        fallback_from=draw(st.none() | TEXT),
    )
    shared: dict[str, Any] = {**draw(kind.facts), "gateway_version": draw(TEXT)}
    shared |= {"role": draw(st.sampled_from(["champion", "challenger", "shadow"])), "revision": draw(I64)}
    salt = draw(TEXT)
    layout = Layout(**shared, salt=salt, share=share, features=blocks, outputs=layouts)
    fixed = (prediction_id.encode(), received_us, event_us, unit_hash, propensity)
    fixed += (latency.queue_us, latency.run_us, latency.total_us, rows, batch_rows, reason, source, answered)
    prediction = Prediction(
        **shared,
        prediction_id=prediction_id,
        request_id=odd.request_id,
        received_us=received_us,
        event_us=event_us,
        answered=answered,
        assignment=Assignment(
            unit_hash=f"{unit_hash:016x}",
            unit_source=UNIT_SOURCES[source],
            salt=salt,
            share=share,
            propensity=propensity,
            reason=REASONS[reason],
        ),
        rows=rows,
        features=columns,
        extra_features=odd.extra_features,
        outputs=outputs,
        status="ok",
        error_code=None,
        error=None,
        fallback_from=odd.fallback_from,
        latency=latency,
        batch_rows=batch_rows,
    )
    return Twin(prefix_of(layout) + pack(fixed, odd_of(odd), sections), prediction)
