"""Messages in Kafka as a forwarder would send them, one by one, and as it never would.

Enters: a Kafka and a prefix. Leaves: topics with messages. `Host` keeps the law: key, partition, headers, links; `raw`
breaks it wherever a test wants.
"""

import asyncio
import json
import uuid
from collections import defaultdict

from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.message import Place, control_headers, headers_of, key_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.topics import ensure_topics, topics_of
from prediction_log.spool.segment import Kind

LOG = "ab" * 16
OTHER_LOG = "cd" * 16


def prediction_id(number):
    """The id of prediction `number`."""
    return str(uuid.UUID(int=(7 << 76) | (2 << 62) | number))


def prediction(number, **more):
    return json.dumps({"prediction_id": prediction_id(number), "model": "m", **more}).encode()


def label(number, value=1, row=None):
    name = prediction_id(number) + ("" if row is None else f"#{row}")
    return json.dumps({"schema": 1, "prediction_id": name, "label": value, "observed_us": 1, "received_us": 2}).encode()


def change(number):
    return json.dumps({"model": "m", "n": number}).encode()


async def made(address, options):
    """Make a fleet's topics as its programs do: where Kafka does not answer in time it is asked again."""
    async with asyncio.timeout(120):
        while True:
            try:
                return await ensure_topics(address, options, 30.0)
            except Unavailable:
                await asyncio.sleep(0.1)


class NoText(str):
    """The name of a header that is no UTF-8."""

    __slots__ = ()

    def encode(self, encoding="utf-8", errors="strict"):
        return b"\xff\xfe"


class Host:
    """Sends like a forwarder. `sent` is where each seq of each log went: (topic, partition, after)."""

    def __init__(self, address, options):
        self.options = options
        self.topics = topics_of(options.prefix)
        self.topic_of = dict(zip((Kind.PREDICTION, Kind.LABEL, Kind.AUDIT), self.topics[:3], strict=True))
        self.sent = defaultdict(dict)
        self.last = defaultdict(int)
        self.count = defaultdict(int)
        self.ends = defaultdict(int)
        self._address = address
        self.producer = None

    async def __aenter__(self):
        await made(self._address, self.options)
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self._address, enable_idempotence=True, max_request_size=20 * 2**20, linger_ms=0
        )
        await self.producer.start()
        return self

    async def __aexit__(self, *exc):
        await self.producer.stop()

    def law(self, kind, key):
        return 0 if kind is Kind.AUDIT else partitions_of([key], self.options.partitions)[0]

    def place(self, kind, payload, seq, log_id=LOG, segment=1):
        """Where a record belongs; each call takes the next link of its partition."""
        topic, partition = self.topic_of[kind], self.law(kind, key_of(kind, payload))
        known = self.sent[log_id].get(seq)
        if known is None:
            where = log_id, topic, partition
            self.count[*where, segment] += 1
            known = self.sent[log_id][seq] = topic, partition, self.last[where], self.count[*where, segment]
            self.last[where] = seq
            self.ends[log_id, segment] = max(self.ends[log_id, segment], seq)
        topic, partition, after, pseq = known
        return topic, partition, Place(log_id, segment, seq, after, pseq)

    async def send(self, kind, payload, seq, log_id=LOG, segment=1):
        """Send a record, for the first time or again."""
        topic, partition, place = self.place(kind, payload, seq, log_id, segment)
        headers = headers_of("worker-0", kind, place)
        await self.producer.send(topic, payload, key_of(kind, payload), partition, headers=headers)

    async def tombstone(self, kind, payload, seq, reason="too large", log_id=LOG, segment=1):
        """Send what stands in for a poison record."""
        topic, partition, place = self.place(kind, payload, seq, log_id, segment)
        await self.control("tombstone", {"reason": reason}, topic, partition, place)

    async def seal(self, log_id=LOG, segment=1):
        """Send the seals of a segment."""
        for (log, topic, partition, number), count in list(self.count.items()):
            if (log, number) == (log_id, segment):
                after = self.last[log, topic, partition]
                place = Place(log, segment, self.ends[log, segment], after, count)
                await self.control("seal", place._asdict() | {"slot": "worker-0"}, topic, partition, place)

    async def control(self, kind, content, topic=None, partition=0, place=None):
        """Send a message that is no record, to the audit topic where nothing else is said."""
        headers = control_headers("worker-0", kind, "" if place else f"{kind}/{uuid.uuid4()}", place)
        value = json.dumps(content).encode()
        await self.producer.send(topic or self.topics.audit, value, None, partition, headers=headers)

    async def raw(self, topic, value, key=None, partition=0, headers=(), timestamp_ms=None):
        """Send anything; returns its offset."""
        sent = await self.producer.send_and_wait(
            topic, value, key, partition, timestamp_ms=timestamp_ms, headers=list(headers)
        )
        return sent.offset

    async def broken(self, topic, partition, key):
        """Send a message with a header whose name is no text: brokers take it; returns its offset."""
        producer = AIOKafkaProducer(bootstrap_servers=self._address)
        await producer.start()
        try:
            batch = producer.create_batch()
            records = _DefaultRecordBatchBuilderPy(2, 0, False, -1, -1, 0, 2**20)
            records.append(0, 1, key, b"{}", [(NoText("??"), b"")])
            batch._buffer, batch._relative_offset, batch._closed = records.build(), 1, True
            return (await (await producer.send_batch(batch, topic, partition=partition))).offset
        finally:
            await producer.stop()

    async def many(self, numbers, log_id=LOG, start=1):
        """Send predictions with seqs from `start` on."""
        for seq, number in enumerate(numbers, start):
            await self.send(Kind.PREDICTION, prediction(number), seq, log_id)
        await self.producer.flush()


def lane(number):
    """The partition of prediction `number`, of the four of a small fleet."""
    return partitions_of([prediction_id(number).encode()], 4)[0]


async def some(host, log_id=LOG, *, leave_out=()):
    """Thirty predictions, ten labels, one change: seqs 1 to 41; some of them never arrive."""
    for seq in range(1, 31):
        await send(host, Kind.PREDICTION, prediction(seq), seq, log_id, leave_out)
    for seq in range(31, 41):
        await send(host, Kind.LABEL, label(seq - 30), seq, log_id, leave_out)
    await send(host, Kind.AUDIT, change(1), 41, log_id, leave_out)


async def send(host, kind, payload, seq, log_id, leave_out):
    """Send a record, or only take its links where it never arrives."""
    if seq in leave_out:
        host.place(kind, payload, seq, log_id)
    else:
        await host.send(kind, payload, seq, log_id)


def small(prefix, partitions=4, **more):
    """Options of a small fleet."""
    return KafkaOptions(prefix=prefix, partitions=partitions, **more)


def place_headers(**changes):
    """The headers of record 1 with some of them changed; None leaves one out."""
    headers = dict(headers_of("worker-0", Kind.PREDICTION, Place(LOG, 1, 1, 0, 1)))
    return [(name, value) for name, value in (headers | changes).items() if value is not None]
