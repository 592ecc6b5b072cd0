"""What waits is measured without reading it, and a backlog is drained at its bound without starving what comes in."""

import asyncio

import msgspec
import pytest

from prediction_log.forward.backlog import BEHIND_BYTES, LogBacklog, Throttle, backlog_of
from prediction_log.forward.cursor import Cursor
from prediction_log.forward.feed import Feed, World
from prediction_log.forward.pace import BYTES_MAX, BYTES_MIN, BYTES_START, Pace
from prediction_log.spool.disk import boot_of_this_machine, direct
from prediction_log.spool.places import log_directories, segment_path
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_kit import Journal

pytestmark = pytest.mark.anyio

BOOT = boot_of_this_machine()


def spool_of(tmp_path, count=600):
    journal = Journal(tmp_path / "spool")
    asyncio.run(journal.write(count, size=150, segment_bytes=32 * 1024))
    (log,) = log_directories(journal.spool)
    return log, journal


def test_the_backlog_of_a_log_is_counted_from_its_heads(tmp_path):
    log, journal = spool_of(tmp_path)
    all_of_it = backlog_of(log, Cursor(), BOOT)
    feed = Feed(log, World(direct, BOOT, 4, tmp_path / "dead"))
    feed.open()
    while feed.acked.position.seq < 100:
        feed.acknowledge(feed.next_part(1))
    rest = backlog_of(log, feed.acked, BOOT)

    payloads = sum(len(payload) for payload in journal.records.values())
    assert (all_of_it.committed, all_of_it.records, all_of_it.oldest_us) == (600, 600, 1_000_000)
    assert payloads < all_of_it.bytes < payloads * 1.5
    assert (rest.committed, rest.records) == (600, 600 - feed.acked.position.seq)
    assert rest.oldest_us == 1_000_000 + feed.acked.position.seq
    assert 0 < rest.bytes < all_of_it.bytes
    while not feed.is_done:
        feed.acknowledge(feed.next_part(2**20))
    assert backlog_of(log, feed.acked, BOOT) == LogBacklog(600, 0, 0, None)


def test_a_part_holds_what_it_was_asked_for_and_one_batch_of_the_writer(tmp_path):
    log, _ = spool_of(tmp_path)
    feed = Feed(log, World(direct, BOOT, 4, tmp_path / "dead"))
    feed.open()
    sizes = []
    while not feed.is_done:
        part = feed.next_part(1000)
        sizes.append(part.bytes)
        feed.acknowledge(part)
    batch = max(sizes)

    assert batch <= 1000 + 50 * 320, "the journal writes batches of fifty"
    assert segment_path(log.path, 1).stat().st_size > batch


@pytest.mark.parametrize(
    ("audited", "since_us"),
    [
        ({"alias_move": "1", "first_seen_us": 5}, 5),
        ({"gate_id": "1", "evaluated_us": 6}, 6),
        ({"promotion_id": "1", "requested_us": 7, "decided_us": 0}, 7),
        ({"promotion_id": "1", "requested_us": 7, "decided_us": 8}, 8),
        ({"revision": 2, "at_us": 9}, 9),
    ],
    ids=str,
)
async def test_what_was_audited_has_an_age_too(tmp_path, audited, since_us):
    """An alarm on the age of the oldest record that waits would stay silent for ever."""
    writer = await Journal(tmp_path / "spool").open("admin")
    await writer.append(Kind.AUDIT, msgspec.json.encode({"model": "m", **audited}))
    (log,) = log_directories(tmp_path / "spool")

    backlog = backlog_of(log, Cursor(), BOOT)
    await writer.aclose()

    assert (backlog.records, backlog.oldest_us) == (1, since_us)


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def drained(throttle, time, seconds, chunk=100_000):
    """Bytes that pass in so many seconds, asked every ten milliseconds."""
    passed = 0
    for _ in range(int(seconds * 100)):
        time.now += 0.01
        while throttle.may_send() and passed < 2**32:
            throttle.sent(chunk)
            passed += chunk
            if not throttle.behind:
                return passed
    return passed


def test_a_backlog_drains_at_its_bound_above_what_arrives():
    time = Time()
    throttle = Throttle(2_000_000, time)
    throttle.observe(10 * BEHIND_BYTES, 0.0)
    alone = drained(throttle, time, 10)
    throttle.observe(10 * BEHIND_BYTES, 5_000_000.0)
    busy = drained(throttle, time, 10)

    assert 19e6 < alone < 22e6
    assert 69e6 < busy < 73e6


def test_every_day_s_work_and_a_bound_of_zero_know_no_bound():
    time = Time()
    throttle = Throttle(1, time)
    throttle.observe(BEHIND_BYTES, 0.0)
    assert all(throttle.may_send() for _ in range(1000))
    free = Throttle(0, time)
    free.observe(2**40, 0.0)
    for _ in range(1000):
        assert free.may_send()
        free.sent(2**20)


def test_the_pace_rises_with_quick_answers_and_falls_fast():
    pace = Pace()
    assert pace.bytes == BYTES_START
    for _ in range(4):
        pace.acknowledged(0.1)
    assert pace.bytes == BYTES_MAX
    pace.acknowledged(5.0)
    assert pace.bytes == BYTES_MAX
    for _ in range(4):
        pace.stalled()
    assert pace.bytes == BYTES_MIN
