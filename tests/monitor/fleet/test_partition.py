"""One partition by itself: a real consumer on disk; what Kafka would do is said by the test."""

import asyncio
import sqlite3

import pytest

from contracts.errors import RegistryUnavailable, StoreUnavailable, Unavailable
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.fleet import partition
from monitor.fleet.arrival import arrival_of
from monitor.fleet.partition import Partition, Parts
from monitor.fleet.publishing import Fenced
from monitor.fleet.set_aside import set_aside
from prediction_log.finding import Finding, FindingKind
from prediction_log.kafka.decoding import DeadLetter, empty_batch
from prediction_log.kafka.message import Control, Place
from prediction_log.kafka.topics import topics_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.monitor.core import conftest as counting
from tests.monitor.fleet.conftest import LOG_A

TOPICS = topics_of("p")


class Publisher:
    """Counts what is asked of it; fails as often as it is told."""

    def __init__(self, errors):
        self.errors = errors
        self.published = 0
        self.closed = False

    async def open(self):
        pass

    async def publish(self, directory):
        if self.errors:
            raise self.errors.pop(0)
        self.published += 1
        return True

    async def aclose(self):
        self.closed = True


class Letters:
    """Keeps what is sent; fails as often as it is told."""

    def __init__(self):
        self.sent = []
        self.errors = []

    async def send(self, letters):
        if letters and self.errors:
            raise self.errors.pop(0)
        self.sent += letters


class World:
    """The parts of a partition. `facts` is what the registry does when it is asked."""

    def __init__(self):
        self.publishers = []
        self.publish_errors = []
        self.restore_errors = []
        self.letters = Letters()
        self.away = False
        self.now = 0.0

    def reference(self, model, version):
        if self.away:
            raise RegistryUnavailable("the registry is away")
        return counting.make_reference("binary", version)

    def parts(self):
        catalogue = Catalogue(self.reference, lambda *_: None, refresh_us=0)
        return Parts(
            topics=TOPICS,
            make_consumer=lambda path, refuse: Consumer(path, catalogue, horizon_days=2.0, refuse=refuse),
            make_publisher=self.make_publisher,
            restore=self.restore,
            dead_letters=self.letters,
            now_us=lambda: counting.T0,
            clock=lambda: self.now,
        )

    def make_publisher(self, _number):
        self.publishers.append(Publisher(self.publish_errors))
        return self.publishers[-1]

    async def restore(self, _number, directory):
        directory.mkdir(parents=True, exist_ok=True)
        if self.restore_errors:
            raise self.restore_errors.pop(0)


@pytest.fixture
def one():
    return World()


def batch(first, last, *, caught_up=True, **given):
    """Predictions first..last of one log, and where to read on after them."""
    entries = [
        Entry(f"p:{LOG_A}", seq, Kind.PREDICTION, encode(prediction(seq)), 1, seq - 1) for seq in range(first, last + 1)
    ]
    positions = {TOPICS.predictions: last, TOPICS.labels: 0}
    return empty_batch()._replace(entries=entries, positions=positions, caught_up=caught_up, **given)


def prediction(seq):
    return counting.make_prediction(counting.uuid7(counting.T0 // 1000, seq), event_us=counting.T0)


def rows(path):
    """How many rows a closed state has counted."""
    counts = counting.read_counts(path / "monitor.sqlite")
    return sum(value for (key, cell), value in counts.items() if cell == 0 and key.slice == "all")


def test_what_is_offered_before_it_is_open_is_left_to_come_again(tmp_path, one):
    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        part.offer(batch(1, 5))
        await part.take()
        assert (part.standing, part.held) == ("opening", 0)
        await part.opened()
        assert part.positions == {}
        part.offer(batch(1, 5))
        await part.take()
        assert part.positions == {TOPICS.predictions: 5, TOPICS.labels: 0}
        await part.aclose()

    asyncio.run(scenario())

    assert rows(tmp_path) == 5
    assert [publisher.published for publisher in one.publishers] == [1]


def test_batches_that_were_held_are_counted_in_one_step(tmp_path, one):
    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        part.offer(batch(1, 5, caught_up=False))
        part.offer(batch(6, 9))
        assert part.held == 9
        await part.take()
        assert (part.held, part.caught_up, part.records) == (0, True, 9)
        await part.aclose()

    asyncio.run(scenario())

    assert rows(tmp_path) == 9


def test_a_partition_whose_registry_is_away_stands_still_and_goes_on_where_it_was(tmp_path, one):
    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        one.away = True
        part.offer(batch(1, 5))
        await part.take()
        assert part.standing == "standing still"
        assert "registry" in part.trouble
        part.offer(batch(6, 9))
        assert part.held == 0

        one.away = False
        await part.opened()
        assert (part.standing, part.trouble, part.positions) == ("counting", None, {})
        part.offer(batch(1, 9))
        await part.take()
        await part.aclose()

    asyncio.run(scenario())

    assert rows(tmp_path) == 9


def test_it_waits_longer_each_time_that_it_cannot_be_opened(tmp_path, one, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(partition.asyncio, "sleep", sleep)
    one.restore_errors = [Unavailable("Kafka is away") for _ in range(9)]

    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        await part.aclose()

    asyncio.run(scenario())

    assert slept == [0.0, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0]
    assert all(publisher.closed for publisher in one.publishers)


def test_a_fenced_partition_is_lost_and_publishes_no_more(tmp_path, one):
    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        part.offer(batch(1, 5))
        await part.take()
        one.publish_errors.append(Fenced("another has it"))
        await part.publish()
        assert part.standing == "lost"
        await part.aclose()

    asyncio.run(scenario())

    assert [publisher.published for publisher in one.publishers] == [0]


def test_a_publication_that_fails_is_made_by_the_next_publisher_after_a_restore(tmp_path, one):
    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        part.offer(batch(1, 5))
        await part.take()
        one.publish_errors.append(Unavailable("Kafka is away"))
        await part.publish()
        assert part.standing == "standing still"
        await part.opened()
        await part.publish()
        await part.aclose()

    asyncio.run(scenario())

    assert [publisher.published for publisher in one.publishers] == [0, 1]
    assert rows(tmp_path) == 5


def test_nothing_is_saved_as_read_before_its_dead_letters_are_taken(tmp_path, one):
    letter = DeadLetter(TOPICS.predictions, 0, 3, "unreadable", b"k", b"v", ())
    broken = Entry(f"p:{LOG_A}", 6, Kind.PREDICTION, b'{"prediction_id": 7}', 1, 5)

    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        for given in (batch(1, 5, undecodable=[letter]), batch(1, 5)._replace(entries=[broken])):
            one.letters.errors.append(Unavailable("Kafka is away"))
            part.offer(given)
            await part.take()
            assert (part.standing, part.positions) == ("standing still", {})
            await part.opened()
        whole = batch(1, 5, undecodable=[letter])
        part.offer(whole._replace(entries=[*whole.entries, broken]))
        await part.take()
        assert (part.dead, part.positions[TOPICS.predictions]) == (2, 5)
        await part.aclose()

    asyncio.run(scenario())

    assert [(one.offset, one.reason.partition(":")[0]) for one in one.letters.sent] == [
        (3, "unreadable"),
        (-1, "undecodable"),
    ]
    assert rows(tmp_path) == 5


def test_a_partition_that_is_taken_away_while_it_opens_leaves_no_file_open(tmp_path, one):
    async def scenario():
        for delay in (0.0, 0.001, 0.01, 0.03):
            part = Partition(0, tmp_path, one.parts())
            opening = asyncio.create_task(part.opened())
            await asyncio.sleep(delay)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await part.aclose()
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        assert part.standing == "counting"
        await part.aclose()

    asyncio.run(scenario())


def test_tombstones_cover_their_place_and_are_told_as_lost(tmp_path, one):
    tombstone = Control("tombstone", Place(LOG_A, 1, 6, 5, 6), {"reason": "too large"})
    seal = Control("seal", Place(LOG_A, 1, 9, 8, 8), {})

    arrival = arrival_of(
        [batch(1, 5)._replace(controls=[("p", tombstone)]), batch(7, 8)._replace(controls=[("p", seal)])]
    )

    assert arrival.reading.entries[-1] == Entry(f"p:{LOG_A}", 6, Kind.AUDIT, b"", 1, 5)
    assert [(one.kind, one.first_seq, one.last_seq) for one in arrival.reading.findings] == [(FindingKind.LOSS, 6, 6)]
    assert arrival.sealed == [(f"p:{LOG_A}", 8)]
    assert arrival.read == 9

    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        part.offer(batch(1, 5)._replace(controls=[("p", tombstone)]))
        part.offer(batch(7, 8)._replace(controls=[("p", seal)]))
        await part.take()
        seen = part._consumer.seen
        await part.aclose()
        return seen

    assert asyncio.run(scenario()) == {f"p:{LOG_A}": [(1, 8)]}


def test_what_hosts_report_is_kept_with_how_far_their_reports_were_read(tmp_path, one):
    finding = Finding(
        kind=FindingKind.ROT, log_id=LOG_A, segment=1, offset=64, first_seq=None, last_seq=None, detail="d"
    )

    async def scenario():
        part = Partition(0, tmp_path, one.parts())
        await part.opened()
        part.found([finding], TOPICS.audit, 12)
        await part.take()
        await part.aclose()
        again = Partition(0, tmp_path, one.parts())
        await again.opened()
        positions = dict(again.positions)
        await again.aclose()
        return positions

    assert asyncio.run(scenario()) == {TOPICS.audit: 12}


@pytest.mark.parametrize(
    ("cause", "moved"),
    [
        (None, True),
        (sqlite3.DatabaseError("database disk image is malformed"), True),
        (sqlite3.OperationalError("no such table: progress"), True),
        (sqlite3.OperationalError("database or disk is full"), False),
        (sqlite3.OperationalError("database is locked"), False),
        (OSError(28, "No space left on device"), False),
    ],
)
def test_a_state_is_put_aside_for_damage_and_not_for_what_passes(tmp_path, cause, moved):
    for _ in range(2):
        directory = tmp_path / "3"
        directory.mkdir(exist_ok=True)
        (directory / "monitor.sqlite").write_text("x")
        error = StoreUnavailable("it cannot be opened")
        error.__cause__ = cause

        assert set_aside(directory, error) is moved

        assert directory.exists() is not moved
        assert (tmp_path / "3.broken" / "monitor.sqlite").exists() is moved
