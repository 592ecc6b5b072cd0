"""Monitor workers as a consumer group: whatever happens to them, the counts are those of one pass over what was sent."""

import asyncio
import random
import signal

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from monitor.fleet.worker import group_name
from tests.monitor.fleet.conftest import LOG_A, LOG_B, LOG_C, QUICK_MS


async def send(fleet, history, amount=1_500):
    """Predictions and labels from three logs, labels among them before their predictions."""
    async with fleet.filler() as filler:
        predictions = history.predictions(amount)
        half = amount // 2
        await fleet.fill(filler, LOG_A, predictions[:half])
        await fleet.fill(filler, LOG_B, history.labels(predictions))
        await fleet.fill(filler, LOG_C, predictions[half:])


async def offsets_told(fleet):
    """{topic-partition: offset} as Kafka knows it of the group."""
    admin = AIOKafkaAdminClient(bootstrap_servers=fleet.address)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group_name(fleet.options))
    finally:
        await admin.close()
    return {place: told.offset for place, told in found.items()}


def owners(fleet, worker):
    """Who counts the partitions, as a worker says."""
    return {part["owner"] for part in fleet.status(worker).get("partitions", ())}


def counting_in(fleet, *workers):
    """Wait until all partitions are counted by these, each by its share."""

    def shared():
        parts = [set(fleet.partitions(worker)) for worker in workers]
        return sum(map(len, parts)) == len(set().union(*parts)) == fleet.options.partitions and all(parts)

    fleet.wait_for(shared, bool)


def test_two_workers_count_together_what_one_pass_counts(fleet, history):
    first, second = fleet.worker("first"), fleet.worker("second")
    counting_in(fleet, first, second)

    asyncio.run(send(fleet, history, 3_000))

    fleet.counted_as_the_oracle(first)
    fleet.counted_as_the_oracle(second)
    fleet.wait_for(lambda: owners(fleet, first), lambda found: len(found) == 2)
    fleet.wait_for(lambda: fleet.ready(first), {"ready": True}.__eq__)
    # tools that show the group's lag show none
    fleet.wait_for(lambda: sum(asyncio.run(offsets_told(fleet)).values()), len(fleet.entries).__eq__)
    assert (first.stop(), second.stop()) == (0, 0)


def test_a_killed_worker_is_replaced_by_the_others_and_a_new_one_takes_its_share(fleet, history):
    first, second = fleet.worker("first", session_ms=QUICK_MS), fleet.worker("second")
    counting_in(fleet, first, second)

    asyncio.run(send(fleet, history))
    first.kill()
    asyncio.run(send(fleet, history))
    counting_in(fleet, second)
    third = fleet.worker("third")
    asyncio.run(send(fleet, history))
    counting_in(fleet, second, third)

    fleet.counted_as_the_oracle(second)
    fleet.counted_as_the_oracle(third)


def test_workers_that_come_and_go_all_the_time_double_nothing_and_lose_nothing(fleet, history):
    dice = random.Random(7)
    steady = fleet.worker("steady")
    for turn in range(4):
        other = fleet.worker(f"other-{turn}", session_ms=QUICK_MS)
        asyncio.run(send(fleet, history, 600))
        fleet.wait_for(lambda other=other: fleet.partitions(other), bool)
        asyncio.run(send(fleet, history, 600))
        if dice.random() < 0.5:
            other.kill()
        else:
            assert other.stop() == 0
    asyncio.run(send(fleet, history, 600))

    fleet.counted_as_the_oracle(steady)


@pytest.mark.parametrize("place", ["take", "publish", "published"])
def test_a_worker_killed_between_any_two_commits_goes_on_where_it_was(fleet, history, place):
    worker = fleet.worker("worker", fault=f"{place}:3", session_ms=QUICK_MS)

    asyncio.run(send(fleet, history))
    worker.process.wait(60)
    assert worker.process.returncode == -signal.SIGKILL
    asyncio.run(send(fleet, history))
    worker.start()

    fleet.counted_as_the_oracle(worker)


@pytest.mark.parametrize("place", ["take", "publish", "published"])
def test_what_a_killed_worker_left_behind_is_taken_over_from_what_it_published(fleet, history, place):
    # each of the four partitions gets there once, whatever the pace
    worker = fleet.worker("worker", fault=f"{place}:4", session_ms=QUICK_MS)

    asyncio.run(send(fleet, history))
    worker.process.wait(60)
    assert worker.process.returncode == -signal.SIGKILL
    asyncio.run(send(fleet, history))
    other = fleet.worker("other")

    fleet.counted_as_the_oracle(other)


def test_a_worker_that_slept_while_another_took_over_publishes_nothing_of_its_own(fleet, history):
    first, second = fleet.worker("first", session_ms=QUICK_MS), fleet.worker("second")
    counting_in(fleet, first, second)
    asyncio.run(send(fleet, history))

    first.send(signal.SIGSTOP)
    asyncio.run(send(fleet, history))
    counting_in(fleet, second)
    asyncio.run(send(fleet, history))
    first.send(signal.SIGCONT)
    asyncio.run(send(fleet, history))
    counting_in(fleet, first, second)

    fleet.counted_as_the_oracle(first)
    fleet.counted_as_the_oracle(second)


def test_a_worker_starts_without_kafka_and_counts_when_it_comes(tmp_path, own_kafka, history):
    from tests.monitor.fleet.conftest import Fleet

    cluster = own_kafka(1)
    cluster.stop()
    fleet = Fleet(cluster.address, cluster.prefix(), tmp_path)
    worker = fleet.worker("worker")
    try:
        fleet.wait_for(lambda: fleet.ready(worker), lambda told: "Kafka" in told.get("error", ""))
        assert worker.get("/health/live").status_code == 200

        cluster.start()
        fleet.wait_for(lambda: fleet.ready(worker), lambda told: told.get("ready"))
        asyncio.run(send(fleet, history, 300))

        fleet.counted_as_the_oracle(worker)
    finally:
        worker.kill()
