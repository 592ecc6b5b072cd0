"""What the forwarder's tests share: a spool with records, forwarders in this process and in others, and what Kafka has.

Enters: a Kafka. Leaves: `Received`: every message of a prefix as the law reads it, and its sums by log and lane.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import defaultdict
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.settings import KafkaOptions, Settings, encode_settings
from prediction_log.forward.cursor import cursor_of
from prediction_log.forward.forwarding import serve_forwarder
from prediction_log.kafka.message import Control, read_message
from prediction_log.kafka.topics import topics_of
from prediction_log.position import Entry
from prediction_log.spool.places import log_directories
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

PARTITIONS = 4
WAIT_SECONDS = 60.0
_PROCESS = """
import asyncio, os, signal, sys
from contracts.settings import decode_settings
from prediction_log.forward import {module}
from prediction_log.forward.forwarding import serve_forwarder
{patch}
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await serve_forwarder(decode_settings(os.environ["POINTSMAN_ROLE_TEST"].encode()), stop)
asyncio.run(main())
"""


def prediction(number, size=0, prediction_id=None):
    name = prediction_id or str(uuid.UUID(int=number + (7 << 76)))
    record = {"schema": 1, "prediction_id": name, "received_us": 1_000_000 + number, "n": number, "filler": "x" * size}
    return msgspec.json.encode(record)


def settings_for(state_dir, address, prefix, **options):
    options = {"partitions": PARTITIONS, "spool_retain_hours": 24.0, "backlog_bytes_per_second_max": 0, **options}
    return Settings(state_dir=state_dir, kafka=address, kafka_options=KafkaOptions(prefix=prefix, **options))


class Journal:
    """Records written to a spool: (log_id, seq) -> payload."""

    def __init__(self, spool):
        self.spool = spool
        self.records = {}

    async def open(self, slot="worker-0", **terms):
        return await open_writer(self.spool, slot, **({"disk_reserve_bytes": 0, "segment_bytes": 256 * 1024} | terms))

    async def append(self, writer, numbers, size=0, kind=Kind.PREDICTION):
        numbers = list(numbers)
        for start in range(0, len(numbers), 50):
            payloads = [prediction(number, size) for number in numbers[start : start + 50]]
            waiters = [writer.append(kind, payload) for payload in payloads]
            await asyncio.gather(*waiters)
            for seq, payload in enumerate(payloads, writer.last_seq - len(payloads) + 1):
                self.records[writer.log_id, seq] = payload

    async def write(self, count, slots=1, size=0, **terms):
        """So many records by each of some writers, who are gone afterwards."""
        for slot in range(slots):
            writer = await self.open(f"worker-{slot}", **terms)
            await self.append(writer, range(slot * count, (slot + 1) * count), size)
            await writer.aclose()


def acked(spool):
    """How many seqs the cursors of the spool are past."""
    cursors = [cursor_of(log.path, log.log_id) for log in log_directories(spool)]
    return sum(cursor.position.seq for cursor in cursors if cursor is not None)


def all_done(spool):
    """Whether every log has ended, and its seals are out."""
    cursors = [cursor_of(log.path, log.log_id) for log in log_directories(spool)]
    return bool(cursors) and all(c is not None and c.position.ended and c.segment == 0 for c in cursors)


async def until(condition, seconds=WAIT_SECONDS):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came about"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def forwarding(settings, **world):
    """A forwarder in this process."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve_forwarder(settings, stop, **world))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(WAIT_SECONDS):
            await task


def start_process(settings, module="forwarder", patch=""):
    """A forwarder in a process of its own; `patch` is run there first."""
    environment = {**os.environ, "POINTSMAN_ROLE_TEST": encode_settings(settings).decode()}
    code = _PROCESS.format(module=module, patch=patch)
    return subprocess.Popen([sys.executable, "-W", "error", "-c", code], env=environment, cwd=Path(__file__).parents[2])


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(20)


class Received:
    """All messages of a fleet. `entries`: (topic, partition, Entry) in the order of each partition, repetitions included."""

    def __init__(self):
        self.entries = []
        self.controls = []
        self.others = []
        self.raw = []

    def payloads(self):
        """Records by (log_id, seq); a repetition has to be the same."""
        found = {}
        for _, _, entry in self.entries:
            key = (entry.log_id, entry.seq)
            assert found.setdefault(key, entry.payload) == entry.payload
        return found

    def counts(self):
        counts = defaultdict(int)
        for _, _, entry in self.entries:
            counts[entry.log_id, entry.seq] += 1
        return counts

    def of(self, kind):
        return [control for _, _, control in self.controls if control.kind == kind]

    def lanes(self):
        """For each lane of each log its places without repetitions, in order of seq, records and tombstones alike."""
        lanes = defaultdict(dict)
        for topic, partition, entry in self.entries:
            lanes[topic, partition, entry.log_id].setdefault(entry.seq, entry.after)
        for topic, partition, control in self.controls:
            if control.kind == "tombstone":
                lanes[topic, partition, control.place.log_id].setdefault(control.place.seq, control.place.after)
        return {lane: sorted(places.items()) for lane, places in lanes.items()}

    def assert_unbroken(self):
        """Every `after` names the record before it: there is no gap, and each record stands in one lane."""
        seen = set()
        for (_, _, log_id), places in self.lanes().items():
            last = 0
            for seq, after in places:
                assert after == last, (log_id, seq, after, last)
                assert (log_id, seq) not in seen
                seen.add((log_id, seq))
                last = seq


async def receive(address, prefix):
    """Everything that is in the topics of predictions, labels and audit."""
    topics = topics_of(prefix)
    kinds = {topics.predictions: Kind.PREDICTION, topics.labels: Kind.LABEL, topics.audit: Kind.AUDIT}
    received = Received()
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = await partitions_of(address, kinds)
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        left = {partition for partition in partitions if ends[partition] > await consumer.position(partition)}
        async with asyncio.timeout(WAIT_SECONDS):
            while left:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        take(received, kinds[message.topic], message)
                left = {one for one in left if await consumer.position(one) < ends[one]}
    finally:
        await consumer.stop()
    return received


async def partitions_of(address, topics):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        told = await admin.describe_topics(list(topics))
    finally:
        await admin.close()
    return [TopicPartition(topic["topic"], one["partition"]) for topic in told for one in topic["partitions"]]


def take(received, kind, message):
    read = read_message(kind, message.key, message.value, message.headers)
    received.raw.append((message.topic, message.partition, message))
    if isinstance(read, Entry):
        received.entries.append((message.topic, message.partition, read))
    elif isinstance(read, Control):
        received.controls.append((message.topic, message.partition, read))
    else:
        received.others.append((message.topic, message.partition, read))
