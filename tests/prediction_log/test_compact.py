"""The compact form: what goes in comes out as the same JSON, and bytes that nobody packed are refused with a reason."""

import struct

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidRecord
from contracts.prediction import Prediction
from contracts.wire import decode, encode
from prediction_log.compact import (
    FIXED,
    VALUES_MAX,
    FeatureBlock,
    Layout,
    Odd,
    OutputLayout,
    form_of,
    is_compact,
    odd_of,
    pack,
    parse,
    prefix_of,
    text_section,
)
from prediction_log.expansion import expand, record_json
from tests.prediction_log.compact_kit import twins

ID = b"01890a5d-ac96-774b-bcce-b302099a8057"
LAYOUT = Layout(
    model="flight-delay",
    version="3",
    digest="d" * 64,
    variant="champion",
    role="champion",
    revision=7,
    salt="saltsaltsaltsalt",
    share=0.9,
    worker="worker-0/77",
    gateway_version="0.1.0",
    features=(
        FeatureBlock(names=("distance", "hour"), datatype="FP32"),
        FeatureBlock(names=("origin",), datatype="BYTES"),
    ),
    outputs=(OutputLayout(name="late", datatype="BOOL", tail=()),),
)
LENGTH = struct.Struct("<I")


def fixed_of(**changes):
    fields = {"id": ID, "received_us": 1_760_000_000_000_000, "event_us": 1_760_000_000_000_001, "unit_hash": 0xABC}
    fields |= {"propensity": 0.9, "queue_us": 1, "run_us": 2, "total_us": 3, "rows": 2, "batch_rows": 4}
    fields |= {"reason": 0, "unit_source": 1, "answered": 1, **changes}
    return tuple(fields.values())


def sections_of(numbers=(1.5, 2.0, 3.25, 4.0), texts=("JFK", "EWR"), late=(True, False)):
    return [np.array(numbers, "<f4").tobytes(), text_section(list(texts)), np.array(late, np.bool_).tobytes()]


def payload_of(layout=LAYOUT, odd=b"", sections=None, **changes):
    return prefix_of(layout) + pack(fixed_of(**changes), odd, sections_of() if sections is None else sections)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(twins())
def test_a_record_comes_out_as_the_json_that_it_would_have_been(twin):
    assert is_compact(twin.payload)
    assert expand(twin.payload) == twin.prediction
    assert record_json(twin.payload) == encode(twin.prediction)
    assert decode(Prediction, record_json(twin.payload)) == twin.prediction


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(twins(), st.data())
def test_flipped_bytes_make_another_record_or_none(twin, data):
    damaged = bytearray(twin.payload)
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))

    try:
        record = expand(bytes(damaged))
        told = record_json(bytes(damaged))
    except InvalidRecord:
        return
    assert decode(Prediction, told) == record


def test_every_truncation_and_every_byte_more_is_refused():
    payload = payload_of(odd=odd_of(Odd(request_id="r-1")))
    assert expand(payload).features == {"distance": [1.5, 3.25], "hour": [2.0, 4.0], "origin": ["JFK", "EWR"]}

    for end in range(1, len(payload)):
        with pytest.raises(InvalidRecord):
            expand(payload[:end])
    with pytest.raises(InvalidRecord, match="goes on after its last section"):
        expand(payload + b"\0")


def test_every_single_flipped_byte_is_refused_or_makes_a_record():
    payload = payload_of(odd=odd_of(Odd(request_id="r-1")))
    refused = 0

    for place in range(len(payload)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = payload[:place] + bytes([payload[place] ^ flip]) + payload[place + 1 :]
            try:
                decode(Prediction, record_json(damaged))
            except InvalidRecord:
                refused += 1

    assert 0 < refused < 3 * len(payload)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": 3}, "ends"),
        ({"rows": 1}, "goes on after|ends|instead of"),
        ({"rows": 2**32 - 1}, "claims 4294967295 rows"),
        ({"rows": VALUES_MAX}, "claims 16777184 rows of 2 values"),
        ({"reason": 5}, "reason 5"),
        ({"unit_source": 2}, "unit_source 2"),
        ({"answered": 2}, "answered 2"),
        ({"id": ID[:-1] + b'"'}, "no prediction id"),
        ({"id": ID[:-1] + b"\xff"}, "no prediction id"),
        ({"id": ID[:-1]}, "no prediction id"),
        ({"propensity": float("nan")}, "no probability"),
        ({"propensity": 1.5}, "no probability"),
        ({"odd": b"{"}, "not a Odd"),
        ({"odd": b'{"request_id":"\xff"}'}, "not a Odd"),
        ({"odd": b'{"colour":"red"}'}, "colour"),
        ({"sections": sections_of(texts=("JFK",))}, "1 strings instead of 2"),
        ({"sections": [sections_of()[0], LENGTH.pack(5) + b"[1,2]", b"\0\1"]}, "no list of strings"),
        ({"sections": [sections_of()[0], LENGTH.pack(7) + b'["a","b', b"\0\1"]}, "no list of strings"),
        ({"sections": [sections_of()[0], LENGTH.pack(9) + b'["a","\xff"]', b"\0\1"]}, "no list of strings"),
        ({"sections": [sections_of()[0], LENGTH.pack(2**32 - 1), b"\0\1"]}, "ends within section 1"),
        ({"sections": [*sections_of()[:2], b"\0\2"]}, "other bytes than 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused_and_named(changes, reason):
    with pytest.raises(InvalidRecord, match=reason):
        expand(payload_of(**changes))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"features": (FeatureBlock(names=("a", "b", "a"), datatype="FP32"),)}, "features twice: a"),
        ({"features": (FeatureBlock(names=("a",), datatype="BF16"),)}, "'BF16'"),
        ({"features": (FeatureBlock(names=("a",), datatype="FP32", tail=(-1,)),)}, r"shape \[-1\]"),
        ({"features": (FeatureBlock(names=("a",), datatype="FP32", tail=(2**40, 0)),)}, "shape"),
        ({"outputs": (OutputLayout(name="y", datatype="FP32", tail=(1,) * 31),)}, "shape"),
        ({"outputs": (OutputLayout(name="y", datatype="FP32", tail=()),) * 2}, "outputs twice: y"),
    ],
)
def test_a_layout_that_no_array_can_have_is_refused_before_anything_is_packed(change, reason):
    with pytest.raises(InvalidRecord, match=reason):
        prefix_of(msgspec.structs.replace(LAYOUT, **change))


def test_empty_lists_cannot_be_claimed_by_the_million():
    empty = FeatureBlock(names=("nothing",), datatype="FP32", tail=(4096, 0))
    layout = msgspec.structs.replace(LAYOUT, features=(empty,), outputs=())

    assert expand(payload_of(layout, sections=[b""], rows=1)).features == {"nothing": [[[]] * 4096]}
    with pytest.raises(InvalidRecord, match="rows of 4096 values"):
        expand(payload_of(layout, sections=[b""], rows=5000))


def test_a_wide_shape_is_refused_by_its_size_and_never_allocated():
    wide = OutputLayout(name="y", datatype="FP64", tail=(2**23, 2**23, 2**23))
    layout = msgspec.structs.replace(LAYOUT, features=(), outputs=(wide,))

    with pytest.raises(InvalidRecord, match="claims 1 rows"):
        expand(payload_of(layout, sections=[bytes(64)], rows=1))


def test_json_is_passed_through_and_not_looked_into():
    assert record_json(b'{"not": "a record"}') == b'{"not": "a record"}'
    assert not is_compact(b'{"not": "a record"}')
    with pytest.raises(InvalidRecord):
        expand(b'{"not": "a record"}')


def test_a_payload_of_neither_form_is_refused():
    with pytest.raises(InvalidRecord, match="not the beginning of a compact record"):
        parse(b'{"a": 1}')


def test_nothing_odd_takes_no_bytes():
    assert odd_of(Odd()) == b""
    assert expand(payload_of(odd=b"")) == expand(payload_of(odd=b"{}"))


def test_layouts_are_read_once_and_a_bounded_number_is_kept():
    prefix = prefix_of(LAYOUT)

    assert parse(payload_of()).form is form_of(prefix)
    assert form_of.cache_info().maxsize is not None


def test_the_fixed_fields_have_a_size_that_no_platform_changes():
    assert FIXED.size == 108
