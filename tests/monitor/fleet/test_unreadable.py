"""Messages that nobody can read: kept as dead letters, never in the way of the others, and an alarm when they are many."""

import asyncio
import signal

import pytest

from contracts.wire import encode
from monitor.fleet.dead_letters import DEAD_MIN, WINDOW_SECONDS, DeadShare
from prediction_log.spool.segment import Kind
from tests.monitor.core import conftest as counting
from tests.monitor.fleet.conftest import LOG_A, LOG_B, QUICK_MS
from tests.services.kafka_fill import Message


def junk(fleet, amount, partition=None, topic=None):
    """Messages that are nothing."""
    parts = range(fleet.options.partitions) if partition is None else [partition]
    return [
        Message(topic or fleet.topics.predictions, part, b"key", b"\xff\xfe junk %d" % number, [("made", b"by test")])
        for number in range(amount)
        for part in parts
    ]


def values(sections):
    """{section: value} from `/metrics`, without labels."""
    lines = [line.rsplit(" ", 1) for line in sections.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def test_poison_is_kept_with_where_it_stood_and_why_and_the_others_are_counted(fleet, history):
    predictions = history.predictions(600)
    truncated = counting.make_prediction(counting.uuid7(counting.T0 // 1000, 77))

    async def scenario():
        async with fleet.filler() as filler:
            await fleet.fill(filler, LOG_A, predictions[:300])
            strangers = [
                Message(fleet.topics.predictions, 0, None, None, []),
                Message(fleet.topics.predictions, 1, b"\xff", b"{", [("log_id", b"no log"), ("seq", b"x")]),
                Message(fleet.topics.labels, 2, b"k", b"[" * 100_000, []),
                Message(fleet.topics.labels, 3, b"k", b"x" * 700_000, [("big", b"y" * 100)]),
            ]
            await filler.send(strangers)
            await fleet.fill(filler, LOG_A, predictions[300:])
            await fleet.fill(filler, LOG_A, history.labels(predictions))

    async def half_a_prediction():
        """Its headers are right, and its key stands in it: only who decodes it sees that it is none."""
        whole = encode(truncated)
        async with fleet.filler() as filler:
            (message,) = filler.messages(LOG_B, [(Kind.PREDICTION, whole)])
            await filler.send([message._replace(value=whole[: len(whole) // 2])])

    worker = fleet.worker("worker")
    asyncio.run(scenario())
    asyncio.run(half_a_prediction())

    fleet.counted_as_the_oracle(worker)
    letters = {}
    for record in fleet.wait_for(lambda: asyncio.run(fleet.dead_letters()), lambda found: len(found) >= 5):
        headers = dict(record.headers)
        letters[
            headers["topic"].decode(),
            headers["partition"],
            headers["offset"] == b"-1",
            record.value and record.value[:4],
        ] = headers
    assert len(letters) == 5
    assert all(headers["reason"] for headers in letters.values())
    big = letters[fleet.topics.labels, b"3", False, b"xxxx"]
    assert (big["cut_from_bytes"], big["big"]) == (b"700000", b"y" * 100)
    decoded = [headers for (_, _, unplaced, _), headers in letters.items() if unplaced]
    assert {headers["log_id"].decode() for headers in decoded} == {LOG_B}
    fleet.wait_for(lambda: fleet.ready(worker), {"ready": True}.__eq__)


def test_a_worker_killed_after_dead_letters_were_sent_sends_them_again_and_counts_once(fleet, history):
    worker = fleet.worker("worker", fault="dead:1", session_ms=QUICK_MS)
    predictions = history.predictions(200)

    async def scenario():
        async with fleet.filler() as filler:
            await fleet.fill(filler, LOG_A, predictions)
            await filler.send(junk(fleet, 1))

    asyncio.run(scenario())
    worker.process.wait(60)
    assert worker.process.returncode == -signal.SIGKILL
    worker.start()

    fleet.counted_as_the_oracle(worker)

    def places():
        letters = asyncio.run(fleet.dead_letters())
        return [(dict(one.headers)["partition"], dict(one.headers)["offset"]) for one in letters]

    found = fleet.wait_for(places, lambda found: len(set(found)) >= fleet.options.partitions)
    assert len(set(found)) == fleet.options.partitions


def test_when_nothing_but_poison_comes_the_partition_pauses_says_so_and_goes_on_by_itself(fleet, history):
    worker = fleet.worker("worker")
    good = history.predictions(400)

    async def scenario():
        async with fleet.filler() as filler:
            await filler.send(junk(fleet, 3 * DEAD_MIN, partition=2))
            await fleet.fill(filler, LOG_A, good)

    asyncio.run(scenario())

    told = fleet.wait_for(lambda: fleet.ready(worker), lambda told: "paused" in told.get("error", ""))
    assert "partition 2 is paused" in told["error"]
    assert "dead letters" in told["error"]
    assert values(worker.get("/metrics").text)["pointsman_monitor_paused"] == 1
    worker.send(signal.SIGUSR1)  # from now on time passes
    fleet.wait_for(lambda: fleet.ready(worker), lambda told: told == {"ready": True})
    fleet.counted_as_the_oracle(worker)
    fleet.wait_for(lambda: len(asyncio.run(fleet.dead_letters())), (3 * DEAD_MIN).__eq__)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("read", "dead", "alarm"),
    [(DEAD_MIN, DEAD_MIN, True), (DEAD_MIN - 1, DEAD_MIN - 1, False), (10_000, 100, False), (10_000, 101, True)],
)
def test_dead_letters_are_too_many_only_where_they_are_many_and_a_large_share(read, dead, alarm):
    share = DeadShare(Clock())

    share.add(read, dead)

    assert (share.too_many() is not None) is alarm


def test_the_share_of_dead_letters_is_that_of_the_last_minutes():
    clock = Clock()
    share = DeadShare(clock)
    for _ in range(DEAD_MIN):
        share.add(1, 1)
        clock.now += 1
    assert share.too_many() is not None

    clock.now = WINDOW_SECONDS + 1.5

    assert share.too_many() is None


def test_a_dead_share_holds_no_more_than_a_count_a_second():
    clock = Clock()
    share = DeadShare(clock)
    for _ in range(10_000):
        share.add(10, 1)
        clock.now += 0.1

    share.too_many()

    assert len(share._seconds) <= WINDOW_SECONDS + 2
