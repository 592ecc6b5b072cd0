"""A publication over a real Kafka is whole or was never there; whoever comes later keeps those before from publishing."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from contracts.errors import Conflict, Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet import publishing
from monitor.fleet.publication import open_live
from monitor.fleet.publishing import Fenced, Publisher
from monitor.fleet.summaries_topic import opened
from monitor.fleet.view import View
from monitor.fleet.view_store import open_view
from tests.monitor.core import conftest as world
from tests.monitor.fleet.conftest import make_topics
from tests.monitor.fleet.exchange_world import Worker, counts, dealt, history, references

WAIT_SECONDS = 120.0


@pytest.fixture
def options(kafka):
    """A fleet of one partition with topics of its own."""
    made = KafkaOptions(prefix=kafka.prefix(), partitions=1)
    make_topics(kafka.address, made)
    return made


@pytest.fixture
def worker(tmp_path):
    (entries,) = dealt(history(random.Random(21)), 1)
    return Worker(tmp_path / "0", entries)


def publish(kafka, options, worker, **given):
    """One publication by a publisher of its own."""

    async def run():
        publisher = Publisher(kafka.address, options, 0, owner="a", **given)
        try:
            return await publisher.publish(worker.directory)
        finally:
            await publisher.aclose()

    return asyncio.run(run())


async def read_into(kafka, options, path):
    """A view that has read what is committed now."""
    store = open_view(path, options.partitions)
    async with opened(kafka.address, options) as topic:
        for p in range(options.partitions):
            async for read in topic.read_to_end(p, store.offsets()[p]):
                store.receive(p, read.messages, read.next_offset)
            assert not store.at_end(p), "what is committed adds up"
    store.close()


def viewed(kafka, options, path):
    """The counts of a view that has read what is committed now."""
    asyncio.run(read_into(kafka, options, path))
    return counts(path)


def expected_after(worker, n):
    return world.oracle(worker.entries[:n], references())


def test_what_is_published_is_what_is_counted(kafka, options, worker, tmp_path):
    worker.count(40)
    assert publish(kafka, options, worker)
    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, 40)
    assert not publish(kafka, options, worker), "there is nothing new"

    worker.count()
    assert publish(kafka, options, worker)

    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, None)
    assert viewed(kafka, options, tmp_path / "new.sqlite") == expected_after(worker, None)


def test_a_publication_in_many_chunks_is_one(kafka, options, worker, tmp_path, monkeypatch):
    monkeypatch.setattr("monitor.fleet.publication.MESSAGES_AT_ONCE", 5)
    worker.count()

    assert publish(kafka, options, worker)

    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, None)


def test_a_later_publisher_fences_the_earlier_ones(kafka, options, worker):
    async def run():
        worker.count(20)
        first = Publisher(kafka.address, options, 0, owner="first")
        assert await first.publish(worker.directory)
        second = Publisher(kafka.address, options, 0, owner="second")
        await second.open()
        worker.count(20)
        with pytest.raises(Fenced):
            await first.publish(worker.directory)
        assert await second.publish(worker.directory)
        await first.aclose()
        await second.aclose()

    asyncio.run(run())


def test_a_state_that_others_have_overtaken_is_not_published(kafka, options, worker, tmp_path):
    worker.count(20)
    publish(kafka, options, worker)
    other = Worker(tmp_path / "other", worker.entries)
    other.count(30)

    with pytest.raises(Conflict, match="restored"):
        publish(kafka, options, other)

    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, 20)


def test_a_file_of_what_is_live_that_is_lost_or_behind_is_read_again(kafka, options, worker, tmp_path):
    worker.count(20)
    publish(kafka, options, worker)
    file = worker.directory / "published.sqlite"
    behind = file.read_bytes()
    worker.count(20)
    publish(kafka, options, worker)
    file.write_bytes(behind)
    worker.count(20)
    publish(kafka, options, worker)
    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, 60)

    file.unlink()
    worker.count()
    publish(kafka, options, worker)

    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, None)
    assert viewed(kafka, options, tmp_path / "new.sqlite") == expected_after(worker, None)


def test_where_kafka_does_not_answer_nothing_is_lost(own_kafka, worker, tmp_path, monkeypatch):
    kafka = own_kafka(1)
    options = KafkaOptions(prefix=kafka.prefix(), partitions=1)
    make_topics(kafka.address, options)

    async def run():
        publisher = Publisher(kafka.address, options, 0)
        worker.count(20)
        await publisher.publish(worker.directory)
        worker.count(20)
        kafka.brokers[0].pause()
        with monkeypatch.context() as hasty:
            hasty.setattr(publishing, "SEND_SECONDS", 3.0)
            with pytest.raises(Unavailable):
                await publisher.publish(worker.directory)
        kafka.brokers[0].go_on()
        worker.count()
        give_up_at = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < give_up_at:
            try:
                await publisher.publish(worker.directory)
                break
            except Unavailable:
                await asyncio.sleep(0.5)
        await publisher.aclose()

    asyncio.run(run())
    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, None)


HANGS = """
import asyncio, sys
from pathlib import Path
from contracts.settings import KafkaOptions
from monitor.fleet.publishing import Publisher

class Hangs(Publisher):
    async def _send(self, messages):
        last = await super()._send(messages)
        if any(KIND in message.key for message in messages):
            print("sent", flush=True)
            await asyncio.sleep(3600)
        return last

async def main(address, prefix, directory, kind):
    global KIND
    KIND = kind.encode()
    publisher = Hangs(address, KafkaOptions(prefix=prefix, partitions=1), 0)
    await publisher.publish(Path(directory))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("after", ['"pane"', '"marker"'])
def test_a_publisher_killed_in_the_middle_leaves_the_last_whole_publication(kafka, options, worker, tmp_path, after):
    worker.count(20)
    publish(kafka, options, worker)
    worker.count(20)
    arguments = [kafka.address, options.prefix, str(worker.directory), after]
    process = subprocess.Popen([sys.executable, "-c", HANGS, *arguments], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout.readline() == b"sent\n"
    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, 20), "while it is open"

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, 20), "the dead one's is not there"
    worker.count()
    publish(kafka, options, worker)
    assert viewed(kafka, options, tmp_path / "view.sqlite") == expected_after(worker, None), "the next one goes on"


def test_a_view_follows_while_others_publish(kafka, tmp_path):
    options = KafkaOptions(prefix=kafka.prefix(), partitions=3)
    make_topics(kafka.address, options)
    workers = [Worker(tmp_path / str(p), entries) for p, entries in enumerate(dealt(history(random.Random(23)), 3))]
    everything = [entry for worker in workers for entry in worker.entries]

    async def until(condition):
        give_up_at = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < give_up_at, "it never came to be"
            await asyncio.sleep(0.05)

    async def run():
        stop = asyncio.Event()
        view = View(kafka.address, options, tmp_path / "view.sqlite")
        assert not view.caught_up
        following = asyncio.create_task(view.run(stop))
        await until(lambda: view.caught_up)
        publishers = [Publisher(kafka.address, options, p, owner=f"w{p}") for p in range(3)]
        for _ in range(4):
            for p, worker in enumerate(workers):
                worker.count(15)
                await publishers[p].publish(worker.directory)
        for p, worker in enumerate(workers):
            worker.count()
            await publishers[p].publish(worker.directory)
        expected = world.oracle(everything, references())
        await until(lambda: counts(tmp_path / "view.sqlite") == expected)
        stop.set()
        await following
        for publisher in publishers:
            await publisher.aclose()

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run())
    live = open_live(workers[0].directory / "published.sqlite", 0)
    assert live.standing().mark.owner == "w0"
    live.close()
