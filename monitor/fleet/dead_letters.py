"""Messages that nobody can read -> the topic of dead letters, and the judgement when there are too many of them.

Enters: messages as they stood in Kafka, with the reason why they are no records. Leaves: the same key, value and headers in
`<prefix>.dead`, behind the headers `topic`, `partition`, `offset` and `reason`; when `send` returns, the broker has them, so
that whoever reads on loses nothing. A letter may be there twice, after a crash: topic, partition and offset tell.
Never decides what is readable.

Bounds: `LETTERS_AT_ONCE` are in flight; a value over `VALUE_BYTES_MAX` is cut, and the header `cut_from_bytes` says so. A
letter that cannot be sent for what is in it is sent bare, with our headers alone: it still says where the message stood.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.client import client_options
from prediction_log.kafka.stream import DeadLetter
from prediction_log.kafka.topics import topics_of

LETTERS_AT_ONCE: Final = 500
VALUE_BYTES_MAX: Final = 512 * 2**10
"""Half of what a topic takes by default: the headers have to fit beside it."""
SEND_SECONDS: Final = 30.0

WINDOW_SECONDS: Final = 300.0
DEAD_SHARE_MAX: Final = 0.01
DEAD_MIN: Final = 50
"""So many at least: two bad messages in a quiet hour are two bad messages, not a broken producer."""

UNSENDABLE: Final = (MessageSizeTooLargeError, AssertionError, TypeError, ValueError)
"""What the client raises for a message's content."""

Header = tuple[str, bytes]
MakeProducer = Callable[..., Any]


class DeadLetters:
    """The way into the dead letters' topic; connected when the first one is sent."""

    def __init__(self, address: str, options: KafkaOptions, make_producer: MakeProducer = AIOKafkaProducer) -> None:
        self._address = address
        self._options = options
        self._make_producer = make_producer
        self._producer: Any = None

    async def send(self, letters: Sequence[DeadLetter]) -> None:
        """Return when the broker has all of them. Raises Unavailable where it cannot be said that it has."""
        remaining = iter(letters)
        try:
            while some := list(islice(remaining, LETTERS_AT_ONCE)):
                async with asyncio.timeout(SEND_SECONDS):
                    await self._send(some)
        except (KafkaError, TimeoutError, OSError) as error:
            await self.aclose()
            topic = topics_of(self._options.prefix).dead
            raise Unavailable(
                f"{len(letters)} unreadable messages cannot be put into {topic}: {type(error).__name__} {error}; "
                "their partition waits until they can"
            ) from error

    async def aclose(self) -> None:
        """Let go of the connection; another letter would connect again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()

    async def _send(self, letters: Sequence[DeadLetter]) -> None:
        try:
            await self._send_all(letters)
        except UNSENDABLE:
            for one in letters:
                try:
                    await self._send_all([one])
                except UNSENDABLE:
                    await self._send_all([one._replace(key=None, value=None, headers=())])

    async def _send_all(self, letters: Sequence[DeadLetter]) -> None:
        producer = await self._connected()
        topic = topics_of(self._options.prefix).dead
        sent: list[asyncio.Future[Any]] = []
        try:
            for one in letters:
                sending = await producer.send(topic, key=one.key, value=_value(one), headers=list(_headers(one)))
                sent.append(sending)
        finally:
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _connected(self) -> Any:
        if self._producer is None:
            producer = self._make_producer(
                **client_options(self._address, self._options), acks="all", max_request_size=4 * VALUE_BYTES_MAX
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


class DeadShare:
    """Whether too much of what came in the last minutes was unreadable. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds: deque[tuple[int, int, int]] = deque()
        self._read = 0
        self._dead = 0

    def add(self, read: int, dead: int) -> None:
        """Of `read` messages, dead ones included, so many were dead."""
        second = int(self._clock())
        if self._seconds and self._seconds[-1][0] == second:
            _, earlier_read, earlier_dead = self._seconds.pop()
            self._seconds.append((second, earlier_read + read, earlier_dead + dead))
        else:
            self._seconds.append((second, read, dead))
        self._read += read
        self._dead += dead

    def too_many(self) -> str | None:
        """What is wrong, in words; null while it is not too much."""
        self._forget()
        if self._dead < DEAD_MIN or self._dead <= DEAD_SHARE_MAX * self._read:
            return None
        return (
            f"{self._dead} of the last {self._read} messages could not be read and are in the dead letters' topic: "
            "look at their header 'reason'"
        )

    def _forget(self) -> None:
        oldest = self._clock() - WINDOW_SECONDS
        while self._seconds and self._seconds[0][0] < oldest:
            _, read, dead = self._seconds.popleft()
            self._read -= read
            self._dead -= dead


def _value(letter: DeadLetter) -> bytes | None:
    """What Kafka takes: a message needs a key or a value."""
    if letter.value is None:
        return b"" if letter.key is None else None
    return letter.value[:VALUE_BYTES_MAX]


def _headers(letter: DeadLetter) -> Iterator[Header]:
    yield "topic", letter.topic.encode()
    yield "partition", str(letter.partition).encode()
    yield "offset", str(letter.offset).encode()
    yield "reason", letter.reason.encode()
    if letter.value is not None and len(letter.value) > VALUE_BYTES_MAX:
        yield "cut_from_bytes", str(len(letter.value)).encode()
    yield from letter.headers
