"""The topic of summaries, read: committed messages of some partitions, from given offsets on.

Enters: the brokers' address, the options, offsets. Leaves: messages in the order of each partition, of whole transactions
only, and where to read on. Errors of Kafka are `Unavailable`. Never stores anything.

Bound: one poll holds what the client fetches at once, about `FETCH_BYTES_MAX` a partition.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet.exchange import Message
from prediction_log.kafka.client import client_options
from prediction_log.kafka.consumer import demand_alive, let_go
from prediction_log.kafka.topics import topics_of

FETCH_BYTES_MAX: Final = 2 * 2**20
FETCH_WAIT_MS: Final = 100
"""How long a broker waits for something to come. It answers one request of a connection after the other: questions about
offsets wait as long."""
ASK_SECONDS: Final = 30.0
"""How long a question about offsets, or the way to one partition's end, may stand still."""


class Read(NamedTuple):
    """What was read of one partition, and the offset of what follows."""

    messages: list[tuple[int, Message]]
    next_offset: int


class SummariesTopic:
    """A reader; open it first. `make_consumer` makes an AIOKafkaConsumer."""

    def __init__(self, address: str, options: KafkaOptions, *, make_consumer: Any = AIOKafkaConsumer) -> None:
        self._address = address
        self._options = options
        self._make_consumer = make_consumer
        self._topic = topics_of(options.prefix).summaries
        self._consumer: Any = None

    async def open(self) -> None:
        """Connect. Raises Unavailable."""
        consumer = self._make_consumer(
            **client_options(self._address, self._options),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        with translated(f"summaries at {self._address}"):
            try:
                await consumer.start()
            except BaseException:
                await let_go(consumer)
                raise
        self._consumer = consumer

    async def ends(self, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """The first offset that is retained and the one after the last committed, by partition. Raises Unavailable."""
        places = [TopicPartition(topic, p) for p in partitions]
        with translated(f"offsets of {topic}"):
            async with asyncio.timeout(ASK_SECONDS):
                first = await self._consumer.beginning_offsets(places)
                end = await self._consumer.end_offsets(places)
        return {place.partition: (first[place], end[place]) for place in places}

    async def seek(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Read on from these offsets, by partition; those from which nothing can be read, as where the topic was made
        anew, start at the beginning. Returns where each starts. Raises Unavailable.
        """
        retained = await self.ends(self._topic, offsets)
        starts = {p: offset if retained[p][0] <= offset <= retained[p][1] else 0 for p, offset in offsets.items()}
        with translated(f"summaries at {self._address}"):
            self._consumer.assign([TopicPartition(self._topic, p) for p in starts])
            for p, start in starts.items():
                self._consumer.seek(TopicPartition(self._topic, p), max(start, retained[p][0]))
        return starts

    async def seek_to_beginning(self, p: int) -> None:
        """Read one partition again. Raises Unavailable."""
        first, _ = (await self.ends(self._topic, [p]))[p]
        self._consumer.seek(TopicPartition(self._topic, p), first)

    async def poll(self, timeout_ms: int) -> dict[int, Read]:
        """What came, by partition; also a partition of which only the offset moved on. Raises Unavailable."""
        found: dict[int, Read] = {}
        demand_alive(self._consumer)
        with translated(f"summaries at {self._address}"):
            fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
            for place in self._consumer.assignment():
                messages = [
                    (record.offset, Message(record.key or b"", record.value)) for record in fetched.get(place, ())
                ]
                found[place.partition] = Read(messages, await self._consumer.position(place))
        return found

    async def read_to_end(self, p: int, offset: int) -> AsyncIterator[Read]:
        """Everything of one partition from here to what is its end now. Raises Unavailable."""
        _, end = (await self.ends(self._topic, [p]))[p]
        at = (await self.seek({p: offset}))[p]
        while at < end:
            with translated(f"summaries at {self._address}, partition {p}"):
                async with asyncio.timeout(ASK_SECONDS):
                    read = await self._moved(p, at)
            at = read.next_offset
            yield read

    async def aclose(self) -> None:
        """Let go of the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await let_go(consumer)

    async def _moved(self, p: int, at: int) -> Read:
        while True:
            read = (await self.poll(500))[p]
            if read.next_offset > at:
                return read


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Errors of Kafka inside are `Unavailable`, and say what was wanted."""
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"{what}: {type(error).__name__} {error}; it is tried again") from error


@asynccontextmanager
async def opened(address: str, options: KafkaOptions) -> AsyncIterator[SummariesTopic]:
    """A reader, open. Raises Unavailable."""
    topic = SummariesTopic(address, options)
    await topic.open()
    try:
        yield topic
    finally:
        await topic.aclose()
