"""Asks everybody for the certificate over Kafka: the spools, the topics from beginning to end, the monitors.

Enters: the brokers' address, state directories of hosts, and how to ask the monitors. Leaves: a `KafkaCertificate`;
`Unavailable` where Kafka does not answer. Only reads; belongs to no consumer group.

The order makes it true while everything runs. First each log's last committed seq is noted: that is what is asked for, and
forwarders get `wait_seconds` to have it acknowledged. Then the topics' ends are noted, the audit topic's first: what a
manifest or a cursor vouches for lies before them. Then the topics are read, in bounded steps; then the spools; the
monitors last, and they too get `wait_seconds` to come as far.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.certificate.kafka import Asked, KafkaCertificate, SpoolLog, certify
from prediction_log.certificate.kafka_counted import Published, TopicsRead
from prediction_log.certificate.kafka_tally import Lane, Tally
from prediction_log.certificate.spool import verify
from prediction_log.forward.cursor import cursor_of
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import let_go
from prediction_log.kafka.decoding import LETTERS, Decoder, empty_batch
from prediction_log.kafka.fetching import Fetched
from prediction_log.kafka.read_through import Progress, read_through
from prediction_log.kafka.topics import partitions_there, topics_of
from prediction_log.spool.listing import list_segments
from prediction_log.spool.places import log_directories
from prediction_log.spool.segment import Kind

LOOK_SECONDS: Final = 0.2

AskMonitors = Callable[[], Awaitable[Mapping[int, Published] | None]]


async def verify_kafka(
    address: str,
    options: KafkaOptions,
    state_dirs: Sequence[Path] = (),
    *,
    ask_monitors: AskMonitors | None = None,
    wait_seconds: float = 10.0,
    progress: Progress = lambda _read, _all: None,
) -> KafkaCertificate:
    """The certificate. Without state directories only what lies in Kafka vouches for itself."""
    committed = await asyncio.to_thread(_committed, state_dirs)
    acked = await _acked(state_dirs, committed, wait_seconds)
    read = await _read_topics(address, options, progress)
    spools = await asyncio.to_thread(_spools, state_dirs, acked, committed)
    asked = Asked(read, spools, None)
    if ask_monitors is None:
        return certify(asked)
    deadline = time.monotonic() + wait_seconds
    while True:
        certificate = certify(asked._replace(published=await ask_monitors()))
        if not certificate.behind or time.monotonic() > deadline:
            return certificate
        await asyncio.sleep(LOOK_SECONDS)


def _committed(state_dirs: Sequence[Path]) -> dict[str, int]:
    """The last committed seq of every log, told from heads alone."""
    found: dict[str, int] = {}
    for state_dir in state_dirs:
        for row in list_segments(state_dir / "spool"):
            found[row.log_id] = max(found.get(row.log_id, 0), row.last_seq or 0)
    return found


async def _acked(state_dirs: Sequence[Path], committed: Mapping[str, int], wait_seconds: float) -> dict[str, int]:
    """How far each log's cursor came, as soon as that is all; at the latest after `wait_seconds`."""
    deadline = time.monotonic() + wait_seconds
    while True:
        acked = await asyncio.to_thread(_cursors, state_dirs)
        if all(acked.get(log_id, seq) >= seq for log_id, seq in committed.items()) or time.monotonic() > deadline:
            return acked
        await asyncio.sleep(LOOK_SECONDS)


def _cursors(state_dirs: Sequence[Path]) -> dict[str, int]:
    found = {}
    for state_dir in state_dirs:
        for log in log_directories(state_dir / "spool"):
            cursor = cursor_of(log.path, log.log_id)
            found[log.log_id] = cursor.position.seq if cursor else 0
    return found


def _spools(
    state_dirs: Sequence[Path], acked: Mapping[str, int], committed: Mapping[str, int]
) -> dict[str, SpoolLog] | None:
    if not state_dirs:
        return None
    logs = [log for state_dir in state_dirs for log in verify(state_dir / "spool").logs]
    return {log.log_id: SpoolLog(log, acked.get(log.log_id, 0), committed.get(log.log_id, 0)) for log in logs}


async def _read_topics(address: str, options: KafkaOptions, progress: Progress) -> TopicsRead:
    client = client_options(address, options)
    consumer = AIOKafkaConsumer(
        **client, enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_committed"
    )
    try:
        partitions = await partitions_there(AIOKafkaAdminClient(**client), topics_of(options.prefix)[:3])
        await consumer.start()
        consumer.assign(partitions)
        return await _TopicsReader(consumer, options, progress).read()
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {address}: {error!r}; ask again when it answers") from error
    finally:
        await let_go(consumer)


class _TopicsReader:
    """Reads the three topics from their beginnings to what their ends are now."""

    def __init__(self, consumer: AIOKafkaConsumer, options: KafkaOptions, progress: Progress) -> None:
        topics = topics_of(options.prefix)
        self._kinds = {topics.audit: Kind.AUDIT, topics.predictions: Kind.PREDICTION, topics.labels: Kind.LABEL}
        self._consumer = consumer
        self._progress = progress
        self._decoder = Decoder(options.partitions, lambda: time.time_ns() // 1000)
        self._tally = Tally()

    async def read(self) -> TopicsRead:
        """Everything. Raises Unavailable and KafkaError."""
        ends = await self._ends()
        begins = await self._consumer.beginning_offsets(list(ends))
        self._tally.cut |= {self._lane(tp) for tp, offset in begins.items() if offset}
        await read_through(self._consumer, begins, ends, lambda fetched: self._take(fetched, ends), self._progress)
        topics = {LETTERS[kind]: topic for topic, kind in self._kinds.items()}
        return TopicsRead(self._tally, {self._lane(tp): end for tp, end in ends.items()}, topics)

    async def _ends(self) -> dict[TopicPartition, int]:
        """Where the topics end, the audit topic asked first."""
        ends: dict[TopicPartition, int] = {}
        for topic in self._kinds:
            ends |= await self._consumer.end_offsets([tp for tp in self._consumer.assignment() if tp.topic == topic])
        return ends

    def _take(self, fetched: Fetched, ends: Mapping[TopicPartition, int]) -> None:
        for tp, records in fetched.records.items():
            batch = empty_batch()
            due = [record for record in records if record.offset < ends[tp]]
            self._decoder.decode(self._kinds[tp.topic], tp, due, batch)
            self._tally.take(self._lane(tp), batch)
        for letter in fetched.unreadable:
            self._tally.unreadable[letter.reason.partition(":")[0]] += 1
        self._tally.cut |= {self._lane(tp) for tp, _ in fetched.findings}

    def _lane(self, tp: TopicPartition) -> Lane:
        return f"{LETTERS[self._kinds[tp.topic]]}{tp.partition}"
