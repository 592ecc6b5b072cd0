"""Reads topic-partitions from where they begin to where they ended when somebody looked, once.

Enters: a consumer that is assigned the partitions, offsets to begin and end at. Leaves: everything in between, handed on as
it comes; `Unavailable` where Kafka stops giving. Never goes on behind those ends, and belongs to no group.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.errors import Unavailable
from prediction_log.collector import collector_paused
from prediction_log.kafka.fetching import Fetched, Fetching

RECORDS_MAX: Final = 10_000
SILENCE_SECONDS_MAX: Final = 60.0
"""How long Kafka may give nothing before the ends are reached."""
POLL_MS: Final = 500

Progress = Callable[[int, int], None]
"""Called with how many messages are read, and how many there are."""


async def read_through(
    consumer: AIOKafkaConsumer,
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    take: Callable[[Fetched], None],
    progress: Progress,
) -> None:
    """Hand all records on, at most RECORDS_MAX at once; some may lie behind an end. Raises Unavailable and KafkaError."""
    fetching = Fetching(consumer, RECORDS_MAX)
    left = {tp for tp, end in ends.items() if end > begins[tp]}
    for tp in ends:
        consumer.seek(tp, begins[tp])
    consumer.pause(*(ends.keys() - left))
    whole, heard = sum(ends[tp] - begins[tp] for tp in left), time.monotonic()
    while left:
        with collector_paused():
            fetched = await fetching.fetch(POLL_MS)
            take(fetched)
        at = {tp: await consumer.position(tp) for tp in left}
        done = {tp for tp in left if at[tp] >= ends[tp]}
        consumer.pause(*done)
        left -= done
        progress(whole - sum(ends[tp] - at[tp] for tp in left), whole)
        heard = time.monotonic() if fetched.records or fetched.unreadable or done else heard
        if time.monotonic() - heard > SILENCE_SECONDS_MAX:
            raise Unavailable(
                f"Kafka gave nothing for {SILENCE_SECONDS_MAX:.0f} s, {len(left)} partitions are not read"
            )
