"""Takes what a Kafka consumer has fetched, and gets past what it cannot: offsets that are gone, messages that break it.

Enters: a consumer that never moves by itself (`auto_offset_reset="none"`). Leaves: its records by topic-partition; with
them a finding for every stretch of offsets that is gone, and a dead letter for every message that the client cannot even
take apart. `Unavailable` where Kafka does not answer. Never goes on behind a gap in silence.

Where the client breaks on a message it does not say on which: each topic-partition is then asked alone, and the one that
breaks is read one message at a time until the position stands before the culprit, which is passed over.
"""

from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, NoOffsetForPartitionError, OffsetOutOfRangeError

from contracts.errors import Unavailable
from prediction_log.finding import Finding, FindingKind
from prediction_log.kafka.consumer import demand_alive
from prediction_log.kafka.decoding import DeadLetter

ALONE_MS: Final = 250
"""How long one topic-partition is asked alone, while it is sought which one breaks."""
BREAKS: Final = (CorruptRecordException, UnicodeError, ValueError, TypeError, EOFError, OSError, OverflowError)
"""What the client raises for a message: checksum, header names, compression, sizes."""


class Fetched(NamedTuple):
    """What came. `findings` stand with the topic-partition they are about."""

    records: dict[TopicPartition, list[Any]]
    unreadable: list[DeadLetter]
    findings: list[tuple[TopicPartition, Finding]]


class Fetching:
    """Fetches with one consumer, all of whose partitions have a position; at most `records_max` records at once."""

    def __init__(self, consumer: AIOKafkaConsumer, records_max: int) -> None:
        self._consumer = consumer
        self._records_max = records_max

    async def fetch(self, timeout_ms: int) -> Fetched:
        """The next records, as soon as there are some; none after `timeout_ms`. Raises Unavailable."""
        fetched = Fetched({}, [], [])
        try:
            await self._fetch(timeout_ms, fetched)
        except KafkaError as error:
            raise Unavailable(f"Kafka cannot be read: {error!r}; it is asked again") from error
        return fetched

    async def _fetch(self, timeout_ms: int, fetched: Fetched) -> None:
        demand_alive(self._consumer)
        before = {tp: await self._consumer.position(tp) for tp in self._consumer.assignment()}
        try:
            fetched.records.update(await self._consumer.getmany(timeout_ms=timeout_ms, max_records=self._records_max))
        except OffsetOutOfRangeError as error:
            await self._relocate(error.args[0], fetched)
        except NoOffsetForPartitionError:
            return  # its owner has not said yet where to start
        except BREAKS:
            for tp in before.keys() & self._consumer.assignment():  # what it had in its hands of others is dropped
                self._consumer.seek(tp, before[tp])
            await self._find_culprit(fetched)

    async def _relocate(self, positions: dict[TopicPartition, int], fetched: Fetched) -> None:
        """Go on at the beginning of what is there, and say what is not."""
        earliest = await self._consumer.beginning_offsets(positions)
        latest = await self._consumer.end_offsets(positions)
        for tp, position in positions.items():
            if tp not in self._consumer.assignment() or earliest[tp] <= position <= latest[tp]:
                continue
            self._consumer.seek(tp, earliest[tp])
            fetched.findings.append((tp, gone(tp, position, earliest[tp], latest[tp])))

    async def _find_culprit(self, fetched: Fetched) -> None:
        room = self._records_max
        for tp in sorted(self._consumer.assignment() - self._consumer.paused()):
            try:
                found = await self._consumer.getmany(tp, timeout_ms=ALONE_MS, max_records=room)
            except BREAKS:
                await self._pass_over(tp, room, fetched)
                return
            fetched.records.update(found)
            room -= sum(map(len, found.values()))
            if room <= 0:
                return

    async def _pass_over(self, tp: TopicPartition, room: int, fetched: Fetched) -> None:
        """Read what stands before the culprit, then leave it behind; not once a change of the group took it out of our
        hands: it would give nothing for ever.
        """
        before = fetched.records.setdefault(tp, [])
        try:
            while len(before) < room and tp in self._consumer.assignment() - self._consumer.paused():
                found = await self._consumer.getmany(tp, timeout_ms=ALONE_MS, max_records=1)
                before += found.get(tp, ())
        except BREAKS as error:
            at = await self._consumer.position(tp)
            reason = f"broken: the message cannot be taken apart: {error!r}"
            fetched.unreadable.append(DeadLetter(tp.topic, tp.partition, at, reason, None, None, ()))
            self._consumer.seek(tp, at + 1)
        if not before:
            del fetched.records[tp]


def gone(tp: TopicPartition, position: int, earliest: int, latest: int) -> Finding:
    """The finding that `position` cannot be read. Its `first_seq` and `last_seq` are offsets, where they can be known."""
    overtaken = position < earliest
    detail = (
        f"the topic's retention overtook its reader: offsets {position} to {earliest - 1} are gone; keep records longer"
        if overtaken
        else f"the topic ends at offset {latest}, before the reader's {position}: it was made anew, or a broker lost its"
        " end; it is read from the beginning, and what was counted is not counted again"
    )
    return Finding(
        kind=FindingKind.LOSS,
        log_id=f"{tp.topic}/{tp.partition}",
        segment=0,
        offset=position,
        first_seq=position if overtaken else None,
        last_seq=earliest - 1 if overtaken else None,
        detail=detail,
    )
