"""Vectors of any stretch of time are the sum of its panes, whether they are settled, recent, or only days are left."""

import sqlite3

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import InvalidInput, NotFound
from monitor.counts import summary_store
from monitor.counts.panes import ALL, DAY_PANES, PANE_US, bucket_of, pane_of, series_of
from monitor.counts.state import FILE_NAME, Progress
from monitor.counts.summary import empty, sparse, subtract
from monitor.pages import queries
from monitor.pages.queries import open_reader


@pytest.fixture(scope="module")
def filled(world, tmp_path_factory):
    """Five days of records, many ticks; some settled, some recent. Gives the path, the oracle's counts and T0."""
    path = tmp_path_factory.mktemp("queries") / FILE_NAME
    references = {("m", "1"): world.make_reference("binary")}
    entries = []
    for i in range(120):
        event_us = world.T0 + (i * 7919 % 480) * 3 * PANE_US + i
        prediction_id = world.uuid7(world.T0 // 1000 + i, i)
        entries.append(world.make_prediction(prediction_id, event_us=event_us, features={"x": [i], "c": ["ab"[i % 2]]}))
        entries.append(world.make_label(prediction_id, i % 3 == 0, observed_us=event_us + 1, received_us=event_us + 2))
    entries = [world.entry("a" * 32, seq, record) for seq, record in enumerate(entries, 1)]
    keep, summary_store.SETTLE_TICKS_MAX = summary_store.SETTLE_TICKS_MAX, 7
    try:
        world.run(world.make_consumer(path, entries, world.make_catalogue(references), records_max=13))
    finally:
        summary_store.SETTLE_TICKS_MAX = keep
    return path, world.oracle(entries, references)


@pytest.fixture
def reader(filled):
    opened = open_reader(filled[0])
    yield opened
    opened.close()


def expected(counts, size, slice_name, from_us, to_us):
    vector = np.zeros(size, np.int64)
    for (key, cell), count in counts.items():
        if key.slice == slice_name and from_us <= key.pane_start_us < to_us:
            vector[cell] += count
    return vector


@settings(max_examples=60)
@given(first=st.integers(-2, 1500), length=st.integers(0, 1500), slice_name=st.sampled_from(["all", "c=a", "c=7"]))
def test_a_merged_vector_is_the_sum_of_its_panes(world, filled, first, length, slice_name):
    reader = open_reader(filled[0])
    from_us, to_us = world.T0 + first * PANE_US, world.T0 + (first + length) * PANE_US

    vector = reader.merged(reader.groups()[0], slice_name, from_us, to_us)

    assert np.array_equal(vector, expected(filled[1], len(vector), slice_name, from_us, to_us))
    reader.close()


@settings(max_examples=30)
@given(first=st.integers(0, 900), length=st.integers(1, 900), panes=st.sampled_from([1, 12, 100, 288, 576]))
def test_a_series_splits_the_merged_vector_by_time(world, filled, first, length, panes):
    reader = open_reader(filled[0])
    group = reader.groups()[0]
    from_us, to_us = world.T0 + first * PANE_US, world.T0 + (first + length) * PANE_US

    series = reader.series(group, ALL, from_us, to_us, panes * PANE_US)

    assert [start for start, _ in series] == sorted({start for start, _ in series})
    for start, vector in series:
        assert start % (panes * PANE_US) == 0
        low, high = max(start, from_us), min(start + panes * PANE_US, to_us)
        assert np.array_equal(vector, expected(filled[1], len(vector), ALL, low, high))
    total = sum((vector for _, vector in series), np.zeros(reader.generation(group).layout.size, np.int64))
    assert np.array_equal(total, reader.merged(group, ALL, from_us, to_us))
    reader.close()


def test_without_bounds_everything_is_merged(filled, reader):
    vector = reader.merged(reader.groups()[0])

    assert np.array_equal(vector, expected(filled[1], len(vector), ALL, 0, 2**60))


def test_rows_are_read_page_by_page(filled, reader, monkeypatch):
    monkeypatch.setattr(queries, "ROWS_AT_ONCE", 3)

    vector = reader.merged(reader.groups()[0], ALL, 0, 2**60)
    series = reader.series(reader.groups()[0], ALL, None, None, PANE_US)

    assert np.array_equal(vector, expected(filled[1], len(vector), ALL, 0, 2**60))
    assert np.array_equal(sum(own for _, own in series), vector)


def test_settling_in_small_parts_changes_no_count(world, filled, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_store, "BUCKETS_AT_ONCE", 2)
    monkeypatch.setattr(summary_store, "_CELLS_AT_ONCE", 5)
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 2)
    references = {("m", "1"): world.make_reference("binary")}
    entries = [
        world.entry("a" * 32, i + 1, world.make_prediction(world.uuid7(1, i), event_us=world.T0 + i * PANE_US))
        for i in range(40)
    ]
    path = tmp_path / FILE_NAME

    world.run(world.make_consumer(path, entries, world.make_catalogue(references), records_max=9))

    assert world.read_counts(path) == world.oracle(entries, references)


def test_a_reader_sees_new_ticks_and_settled_ones_alike(world, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 4)
    entries, path = [], tmp_path / FILE_NAME
    consumer = world.make_consumer(path, entries, world.make_catalogue({("m", "1"): world.make_reference("binary")}))
    consumer.tick(world.T0)
    readers = [open_reader(path) for _ in range(5)]
    for i in range(1, 30):
        entries.append(world.entry("a" * 32, i, world.make_prediction(world.uuid7(1, i))))
        consumer.tick(world.T0)
        for every, reader in enumerate(readers, 1):
            if i % every == 0:
                group = reader.groups()[0]
                assert reader.merged(group)[reader.generation(group).layout.sections["rows"].start] == i
    for reader in readers:
        reader.close()
    consumer.close()


def test_summaries_are_of_one_moment_though_a_version_comes_meanwhile(world, tmp_path):
    path = tmp_path / FILE_NAME
    catalogue = world.make_catalogue({("m", version): world.make_reference("binary", version) for version in "12"})
    entries = [
        world.entry("a" * 32, seq, world.make_prediction(world.uuid7(world.T0 // 1000, seq), version=version))
        for seq, version in enumerate("12", 1)
    ]
    world.run(world.make_consumer(path, entries[:1], catalogue))
    reader = open_reader(path)
    known = reader.groups

    def groups():
        found = known()
        world.run(world.make_consumer(path, entries, catalogue))
        return found

    reader.groups = groups
    assert {key.version for key, _, _ in reader.summaries()} == {"1"}
    reader.groups = known
    assert {key.version for key, _, _ in reader.summaries()} == {"1", "2"}
    reader.close()


def test_what_adds_up_to_nothing_is_not_stored():
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in summary_store.SCHEMA:
        connection.execute(statement)
    counts = sparse(bucket_of(series_of(1, 0), 7), np.array([0, 3, 0, -2]))
    for tick, part in enumerate([counts, subtract(empty(), counts)]):
        summary_store.add_recent(connection, tick, part)
        summary_store.settle(connection, 7)
        kept = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("pane", "day", "recent")
        ]
        assert kept == [1 - tick, 1 - tick, 0]
    connection.close()


def test_an_event_from_the_future_drops_no_pane(world, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 1)
    path, references = tmp_path / FILE_NAME, {("m", "1"): world.make_reference("binary")}
    times = {"event_us": world.T0 + 5000 * world.DAY_US, "received_us": world.T0}
    records = [world.make_prediction(world.uuid7(1, 1)), world.make_prediction(world.uuid7(1, 2), **times)]
    entries = [world.entry("a" * 32, seq, record) for seq, record in enumerate(records, 1)]

    world.run(world.make_consumer(path, entries, world.make_catalogue(references), records_max=1))

    assert world.read_counts(path) == world.oracle(entries, references)


def test_panes_are_dropped_after_their_time_and_their_days_stay(world, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_store, "PANES_KEPT_DAYS", 2)
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 1)
    path = tmp_path / FILE_NAME
    entries = [
        world.entry("a" * 32, i + 1, world.make_prediction(world.uuid7(1, i), event_us=world.T0 + i * 50 * PANE_US))
        for i in range(60)
    ]
    old = world.entry("b" * 32, 1, world.make_prediction(world.uuid7(1, 99), event_us=world.T0 + 1))

    world.run(
        world.make_consumer(
            path, [*entries, old], world.make_catalogue({("m", "1"): world.make_reference("binary")}), 7
        )
    )

    reader = open_reader(path)
    group = reader.groups()[0]
    rows = reader.generation(group).layout.sections["rows"].start
    panes = {key.pane_start_us for key, _, _ in reader.summaries()}
    days = reader.series(group, ALL, None, None, DAY_PANES * PANE_US)
    mid_day = world.T0 + 100 * PANE_US
    assert min(panes) >= world.T0 + (60 * 50 // DAY_PANES - 2) * DAY_PANES * PANE_US
    assert sum(int(vector[rows]) for _, vector in days) == reader.merged(group)[rows] == 61
    assert reader.merged(group, ALL, mid_day, mid_day + PANE_US)[rows] == days[0][1][rows]
    reader.close()


def test_the_reader_says_how_far_the_monitor_is(world, filled, reader):
    progress = reader.progress()

    assert progress.first_event_us == world.T0
    assert (
        progress.last_event_us
        == max(world.T0 + (i * 7919 % 480) * 3 * PANE_US + i for i in range(120))
        == progress.watermark_us
    )
    assert progress.caught_up
    assert progress.behind_us(world.T0 * 2) == 0


def test_behind_is_the_age_of_the_newest_record_while_there_are_more(world):
    progress = Progress(received_us=70, caught_up=False)

    assert (progress.behind_us(100), progress.behind_us(60)) == (30, 0)


def test_a_question_that_cannot_be_answered_says_why(reader):
    group = reader.groups()[0]

    with pytest.raises(NotFound, match="'c=z'.*c=a"):
        reader.merged(group, "c=z")
    with pytest.raises(InvalidInput, match="multiple of the pane"):
        reader.series(group, ALL, None, None, PANE_US + 1)


def test_more_vectors_than_can_be_held_are_refused(reader, monkeypatch):
    monkeypatch.setattr(queries, "VECTORS_MAX", 3)

    with pytest.raises(InvalidInput, match="wider bucket"):
        reader.series(reader.groups()[0], ALL, None, None, PANE_US)


def test_time_before_the_epoch_or_after_everything_is_empty(reader):
    group = reader.groups()[0]

    assert not reader.merged(group, ALL, -(10**18), -(10**17)).any()
    assert not reader.merged(group, ALL, 2**61, 2**62).any()
    assert not reader.merged(group, ALL, 2**60, 0).any()


@given(st.integers(0, 2**53 - 1))
def test_every_time_that_is_counted_has_a_pane_that_fits(event_us):
    assert 0 <= pane_of(event_us) < 2**25
