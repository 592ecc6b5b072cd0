"""Records that are decoded and looked at as columns are counted as when each is decoded alone and looked at by itself."""

import contextlib
import json
import sqlite3
from unittest.mock import patch

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contracts.wire import encode
from monitor.counts import intake, join_keys
from monitor.counts.join_record import HEAD, HEAD_TYPE, TEXT, JoinRecord, id_key
from prediction_log.spool.reader import Entry
from prediction_log.spool.segment import Kind
from tests.monitor.core.conftest import T0, TASKS, make_output, make_prediction, uuid7

VALUES = st.sampled_from([0.1, -2.0, 1, 7, 2**70, True, None, "a", "rare", "new", "", "NaN", "Infinity", [1], {"y": 1}])
COLUMN = st.one_of(st.tuples(VALUES), st.tuples(VALUES), st.lists(VALUES, max_size=3), st.none())
FEATURES = st.one_of(
    st.fixed_dictionaries({"x": st.tuples(VALUES), "c": st.tuples(VALUES)}, optional={"other": COLUMN}),
    st.dictionaries(st.sampled_from(["x", "c", 'of "x"', "other"]), COLUMN),
)
ODD = st.fixed_dictionaries(
    {},
    optional={
        "event_us": st.sampled_from([-1, 0, T0, 2**62, 2**63, 2**64, "now"]),
        "received_us": st.sampled_from([-1, T0 + 7, 2**63 - 1, 2**70]),
        "rows": st.sampled_from([-1, 0, 1, 1, 1, 2, 3, 2**31, 2**63, 1.5]),
        "version": st.sampled_from(["1", "2", None]),
        "variant": st.sampled_from(["champion", "canary"]),
        "answered": st.booleans(),
        "status": st.sampled_from(["ok", "timeout", "no_status"]),
        "fallback_from": st.sampled_from([None, "canary"]),
        "prediction_id": st.sampled_from(["short", "x" * 300]),
        "outputs": st.sampled_from([{}, {"p": {"datatype": "FP64", "shape": [], "data": []}}, {"p": 1}]),
    },
)
RECORD = st.tuples(FEATURES, st.one_of(st.just({}), st.just({}), ODD))
GROUP_BYTES = HEAD_TYPE["group"].itemsize
BROKEN = st.sampled_from([b"", b"{}", b"[1]", b"\xff\xfe", b'{"schema":1', b"null", b"[" * 2000])


def payload_of(number, kind, features, odd):
    """A record with some fields that are not as they should be."""
    width = len(TASKS[kind].classes) if kind == "multiclass" else 1
    plain = make_prediction(uuid7(T0 // 1000 + number, number), outputs=make_output([0.25] * width, width))
    return json.dumps(json.loads(encode(plain)) | {"features": features} | odd).encode()


def counted_of(world, path, kind, payloads, records_max):
    """Everything that a state says after these records, and what was refused."""
    entries = [Entry("log", seq, Kind.PREDICTION, payload) for seq, payload in enumerate(payloads, 1)]
    references = {("m", version): world.make_reference(kind, version) for version in "12"}
    refused = []
    world.run(world.make_consumer(path, entries, world.make_catalogue(references), records_max, refuse=refused.extend))
    groups = read_groups(path)
    left = {
        key: (groups[HEAD.unpack_from(body)[0]], body[GROUP_BYTES:])
        for key, body in world.read_join_rows(path).items()
        if key.startswith(join_keys.RECORD)
    }
    return world.read_counts(path), world.read_counters(path), left, sorted(refused)


def read_groups(path):
    """What each group's number stands for; the numbers say only which group was seen first."""
    query = (
        "SELECT grp.number, model, version, digest, fingerprint, variant"
        " FROM grp JOIN generation ON generation.number = grp.generation"
    )
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return {number: tuple(key) for number, *key in connection.execute(query)}


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(sorted(TASKS)),
    given_records=st.lists(st.one_of(RECORD, RECORD, RECORD, BROKEN), min_size=1, max_size=8),
)
@example(kind="binary", given_records=[({}, {"version": "2"}), ({}, {})])
def test_columns_count_what_each_record_counts(world, tmp_path_factory, kind, given_records):
    path = tmp_path_factory.mktemp("columns")
    payloads = [
        record if isinstance(record, bytes) else payload_of(number, kind, *record)
        for number, record in enumerate(given_records)
    ]

    together = counted_of(world, path / "together.sqlite", kind, payloads, 1000)
    with patch.object(intake, "_decoded", intake._decoded_singly):
        alone = counted_of(world, path / "alone.sqlite", kind, payloads, 1)

    assert together == alone


@given(st.lists(st.tuples(st.integers(0, 2**48 - 1), st.integers(1, 2**32 - 1), st.integers(1, 2**63 - 1))))
def test_keys_made_at_once_are_those_made_one_by_one(given_places):
    records = [JoinRecord(id_key(uuid7(ms, seq % 2**60)), log, seq, b"") for ms, log, seq in given_places]
    text = JoinRecord(id_key("x" * 15), 1, 1, b"")

    keys = join_keys.record_keys(records)

    assert keys == join_keys.record_keys([*records, text])[:-1]
    assert [join_keys.place_of(key) for key in keys if key[1] != TEXT] == [
        one[:3] for one in records if one.id[0] != TEXT
    ]
