"""A crash at any statement or commit loses nothing and counts nothing twice: the next start goes on exactly."""

import contextlib
import sqlite3
from unittest.mock import patch

import pytest

from contracts.errors import RegistryUnavailable, StoreUnavailable
from monitor.counts import consume, join_keys, state, summary_store
from monitor.counts.catalogue import Catalogue
from monitor.counts.state import FILE_NAME, counted, open_state
from monitor.pages.queries import open_reader

HORIZON_PASSED_DAYS = 5


class Crash(Exception):
    """The process dies here."""


class Countdown:
    """How many statements are still executed; then every one crashes, before or after it is done."""

    def __init__(self, statements, *, after):
        self.left, self.after, self.used = statements, after, 0

    def connect(self, *args, **kwargs):
        return sqlite3.connect(*args, factory=self.connection_type(), **kwargs)

    def connection_type(self):
        countdown = self

        class Fragile(sqlite3.Connection):
            def execute(self, *args):
                with countdown.statement(self):
                    return super().execute(*args)

            def executemany(self, *args):
                with countdown.statement(self):
                    return super().executemany(*args)

        return Fragile

    @contextlib.contextmanager
    def statement(self, connection):
        self.used += 1
        if self.left is not None and self.used > self.left and not self.after:
            raise Crash
        yield
        if self.left is not None and self.used > self.left:
            raise Crash


@pytest.fixture
def history(world):
    """Predictions, early, corrected and orphaned labels over two logs, long enough to settle and to expire."""
    entries = []
    far_us = world.T0 + HORIZON_PASSED_DAYS * world.DAY_US
    for i in range(6):
        ids = world.uuid7(world.T0 // 1000 + i, i)
        records = [
            world.make_label(ids, i % 2),
            world.make_prediction(ids, event_us=world.T0 + i * world.PANE_US, features={"x": [i], "c": ["a"]}),
            world.make_prediction(ids, version="2", variant="shadow-2", answered=False),
            world.make_label(ids, 1 - i % 2, label_version=1),
        ]
        entries += [world.entry("ab"[i % 2] * 32, i // 2 * 4 + n, record) for n, record in enumerate(records, 1)]
    orphan = world.make_label(world.uuid7(world.T0 // 1000, 99), 1)
    late = world.make_prediction(world.uuid7(far_us // 1000, 1), event_us=far_us)
    after = world.make_label(world.uuid7(world.T0 // 1000, 0), 1, label_version=2)
    ends = [world.entry("c" * 32, n, record) for n, record in enumerate([orphan, late, after], 1)]
    return [*entries, *ends[:2], None, ends[2]]


def finish(world, path, history, countdown):
    """Run until a crash, or to the end, where it is told whether it got there."""
    references = {("m", version): world.make_reference("binary", version) for version in "12"}
    catalogue = world.make_catalogue(references)
    consumer = world.make_consumer(path, history, catalogue, records_max=4, connect=countdown.connect)
    try:
        for _ in range(12):
            consumer.tick(world.T0)
    except (Crash, StoreUnavailable):
        return False
    consumer.close()
    return True


def everything(world, path):
    """What a reader and the certificate can know."""
    reader = open_reader(path)
    progress = reader.progress()
    reader.close()
    return world.read_counts(path), world.read_counters(path), counted(path), progress


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_statement_is_as_if_it_had_not_happened(world, tmp_path, history, after):
    with patch.object(summary_store, "SETTLE_TICKS_MAX", 3), patch.object(consume, "EXPIRE_TICKS", 4):
        whole = Countdown(None, after=after)
        assert finish(world, tmp_path / "whole" / FILE_NAME, history, whole)
        expected = everything(world, tmp_path / "whole" / FILE_NAME)

        for statements in range(0, whole.used + 1, 3):
            path = tmp_path / str(statements) / FILE_NAME
            done = finish(world, path, history, Countdown(statements, after=after))
            assert done == (statements >= whole.used)
            assert finish(world, path, history, Countdown(None, after=after))
            assert everything(world, path) == expected, statements


def test_the_history_of_the_crash_test_does_everything_there_is(world, tmp_path, history):
    with patch.object(summary_store, "SETTLE_TICKS_MAX", 3), patch.object(consume, "EXPIRE_TICKS", 4):
        finish(world, tmp_path / FILE_NAME, history, Countdown(None, after=False))

    names = {name for name, *_ in world.read_counters(tmp_path / FILE_NAME)}
    assert {"labels_accepted", "labels_corrected", "labels_orphaned", "labels_too_late"} <= names
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        for table in ("pane", "day", "recent"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    kinds = {key[:1] for key in world.read_join_rows(tmp_path / FILE_NAME)}
    assert {join_keys.RECORD, join_keys.QUEUE} <= kinds


def test_a_crash_in_the_middle_of_a_tick_is_survived_by_the_same_consumer(world, tmp_path, history):
    path, countdown = tmp_path / FILE_NAME, Countdown(60, after=False)
    references = {("m", version): world.make_reference("binary", version) for version in "12"}
    consumer = world.make_consumer(
        path, history, world.make_catalogue(references), records_max=4, connect=countdown.connect
    )
    crashes = 0
    for _ in range(40):
        try:
            consumer.tick(world.T0)
        except (Crash, StoreUnavailable):
            crashes += 1
            countdown.left = countdown.used + 20 + 15 * crashes
    consumer.close()

    assert crashes > 1
    assert world.read_counts(path) == world.oracle(history[:-2], references)


def test_while_the_registry_is_away_nothing_is_counted_before_it_is_known_how(world, tmp_path, history):
    reference, away = world.make_reference("binary"), [True]

    def reference_of(model, version):
        if away[0]:
            raise RegistryUnavailable("away")
        return reference

    path = tmp_path / FILE_NAME
    consumer = world.make_consumer(path, history, Catalogue(reference_of, lambda *_: None, refresh_us=0))
    with pytest.raises(RegistryUnavailable):
        consumer.tick(world.T0)
    assert counted(path) == {}

    away[0] = False
    consumer.tick(world.T0)
    away[0] = True
    consumer.tick(world.T0)
    consumer.close()

    references = {("m", version): reference for version in "12"}
    assert world.read_counts(path) == world.oracle(history[:-2], references)


def test_two_monitors_on_one_state_count_nothing_twice(world, tmp_path, history):
    path, references = (
        tmp_path / FILE_NAME,
        {("m", version): world.make_reference("binary", version) for version in "12"},
    )
    entries = [entry for entry in history if entry]
    pair = [world.make_consumer(path, entries, world.make_catalogue(references), records_max=5) for _ in range(2)]
    refused = []
    for _ in range(12):
        for consumer in pair:
            try:
                consumer.tick(world.T0)
            except StoreUnavailable as error:
                refused.append(str(error))
    for consumer in pair:
        consumer.close()

    assert refused
    assert all("another monitor" in reason for reason in refused)
    assert world.read_counts(path) == world.oracle(entries, references)


def test_findings_are_kept_up_to_a_bound(world, tmp_path):
    path = tmp_path / FILE_NAME
    consumer = world.make_consumer(path, [], world.make_catalogue({}))
    consumer.tick(world.T0)
    consumer._source._reader.findings = [{"n": n} for n in range(20)]
    with patch.object(state, "FINDINGS_MAX", 7):
        consumer.tick(world.T0)
    consumer.close()

    reader = open_reader(path)
    assert len(reader.findings()) == 7
    reader.close()


def test_a_state_of_another_format_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / FILE_NAME
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(StoreUnavailable, match="format 99.*move it away"):
        open_state(path)


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / FILE_NAME
    path.write_bytes(b"not a database, " * 100)

    with pytest.raises(StoreUnavailable, match="move it away"):
        open_state(path)
    with pytest.raises(StoreUnavailable):
        open_reader(path)
    with pytest.raises(StoreUnavailable):
        counted(path)


def test_a_file_that_cannot_be_read_is_not_left_open(tmp_path, monkeypatch):
    path, closed, connect = tmp_path / FILE_NAME, [], sqlite3.connect
    path.write_bytes(b"not a database, " * 100)

    class Watched(sqlite3.Connection):
        def close(self):
            closed.append(self)
            super().close()

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **given: connect(*args, factory=Watched, **given))
    with pytest.raises(StoreUnavailable):
        open_reader(path)

    assert len(closed) == 1


def test_without_a_state_nothing_is_counted_and_nothing_can_be_read(tmp_path):
    assert counted(tmp_path / FILE_NAME) == {}
    with pytest.raises(StoreUnavailable, match="is the monitor running"):
        open_reader(tmp_path / FILE_NAME)
