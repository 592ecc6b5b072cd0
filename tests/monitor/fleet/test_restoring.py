"""A new owner goes on exactly where the published counts stand; labels that come later find their predictions."""

import asyncio
import contextlib
import random
import shutil
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.errors import StoreUnavailable
from contracts.prediction import Prediction
from contracts.settings import KafkaOptions
from contracts.wire import encode
from monitor.counts.consume import Consumer, Reading
from monitor.counts.rejoin import Rejoin
from monitor.counts.state import FILE_NAME
from monitor.counts.state_export import standing_of
from monitor.fleet import restoring
from monitor.fleet.exchange import name_of
from monitor.fleet.publishing import Publisher
from monitor.fleet.restoring import restore
from monitor.fleet.summaries_topic import opened
from monitor.pages.queries import open_reader
from prediction_log.kafka.topics import ensure_topics, topics_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.monitor.core import conftest as world
from tests.monitor.fleet.exchange_world import counts, history, references, view_of
from tests.services.kafka_fill import Filler

LOG = "a" * 32
PATIENCE_SECONDS = 120.0


class Partition:
    """One partition number over a real Kafka: its records in an order in which a stream could give them, and its owners."""

    def __init__(self, address, folder, records, prefix):
        self.address = address
        self.options = KafkaOptions(prefix=prefix, partitions=1)
        self.topics = topics_of(prefix)
        self.folder = folder
        self.entries = []
        self._records = records

    async def fill(self):
        """Put all records into the topics."""
        await ensure_topics(self.address, self.options, world.HORIZON_DAYS)
        offsets = {self.topics.predictions: 0, self.topics.labels: 0}
        after = {"p": 0, "l": 0}
        made = []
        for seq, record in enumerate(self._records, 1):
            kind = Kind.PREDICTION if isinstance(record, Prediction) else Kind.LABEL
            letter, topic = ("p", self.topics.predictions) if kind is Kind.PREDICTION else ("l", self.topics.labels)
            entry = Entry(f"{letter}:{LOG}", seq, kind, encode(record), 1, after[letter])
            after[letter] = seq
            offsets[topic] += 1
            self.entries.append((entry, topic, offsets[topic]))
            made.append((kind, entry.payload))
        async with Filler(self.address, self.options) as filler:
            await filler.fill(LOG, made)

    def owner(self, name):
        """The directory of an owner."""
        return self.folder / name

    def count(self, directory, end):
        """Count up to entry number `end`, in a few steps."""
        catalogue = world.make_catalogue(references())
        consumer = Consumer(directory / FILE_NAME, catalogue, horizon_days=world.HORIZON_DAYS)
        saved = {topic: int(at) for topic, at in consumer.open().items()}
        todo = [item for item in self.entries[:end] if item[2] > saved.get(item[1], 0)]
        for start in range(0, len(todo), 17):
            some = todo[start : start + 17]
            positions = {topic: b"%d" % offset for _, topic, offset in some}
            done = end >= len(self.entries) and start + 17 >= len(todo)
            consumer.take(Reading([entry for entry, _, _ in some], positions, (), done), world.T0)
        consumer.close()

    def restore(self, directory):
        """As a new owner does it."""

        async def run():
            publisher = Publisher(self.address, self.options, 0, owner=directory.name)
            try:
                await publisher.open()
                await restore(self.address, self.options, 0, directory, world.HORIZON_DAYS)
            finally:
                await publisher.aclose()

        asyncio.run(run())

    def publish(self, directory):
        """One publication."""

        async def run():
            publisher = Publisher(self.address, self.options, 0, owner=directory.name)
            try:
                await publisher.publish(directory)
            finally:
                await publisher.aclose()

        asyncio.run(run())

    def published(self):
        """Everything committed in the topic of summaries, with offsets, and where it ends."""

        async def run():
            messages, end = [], 0
            async with opened(self.address, self.options) as topic:
                async for read in topic.read_to_end(0, 0):
                    messages += read.messages
                    end = read.next_offset
            return messages, end

        return asyncio.run(run())

    def viewed(self, name):
        """The counts of a new view."""
        messages, end = self.published()
        return counts(view_of(self.folder / name, Committed(messages, end)))

    def oracle(self):
        """The counts of a single pass over everything."""
        return world.oracle([entry for entry, _, _ in self.entries], references())


class Committed:
    """What was read of a topic of one partition, as `view_of` wants it."""

    def __init__(self, messages, end):
        self.messages = [range(end)]
        self._messages = messages

    def numbered(self, p):
        return self._messages


@pytest.fixture
def partition(kafka, tmp_path):
    """A partition whose topics are full."""
    one = Partition(kafka.address, tmp_path, history(random.Random(31), n=80), kafka.prefix())
    asyncio.run(one.fill())
    return one


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_joins_go_on_as_if_the_partition_had_never_moved(kafka, tmp_path, seed):
    dice = random.Random(seed)
    partition = Partition(kafka.address, tmp_path, history(dice, n=80), kafka.prefix())
    asyncio.run(partition.fill())
    stayed = partition.owner("stayed")
    for number in range(3):
        owner, end = partition.owner(f"owner-{number}"), dice.randrange(len(partition.entries))
        partition.restore(owner)
        partition.count(owner, end)
        if dice.random() < 0.8:
            partition.publish(owner)
            partition.count(owner, min(len(partition.entries), end + 20))
    last = partition.owner("last")
    partition.restore(last)
    partition.count(last, len(partition.entries))
    partition.publish(last)
    partition.count(stayed, len(partition.entries))

    assert counts(last / FILE_NAME) == partition.oracle()
    assert counts(last / FILE_NAME) == counts(stayed / FILE_NAME)
    assert world.read_counters(last / FILE_NAME) == world.read_counters(stayed / FILE_NAME)
    assert partition.viewed("view.sqlite") == partition.oracle()


def test_the_owner_that_published_last_goes_on_with_what_it_has(partition):
    owner = partition.owner("a")
    partition.restore(owner)
    partition.count(owner, 50)
    partition.publish(owner)
    partition.count(owner, 90)
    before = standing_of(owner / FILE_NAME)

    partition.restore(owner)

    assert standing_of(owner / FILE_NAME) == before


def test_an_owner_that_was_overtaken_takes_over_what_the_other_counted(partition):
    first, second = partition.owner("first"), partition.owner("second")
    partition.count(first, 50)
    partition.publish(first)
    partition.count(first, 70)
    partition.restore(second)
    partition.count(second, 60)
    partition.publish(second)

    partition.restore(first)
    partition.count(first, len(partition.entries))
    partition.publish(first)

    assert counts(first / FILE_NAME) == partition.oracle()
    assert partition.viewed("view.sqlite") == partition.oracle()


def test_a_restored_state_that_published_nothing_is_still_the_next_one(partition):
    first, second = partition.owner("first"), partition.owner("second")
    partition.count(first, 50)
    partition.publish(first)
    partition.restore(second)
    partition.count(second, 55)
    before = standing_of(second / FILE_NAME)

    partition.restore(second)

    assert standing_of(second / FILE_NAME) == before


def test_before_anything_was_published_an_empty_directory_stays_empty(partition):
    owner = partition.owner("a")

    partition.restore(owner)

    assert standing_of(owner / FILE_NAME) is None


@pytest.mark.parametrize("where", ["_import", "open", "take", "finish", "_claim"])
def test_a_crash_while_restoring_leaves_nothing_that_could_be_taken_for_a_state(partition, where):
    first, second = partition.owner("first"), partition.owner("second")
    partition.count(first, 50)
    partition.publish(first)
    holder = restoring if where.startswith("_") else Rejoin

    class Crash(Exception):
        pass

    def crash(*args, **kwargs):
        raise Crash

    with patch.object(holder, where, crash), pytest.raises(Crash):
        partition.restore(second)
    with contextlib.suppress(StoreUnavailable):
        lineage = standing_of(second / FILE_NAME)
        assert lineage is None or lineage[0] != standing_of(first / FILE_NAME)[0]
    shutil.rmtree(first)
    partition.restore(second)
    partition.count(second, len(partition.entries))

    assert counts(second / FILE_NAME) == partition.oracle()


def test_what_is_published_and_not_whole_is_counted_again_and_said(partition):
    first, second = partition.owner("first"), partition.owner("second")
    partition.count(first, 50)
    partition.publish(first)
    messages, _ = partition.published()
    victim = next(message.key for _, message in messages if name_of(message.key).kind == "pane")

    async def spoil():
        async with AIOKafkaProducer(bootstrap_servers=partition.address) as producer:
            await producer.send_and_wait(partition.topics.summaries, key=victim, value=None, partition=0)

    asyncio.run(spoil())
    partition.restore(second)
    reader = open_reader(second / FILE_NAME)
    findings = reader.findings()
    reader.close()
    assert len(findings) == 1
    assert "not whole" in findings[0]

    partition.count(second, len(partition.entries))
    assert counts(second / FILE_NAME) == partition.oracle()
    partition.publish(second)

    assert partition.viewed("view.sqlite") == partition.oracle(), "what it publishes takes the place of what there was"
    third = partition.owner("third")
    partition.restore(third)
    assert counts(third / FILE_NAME) == partition.oracle()


def test_an_owner_that_goes_on_repairs_what_the_topic_lost(partition):
    owner = partition.owner("a")
    partition.count(owner, 50)
    partition.publish(owner)
    messages, _ = partition.published()
    victim = next(message.key for _, message in messages if name_of(message.key).kind == "pane")

    async def spoil():
        async with AIOKafkaProducer(bootstrap_servers=partition.address) as producer:
            await producer.send_and_wait(partition.topics.summaries, key=victim, value=None, partition=0)

    asyncio.run(spoil())
    partition.restore(owner)
    partition.count(owner, len(partition.entries))
    partition.publish(owner)

    assert partition.viewed("view.sqlite") == partition.oracle()


def test_a_compacted_topic_says_the_same_to_a_new_reader_and_to_a_new_owner(kafka, tmp_path):
    partition = Partition(kafka.address, tmp_path, history(random.Random(33), n=120, days=1), kafka.prefix())
    asyncio.run(make_eager(kafka.address, partition.topics.summaries))
    asyncio.run(partition.fill())
    owner = partition.owner("a")
    total = 0
    for end in range(10, len(partition.entries), 12):
        partition.count(owner, end)
        partition.publish(owner)
        total += 1
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while len([1 for _, message in partition.published()[0] if name_of(message.key).kind == "marker"]) > total // 2:
        assert time.monotonic() < give_up_at, "the topic was never compacted"
        partition.count(owner, len(partition.entries))
        touch(partition, owner)
        time.sleep(0.5)
    partition.count(owner, len(partition.entries))
    partition.publish(owner)

    assert partition.viewed("view.sqlite") == partition.oracle()
    shutil.rmtree(owner)
    second = partition.owner("second")
    partition.restore(second)
    assert counts(second / FILE_NAME) == partition.oracle()


def touch(partition, owner: Path):
    """A publication with nothing new: the segment rolls only when something is written."""
    catalogue = world.make_catalogue(references())
    consumer = Consumer(owner / FILE_NAME, catalogue, horizon_days=world.HORIZON_DAYS)
    consumer.open()
    consumer.take(Reading((), {"touched": b"%d" % time.monotonic_ns()}, (), True), world.T0)
    consumer.close()
    partition.publish(owner)


async def make_eager(address, topic):
    """A topic of summaries that is compacted as soon as anything can be."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    configs = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "100",
        "max.compaction.lag.ms": "500",
    }
    await admin.create_topics([NewTopic(topic, 1, 1, topic_configs=configs)])
    await admin.close()
