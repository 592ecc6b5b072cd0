"""Fills topics with records as forwarders do, many a second: by the law of `prediction_log.kafka.message`, from logs that are made up.

Enters: records by log. Leaves: messages in Kafka, acknowledged. It can leave messages out, send them again, seal and report,
so that a test says exactly what is in the topics. `python -m tests.services.kafka_fill ADDRESS PREFIX [RECORDS]` fills
topics with predictions of the benchmarks' shape.
"""

import asyncio
import sys
import time
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec
from aiokafka import AIOKafkaProducer

from contracts.settings import KafkaOptions
from prediction_log.kafka.client import client_options
from prediction_log.kafka.message import Control, Place, control_headers, headers_of, key_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.segment import Kind

BATCH_BYTES = 2**19
IN_FLIGHT = 8


class Message(NamedTuple):
    """One message, ready to be sent, as often as one likes."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class _Last(NamedTuple):
    seq: int = 0
    pseq: int = 0


class Filler:
    """Writes logs into topics. `slot` names the writer in headers; each log starts at seq 1."""

    def __init__(self, address: str, options: KafkaOptions, slot: str = "worker-0") -> None:
        self._address = address
        self._options = options
        self._slot = slot
        self._topics = topics_of(options.prefix)
        self._topic_of = {Kind.PREDICTION: self._topics.predictions, Kind.LABEL: self._topics.labels}
        self._seqs: dict[str, int] = {}
        self._last: dict[tuple[str, str, int], _Last] = {}
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        """Connect."""
        self._producer = AIOKafkaProducer(
            **client_options(self._address, self._options),
            acks="all",
            enable_idempotence=True,
            compression_type=None if self._options.compression == "none" else self._options.compression,
            max_batch_size=BATCH_BYTES,
            max_request_size=16 * 2**20,
        )
        await self._producer.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go."""
        await self._producer.stop()

    def messages(self, log_id: str, records: Sequence[tuple[Kind, bytes]], segment: int = 1) -> list[Message]:
        """The next records of a log as messages; nothing is sent yet."""
        keys = [key_of(kind, payload) for kind, payload in records]
        return [
            self._placed(log_id, segment, kind, key, payload, partition)
            for (kind, payload), key, partition in zip(
                records, keys, partitions_of(keys, self._options.partitions) if keys else (), strict=True
            )
        ]

    def seals(self, log_id: str, segment: int = 1) -> list[Message]:
        """The end of a segment, told to each partition that the log has touched."""
        found = []
        for (log, topic, partition), last in self._last.items():
            if log == log_id:
                place = Place(log_id, segment, self._seqs[log_id], last.seq, last.pseq)
                headers = control_headers(self._slot, "seal", "", place)
                found.append(Message(topic, partition, None, msgspec.json.encode(place._asdict()), headers))
        return found

    def control(self, control: Control, topic: str, partition: int = 0) -> Message:
        """A control message of any kind."""
        headers = control_headers(self._slot, control.kind, f"{time.monotonic_ns()}", control.place)
        return Message(topic, partition, None, msgspec.json.encode(control.content), headers)

    def place_of(self, message: Message) -> Place:
        """Where a record's message stands."""
        named = dict(message.headers)
        numbers = (int(named[name]) for name in ("segment", "seq", "after", "pseq"))
        return Place(named["log_id"].decode(), *numbers)

    async def send(self, messages: Iterable[Message]) -> int:
        """Send them in order, and return when all are acknowledged; how many there were."""
        open_batches: dict[tuple[str, int], Any] = {}
        flying: list[asyncio.Future[Any]] = []
        sent = 0
        for message in messages:
            sent += 1
            await self._append(open_batches, flying, message)
        for (topic, partition), batch in open_batches.items():
            flying.append(await self._producer.send_batch(batch, topic, partition=partition))
        await asyncio.gather(*flying)
        return sent

    async def fill(self, log_id: str, records: Sequence[tuple[Kind, bytes]], *, lost: Collection[int] = ()) -> int:
        """The next records of a log, without those that are `lost`, by their place among these records."""
        messages = self.messages(log_id, records)
        return await self.send(one for place, one in enumerate(messages) if place not in lost)

    def _placed(self, log_id: str, segment: int, kind: Kind, key: bytes, payload: bytes, partition: int) -> Message:
        topic = self._topic_of[kind]
        seq = self._seqs[log_id] = self._seqs.get(log_id, 0) + 1
        last = self._last.get((log_id, topic, partition), _Last())
        self._last[log_id, topic, partition] = _Last(seq, last.pseq + 1)
        headers = headers_of(self._slot, kind, Place(log_id, segment, seq, last.seq, last.pseq + 1))
        return Message(topic, partition, key, payload, headers)

    async def _append(
        self, open_batches: dict[tuple[str, int], Any], flying: list[asyncio.Future[Any]], message: Message
    ) -> None:
        topic, partition, key, value, headers = message
        batch = open_batches.get((topic, partition))
        if batch is not None and batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
            flying.append(await self._producer.send_batch(batch, topic, partition=partition))
            batch = None
            if len(flying) >= IN_FLIGHT:
                await flying.pop(0)
        if batch is None:
            batch = open_batches[topic, partition] = self._producer.create_batch()
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                raise ValueError(f"a message of {len(value or b'')} bytes is more than a batch")


async def _main() -> None:
    from benchmarks.monitor_kafka import fill

    address, prefix = sys.argv[1:3]
    amount = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    started = time.perf_counter()
    await fill(address, KafkaOptions(prefix=prefix), amount)
    print(f"{amount / (time.perf_counter() - started):,.0f} a second")


if __name__ == "__main__":
    asyncio.run(_main())
