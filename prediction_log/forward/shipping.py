"""Messages -> batches in Kafka, lane by lane, in order.

Enters: messages. Leaves: when all are acknowledged; or the first error: `BatchRefused` where a batch is too large for
Kafka, whatever else aiokafka raises. After any error the producer is done for: its sequence numbers are not taken
back, so that what it sends later is refused or, worse, passes before what was refused. Never repeats anything itself.

One future a batch, not one a record: that is most of the difference between a forwarder and a bottleneck.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from contracts.errors import Unavailable
from prediction_log.forward.cursor import Lane
from prediction_log.forward.outgoing import Message
from prediction_log.kafka.topics import Topics

BATCH_BYTES_MAX: Final = 512 * 2**10
"""Before compression; one larger record makes a batch of its own."""
_REFUSALS: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
"""The record's own fault. Whatever else Kafka says may be different tomorrow, so that nothing is ever skipped for it."""


class BatchRefused(Exception):
    """Kafka will not have this batch: it is too large. `sources` are the log and seq of what was in it."""

    def __init__(self, sources: list[tuple[str, int]], error: KafkaError) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.sources = sources


class _Batch:
    def __init__(self, builder: Any, *, alone: bool) -> None:
        self.builder = builder
        self.alone = alone
        self.sources: list[tuple[str, int]] = []


class Lanes:
    """All lanes of one producer. `acknowledged` is called after every batch that Kafka has."""

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, acknowledged: Callable[[], None]) -> None:
        self._producer = producer
        self._topics = {"p": topics.predictions, "l": topics.labels, "a": topics.audit}
        self._acknowledged = acknowledged
        self._turns: dict[Lane, asyncio.Lock] = {}

    def ship(self, groups: Iterable[tuple[str, Sequence[Message]]]) -> "asyncio.Future[None]":
        """Begin to send messages, in groups with the log they are from (empty: none); what was begun earlier stays ahead in
        every lane. Done when all is acknowledged.
        """
        batches: dict[Lane, list[_Batch]] = {}
        for log_id, messages in groups:
            for message in messages:
                self._pack(batches.setdefault(message.lane, []), log_id, message)
        return asyncio.ensure_future(_all([self._deliver(lane, packed) for lane, packed in batches.items()]))

    def _pack(self, batches: list[_Batch], log_id: str, message: Message) -> None:
        _, key, value, headers, seq, alone = message
        if (
            not batches
            or alone
            or batches[-1].alone
            or batches[-1].builder.append(timestamp=None, key=key, value=value, headers=headers) is None
        ):
            batches.append(_Batch(self._producer.create_batch(), alone=alone))
            took = batches[-1].builder.append(timestamp=None, key=key, value=value, headers=headers)
            assert took is not None, "an empty batch takes anything"
        batches[-1].sources.append((log_id, seq))

    async def _deliver(self, lane: Lane, batches: list[_Batch]) -> None:
        topic, partition = self._topics[lane[0]], int(lane[1:])
        sent: list[asyncio.Future[Any]] = []
        async with self._turns.setdefault(lane, asyncio.Lock()):
            if partition not in await self._producer.partitions_for(topic):
                raise Unavailable(
                    f"topic {topic} has no partition {partition}, and a segment was begun when it had: give it back"
                )
            for batch in batches:
                acknowledgement = await self._producer.send_batch(batch.builder, topic, partition=partition)
                acknowledgement.add_done_callback(_look_away)
                sent.append(acknowledgement)
        for batch, acknowledgement in zip(batches, sent, strict=True):
            await asyncio.wait(
                {acknowledgement}
            )  # and not by itself: who is cancelled while waiting would cancel it too
            try:
                acknowledgement.result()
            except _REFUSALS as error:
                raise BatchRefused(batch.sources, error) from error
            self._acknowledged()


def _look_away(acknowledgement: "asyncio.Future[Any]") -> None:
    """After the first error nobody asks how the others ended; without this the event loop would complain."""
    if not acknowledgement.cancelled():
        acknowledgement.exception()


async def _all(deliveries: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Return when all are done; at the first error the others are given up."""
    tasks = [asyncio.ensure_future(delivery) for delivery in deliveries]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
