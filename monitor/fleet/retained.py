"""Records of one partition that Kafka still retains, read again up to where they were counted.

Enters: a partition number, the positions up to which to read, and the time of receipt from which on records matter. Leaves:
entries, decoded by the law of the stream, predictions and labels in any order. Errors of Kafka are `Unavailable`. Belongs to
no consumer group; what nobody can read is left out, for it was told when it was counted.

Bound: one poll of `RECORDS_MAX` records is held at a time.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet.summaries_topic import translated
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import let_go
from prediction_log.kafka.decoding import Decoder, empty_batch
from prediction_log.kafka.fetching import Fetching
from prediction_log.kafka.topics import RETENTION_SPARE_DAYS, topics_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

RECORDS_MAX: Final = 5_000
SILENCE_SECONDS_MAX: Final = 60.0
"""How long Kafka may give nothing before its end is reached."""
DAY_US: Final = 86_400_000_000


async def read_retained(
    address: str, options: KafkaOptions, p: int, positions: Mapping[str, bytes], since_us: int
) -> AsyncGenerator[list[Entry], None]:
    """The entries before `positions` (offsets as JSON, by topic) that were received since then, and some days before: an
    event may be later than its receipt.
    """
    if not positions:
        return
    consumer = AIOKafkaConsumer(
        **client_options(address, options),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="none",
    )
    what = f"reading partition {p} again"
    with translated(what):
        try:
            await consumer.start()
            records = topics_of(options.prefix)[:2]  # other positions are not of records
            ends = {
                TopicPartition(topic, p): msgspec.json.decode(positions[topic], type=int)
                for topic in records
                if topic in positions
            }
            since_ms = max(0, since_us // 1000 - int(RETENTION_SPARE_DAYS * DAY_US) // 1000)
            left = await _begin(consumer, ends, since_ms)
            async for entries in _read(consumer, options, left):
                yield entries
        finally:
            await let_go(consumer)


async def _begin(consumer: Any, ends: Mapping[TopicPartition, int], since_ms: int) -> dict[TopicPartition, int]:
    """Seek to the first record that matters; where each topic is to be left, if there is anything to read of it."""
    async with asyncio.timeout(SILENCE_SECONDS_MAX):
        first = await consumer.beginning_offsets(list(ends))
        last = await consumer.end_offsets(list(ends))
        timely = await consumer.offsets_for_times(dict.fromkeys(ends, since_ms))
    starts = {place: timely[place].offset if timely.get(place) else end for place, end in ends.items()}
    left = {
        place: min(end, last[place])
        for place, end in ends.items()
        if max(starts[place], first[place]) < min(end, last[place])
    }
    consumer.assign(list(left))
    for place in left:
        consumer.seek(place, max(starts[place], first[place]))
    return left


async def _read(
    consumer: Any, options: KafkaOptions, left: dict[TopicPartition, int]
) -> AsyncGenerator[list[Entry], None]:
    decoder = Decoder(options.partitions, lambda: time.time_ns() // 1000)
    fetching = Fetching(consumer, RECORDS_MAX)
    topics = topics_of(options.prefix)
    kinds = {topics.predictions: Kind.PREDICTION, topics.labels: Kind.LABEL}
    heard = time.monotonic()
    while left:
        fetched = await fetching.fetch(1_000)
        batch = empty_batch()
        for place, records in fetched.records.items():
            end = left.get(place, 0)
            decoder.decode(kinds[place.topic], place, [one for one in records if one.offset < end], batch)
        if batch.entries:
            yield batch.entries
        at = {place: await consumer.position(place) for place in left}
        done = [place for place, end in left.items() if at[place] >= end]
        consumer.pause(*done)
        left = {place: end for place, end in left.items() if place not in done}
        heard = time.monotonic() if fetched.records or done else heard
        if time.monotonic() - heard > SILENCE_SECONDS_MAX:
            raise Unavailable(f"Kafka gave nothing for {SILENCE_SECONDS_MAX:.0f} s while {left} was to be read")
