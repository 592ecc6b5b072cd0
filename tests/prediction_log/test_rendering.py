"""Many records at once give what each gives alone: the same JSON, the same refusals, whatever stands next to what."""

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidRecord
from contracts.wire import encode
from prediction_log import columns as columns_module
from prediction_log import rendering
from prediction_log.columns import FIXED_TYPE, columns_of, grouped
from prediction_log.compact import Fixed, is_compact, parse
from prediction_log.expansion import record_json
from prediction_log.rendering import rendered
from tests.prediction_log.compact_kit import Kind, twins

SLOW = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def alone(payload):
    try:
        return record_json(payload)
    except InvalidRecord as error:
        return str(error)


def together(payloads):
    return [str(one) if isinstance(one, InvalidRecord) else one for one in rendered(payloads)]


@SLOW
@given(st.lists(twins(), min_size=1, max_size=4), st.data())
def test_together_they_are_what_they_are_alone(several, data):
    several = data.draw(st.lists(st.sampled_from(several), max_size=8))
    jsons = [encode(twin.prediction) for twin in several]
    payloads = [data.draw(st.sampled_from([twin.payload, encode(twin.prediction)])) for twin in several]

    assert rendered(payloads) == jsons
    assert together(payloads) == list(map(alone, payloads))


@SLOW
@given(st.lists(twins(Kind(rows=st.just(1), tails=st.just(()))), min_size=1, max_size=3), st.data())
def test_records_of_one_row_too(several, data):
    several = data.draw(st.lists(st.sampled_from(several), max_size=8))

    assert rendered([twin.payload for twin in several]) == [encode(twin.prediction) for twin in several]


@SLOW
@given(st.lists(twins(), min_size=1, max_size=3), st.data())
def test_a_damaged_one_is_refused_and_the_others_are_not(several, data):
    payloads = [twin.payload for twin in several]
    damaged = bytearray(data.draw(st.sampled_from(payloads)))
    for place in data.draw(st.lists(st.integers(1, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(damaged) // 4))
    payloads.insert(data.draw(st.integers(0, len(payloads))), bytes(damaged[: len(damaged) - cut]))

    assert together(payloads) == list(map(alone, payloads))


@SLOW
@given(twins(), st.data())
def test_columns_refuse_what_a_parser_refuses(twin, data):
    damaged = bytearray(twin.payload)
    for place in data.draw(st.lists(st.integers(1, len(damaged) - 1), max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    payload = bytes(damaged)

    refused = isinstance(alone(payload), str)
    try:
        columns_of([payload], list(grouped([payload])))
    except InvalidRecord:
        assert refused
    else:
        assert not refused


@given(twins())
def test_the_fixed_fields_are_read_alike_by_struct_and_by_numpy(twin):
    columns = columns_of([twin.payload] * 3, list(grouped([twin.payload])) * 3)

    assert FIXED_TYPE.names == Fixed._fields
    assert columns.fixed.tolist() == [tuple(parse(twin.payload).fixed)] * 3


def test_more_records_than_are_rendered_at_once_stay_in_order(monkeypatch):
    monkeypatch.setattr(rendering, "RECORDS_AT_ONCE", 3)
    payloads = [b'{"n":%d}' % number for number in range(5)]
    assert rendered(payloads) == payloads
    assert rendered([]) == []


def test_a_payload_that_only_begins_like_one_is_refused():
    assert is_compact(b"\x01")
    (refused,) = rendered([b"\x01"])
    assert isinstance(refused, InvalidRecord)
    with pytest.raises(InvalidRecord):
        grouped([b"\x01\xff\xff\xff\xff"])


def test_a_piece_of_json_cannot_spill_into_its_neighbours():
    decode_lines = msgspec.json.Decoder(list[str | None]).decode_lines
    for pieces in ([b'["a"],["b"]', b""], [b'["a",', b'"b"]'], [b'["a"]\n["b"]', b'["c"]']):
        with pytest.raises(InvalidRecord):
            columns_module._decoded(decode_lines, pieces)
