"""A record becomes a message and the message the record; whatever else comes along is named for what it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidRecord
from prediction_log.kafka.message import (
    Control,
    External,
    Place,
    Undecodable,
    control_headers,
    headers_of,
    key_of,
    read_message,
)
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

LOG_ID = "ab" * 16
PLACE = Place(LOG_ID, 3, 17, 12, 5)


def test_the_key_is_the_prediction_s_id_and_a_label_s_without_its_row():
    assert key_of(Kind.PREDICTION, b'{"schema":1,"prediction_id":"p1","rows":2}') == b"p1"
    assert key_of(Kind.LABEL, b'{"prediction_id":"p1#17","label":1}') == b"p1"
    assert key_of(Kind.LABEL, b'{"prediction_id":"p1","label":1}') == b"p1"
    assert key_of(Kind.AUDIT, b'{"model":"flight-delay","revision":3}') == b"flight-delay"


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"{}", b'{"prediction_id":1}', b'{"prediction_id":""}', b"\xff", b"[" * 5000, b'{"model":"m"}'],
)
def test_a_record_without_a_key_is_poison(payload):
    with pytest.raises(InvalidRecord, match="a prediction record"):
        key_of(Kind.PREDICTION, payload)


def test_the_headers_are_cloudevents_and_the_place():
    assert headers_of("worker-1", Kind.PREDICTION, PLACE) == [
        ("ce_specversion", b"1.0"),
        ("ce_source", b"/pointsman/worker-1"),
        ("ce_type", b"pointsman.prediction.v1"),
        ("content-type", b"application/json"),
        ("ce_id", f"{LOG_ID}/17".encode()),
        ("log_id", LOG_ID.encode()),
        ("segment", b"3"),
        ("seq", b"17"),
        ("after", b"12"),
        ("pseq", b"5"),
    ]


@pytest.mark.parametrize("kind", [Kind.PREDICTION, Kind.LABEL, Kind.AUDIT])
def test_what_is_sent_is_what_is_read(kind):
    read = read_message(kind, b"key", b'{"any":1}', headers_of("w", kind, PLACE))

    assert read == Entry(LOG_ID, 17, kind, b'{"any":1}', 3, 12)


def test_an_audit_record_that_is_a_gate_has_a_type_of_its_own_and_only_there():
    payload = b'{"schema":1,"gate_id":"g","model":"m"}'
    headers = headers_of("w", Kind.AUDIT, PLACE, payload)

    assert dict(headers)["ce_type"] == b"pointsman.gate.v1"
    assert dict(headers_of("w", Kind.AUDIT, PLACE, b'{"model":"m"}'))["ce_type"] == b"pointsman.change.v1"
    assert dict(headers_of("w", Kind.LABEL, PLACE, payload))["ce_type"] == b"pointsman.label.v1"
    assert read_message(Kind.AUDIT, b"m", payload, headers) == Entry(LOG_ID, 17, Kind.AUDIT, payload, 3, 12)
    assert isinstance(read_message(Kind.LABEL, b"m", payload, headers), Undecodable)


@pytest.mark.parametrize(
    ("field", "event_type"),
    [("alias_move", b"pointsman.alias_move.v1"), ("promotion_id", b"pointsman.promotion.v1")],
)
def test_what_was_seen_of_an_alias_and_what_became_of_a_promotion_have_types_of_their_own(field, event_type):
    payload = b'{"schema":1,"%b":"x","model":"m"}' % field.encode()
    headers = headers_of("w", Kind.AUDIT, PLACE, payload)

    assert dict(headers)["ce_type"] == event_type
    assert read_message(Kind.AUDIT, b"m", payload, headers) == Entry(LOG_ID, 17, Kind.AUDIT, payload, 3, 12)
    assert isinstance(read_message(Kind.PREDICTION, b"m", payload, headers), Undecodable)


def test_seals_and_tombstones_have_a_place_losses_and_manifests_have_none():
    for kind in ("seal", "tombstone"):
        headers = control_headers("w", kind, kind, PLACE)
        assert read_message(Kind.LABEL, b"k", b'{"a":1}', headers) == Control(kind, PLACE, {"a": 1})
    for kind in ("loss", "manifest"):
        headers = [*control_headers("w", kind, "id"), ("log_id", b"of a loss")]
        assert read_message(Kind.AUDIT, b"k", b'{"a":1}', headers) == Control(kind, None, {"a": 1})


def test_a_label_from_outside_needs_no_headers_of_ours():
    assert read_message(Kind.LABEL, b"p1", b"{}", []) == External(b"p1", b"{}")
    assert read_message(Kind.LABEL, None, b"{}", [("ce_type", b"com.bank.outcome")]) == External(None, b"{}")


@pytest.mark.parametrize(
    ("kind", "value", "change"),
    [
        (Kind.PREDICTION, None, {}),
        (Kind.LABEL, None, {}),
        (Kind.PREDICTION, b"{}", {"log_id": None}),
        (Kind.LABEL, b"{}", {"ce_type": b"pointsman.prediction.v1"}),
        (Kind.PREDICTION, b"{}", {"ce_type": b"pointsman.prediction.v2"}),
        (Kind.PREDICTION, b"{}", {"ce_type": b"\xff"}),
        (Kind.PREDICTION, b"{}", {"log_id": b"AB" * 16}),
        (Kind.PREDICTION, b"{}", {"log_id": b"../../etc"}),
        (Kind.PREDICTION, b"{}", {"seq": b"-1"}),
        (Kind.PREDICTION, b"{}", {"seq": b"17.0"}),
        (Kind.PREDICTION, b"{}", {"seq": b"9" * 30}),
        (Kind.PREDICTION, b"{}", {"seq": "٣".encode()}),
        (Kind.PREDICTION, b"{}", {"seq": None}),
        (Kind.PREDICTION, b"{}", {"after": b"17"}),
        (Kind.PREDICTION, b"{}", {"pseq": b""}),
        (Kind.PREDICTION, b"{}", {"segment": b"1 "}),
        (Kind.PREDICTION, b"not JSON", {"ce_type": b"pointsman.seal.v1"}),
        (Kind.PREDICTION, b"[]", {"ce_type": b"pointsman.tombstone.v1"}),
        (Kind.PREDICTION, b"{}", {"ce_type": b"pointsman.seal.v1", "log_id": b"x"}),
    ],
)
def test_what_is_none_of_these_is_undecodable(kind, value, change):
    headers = [(name, change.get(name, content)) for name, content in headers_of("w", Kind.PREDICTION, PLACE)]
    if change.get("log_id", b"") is None:
        headers = [(name, content) for name, content in headers if name not in {"log_id", "ce_type"}]

    assert isinstance(read_message(kind, b"k", value, headers), Undecodable)


@given(
    st.sampled_from([Kind.PREDICTION, Kind.LABEL, Kind.AUDIT]),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=50),
    st.lists(
        st.tuples(
            st.sampled_from(["ce_type", "log_id", "seq", "after", "segment", "pseq", "x"]),
            st.none()
            | st.binary(max_size=40)
            | st.sampled_from([b"7", LOG_ID.encode(), b"pointsman.seal.v1", b"pointsman.prediction.v1"]),
        ),
        max_size=9,
    ),
)
def test_no_message_breaks_the_reader(kind, key, value, headers):
    read = read_message(kind, key, value, headers)

    assert isinstance(read, Entry | Control | External | Undecodable)
