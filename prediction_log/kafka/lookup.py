"""What Kafka holds of one prediction: its records and labels, and everything that was audited.

Enters: the brokers' address, an id, when it was made. Leaves: entries, each named by its log alone; and why messages under
the id could not be read. Reads the two partitions in which the law puts the id, from when it was made, and the whole
audit topic; belongs to no consumer group and never writes. Bounds: the first `ENTRIES_MAX` entries of the id, the last
`AUDITS_MAX` of the audit topic.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import let_go
from prediction_log.kafka.decoding import EXTERNAL_LABELS, Decoder, empty_batch
from prediction_log.kafka.fetching import Fetched
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.read_through import Progress, read_through
from prediction_log.kafka.topics import partitions_there, topics_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

ENTRIES_MAX: Final = 2_000
AUDITS_MAX: Final = 10_000
CLOCKS_APART_MS: Final = 3_600_000
"""Brokers stamp what they append: their clocks may be so far behind the gateways'."""


class Looked(NamedTuple):
    """What was there. `unread` tells of messages under the id that nothing could be made of."""

    entries: list[Entry]
    unread: list[str]


async def look_up(
    address: str, options: KafkaOptions, prediction_id: str, made_us: int, progress: Progress = lambda _read, _all: None
) -> Looked:
    """Everything of the prediction that was made at `made_us`, microseconds since the epoch. Raises Unavailable."""
    client = client_options(address, options)
    consumer = AIOKafkaConsumer(
        **client, enable_auto_commit=False, auto_offset_reset="none", isolation_level="read_committed"
    )
    topics = topics_of(options.prefix)
    (lawful,) = partitions_of([prediction_id.encode()], options.partitions)
    kinds = {
        TopicPartition(topics.audit, 0): Kind.AUDIT,
        TopicPartition(topics.predictions, lawful): Kind.PREDICTION,
        TopicPartition(topics.labels, lawful): Kind.LABEL,
    }
    try:
        there = await partitions_there(AIOKafkaAdminClient(**client), topics[:3])
        if absent := kinds.keys() - there:
            raise Unavailable(f"there is no {min(absent)}: see to kafka_options.partitions")
        await consumer.start()
        consumer.assign(list(kinds))
        begins = await _begins(consumer, kinds, made_us // 1000 - CLOCKS_APART_MS)
        sieve = _Sieve(options, kinds, prediction_id.encode())
        await read_through(consumer, begins, await consumer.end_offsets(list(kinds)), sieve.take, progress)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {address}: {error!r}; ask again when it answers") from error
    finally:
        await let_go(consumer)
    return Looked([*sieve.audits, *sieve.entries], sieve.unread)


async def _begins(
    consumer: AIOKafkaConsumer, kinds: dict[TopicPartition, Kind], from_ms: int
) -> dict[TopicPartition, int]:
    """Where to begin: the audit topic at its beginning, the others where messages are younger than `from_ms`."""
    begins: dict[TopicPartition, int] = await consumer.beginning_offsets(list(kinds))
    timed = {tp: max(from_ms, 0) for tp, kind in kinds.items() if kind is not Kind.AUDIT}
    ends = await consumer.end_offsets(list(timed))
    for tp, found in (await consumer.offsets_for_times(timed)).items():
        begins[tp] = ends[tp] if found is None else found.offset
    return begins


class _Sieve:
    """Keeps what is of one id, or audited."""

    def __init__(self, options: KafkaOptions, kinds: dict[TopicPartition, Kind], key: bytes) -> None:
        self.entries: list[Entry] = []
        self.audits: deque[Entry] = deque(maxlen=AUDITS_MAX)
        self.unread: list[str] = []
        self._decoder = Decoder(options.partitions, lambda: time.time_ns() // 1000)
        self._kinds = kinds
        self._key = key

    def take(self, fetched: Fetched) -> None:
        """Look at what came."""
        for tp, records in fetched.records.items():
            kind = self._kinds[tp]
            self._take(kind, tp, [record for record in records if kind is Kind.AUDIT or record.key == self._key])
        for letter in fetched.unreadable:
            self._tell(letter.topic, letter.partition, letter.offset, letter.reason)

    def _take(self, kind: Kind, tp: TopicPartition, records: Sequence[Any]) -> None:
        batch = empty_batch()
        self._decoder.decode(kind, tp, records, batch)
        entries = [_by_log(entry) for entry in batch.entries]
        if kind is Kind.AUDIT:
            self.audits += entries
        else:
            self.entries += entries[: ENTRIES_MAX - len(self.entries)]
            for letter in batch.undecodable:
                self._tell(letter.topic, letter.partition, letter.offset, letter.reason)

    def _tell(self, topic: str, partition: int, offset: int, reason: str) -> None:
        if len(self.unread) < ENTRIES_MAX:
            self.unread.append(f"{topic}, partition {partition}, offset {offset}: {reason}")


def _by_log(entry: Entry) -> Entry:
    """The entry as a spool names it: a log's streams in the topics are one log."""
    if entry.log_id == EXTERNAL_LABELS:
        return entry
    return entry._replace(log_id=entry.log_id.partition(":")[2])
