"""What the monitors of a fleet say they counted: which seqs of which stream, and up to which offsets, by partition number.

Enters: the topic of summaries. Leaves: for each partition number of which anything was published the `Published` part of
its last publication; nothing where no monitor ever published. Only reads; a second reading goes on where the first one
ended. Bound: the coverage of all streams is held, not the counts.
"""

import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet.exchange import MARKER, Mark, Message, name_of, read_as, read_content
from monitor.fleet.summaries_topic import SummariesTopic, opened
from prediction_log.certificate.kafka_counted import Published
from prediction_log.intervals import Interval
from prediction_log.kafka.topics import topics_of

POLL_MS: Final = 500
SILENCE_SECONDS_MAX: Final = 60.0
_LOG: Final = "log"


class _Seen(msgspec.Struct):
    seen: list[Interval]


class PublishedCounts:
    """Reads `topic`, which is open, again and again. Publications are transactions: whatever is read to the end is whole."""

    def __init__(self, topic: SummariesTopic, name: str, partitions: int) -> None:
        self._topic = topic
        self._name = name
        self._next = dict.fromkeys(range(partitions), 0)
        self._begun = False
        self._marks: dict[int, Mark] = {}
        self._pieces: dict[tuple[int, str], dict[int, bytes]] = {}

    async def read(self) -> Mapping[int, Published] | None:
        """What is published by now. Raises Unavailable and InvalidRecord."""
        ends = await self._topic.ends(self._name, self._next)
        if not self._begun:
            await self._topic.seek(self._next)
            self._begun = True
        heard = time.monotonic()
        while any(self._next[p] < end for p, (_, end) in ends.items()):
            for p, read in (await self._topic.poll(POLL_MS)).items():
                self._take(p, (message for _, message in read.messages))
                heard = time.monotonic() if read.next_offset > self._next[p] else heard
                self._next[p] = read.next_offset
            if time.monotonic() - heard > SILENCE_SECONDS_MAX:
                raise Unavailable(f"{self._name}: Kafka gave nothing for {SILENCE_SECONDS_MAX:.0f} s; ask again")
        return self._published()

    def _published(self) -> Mapping[int, Published] | None:
        if not self._marks:
            return None
        seen: dict[int, dict[str, list[Interval]]] = {p: {} for p in self._marks}
        for (p, stream), pieces in self._pieces.items():
            if p in seen and pieces:
                seen[p][stream] = read_as(_Seen, read_content(pieces)).seen
        return {
            p: Published(seen[p], {topic: int(offset) for topic, offset in mark.positions.items()})
            for p, mark in self._marks.items()
        }

    def _take(self, p: int, messages: Iterable[Message]) -> None:
        for message in messages:
            name = name_of(message.key)
            if name is None or name.p != p:
                continue
            if name.kind == MARKER and message.value is not None:
                self._marks[p] = read_as(Mark, read_content({0: message.value}))
            elif name.kind == _LOG:
                pieces = self._pieces.setdefault((p, name.names[0]), {})
                if message.value is None:
                    pieces.pop(name.piece, None)
                else:
                    pieces[name.piece] = message.value


@asynccontextmanager
async def published_counts(address: str, options: KafkaOptions) -> AsyncIterator[PublishedCounts]:
    """A reader. Raises Unavailable."""
    async with opened(address, options) as topic:
        yield PublishedCounts(topic, topics_of(options.prefix).summaries, options.partitions)
