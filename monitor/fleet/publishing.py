"""One partition's counts -> the topic of summaries: each publication is one transaction, or it never was.

Enters: a partition number, its directory, and when. Leaves: committed messages with their marker. Whoever opens a publisher
of a partition fences all earlier ones: their transactions end, and they get `Fenced`. After any other failure nobody knows
what Kafka made of the transaction; the next publication begins by asking it.

Bounds: a chunk of `publication.MESSAGES_AT_ONCE` messages is in flight; a transaction takes `TRANSACTION_SECONDS` at most.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from aiokafka.errors import InvalidProducerEpoch, ProducerFenced

from contracts.errors import Conflict
from contracts.settings import KafkaOptions
from monitor.fleet.catching_up import catch_up
from monitor.fleet.exchange import Message
from monitor.fleet.live_rows import drop_counts
from monitor.fleet.publication import FILE_NAME, Live, Publication, open_live
from monitor.fleet.summaries_topic import opened, translated
from prediction_log.kafka.producer import let_go, open_producer
from prediction_log.kafka.topics import topics_of

TRANSACTION_SECONDS: Final = 300
LET_GO_SECONDS: Final = 2.0
"""For a producer to end in order. Its open transaction is ended by whoever opens the next one."""
SEND_SECONDS: Final = 60.0
"""How long one chunk, or the end of a transaction, may take."""
BATCH_BYTES: Final = 2**18
REQUEST_BYTES: Final = 2 * 2**20

T = TypeVar("T")


class Fenced(Conflict):
    """Another worker publishes this partition now; the state here may be behind."""

    code = "fenced"


class Publisher:
    """Publishes the state of one partition number. `owner` is the name that stands in the markers; `now_us` tells the
    time. One call at a time.
    """

    def __init__(
        self,
        address: str,
        options: KafkaOptions,
        p: int,
        *,
        owner: str = "",
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._address = address
        self._options = options
        self._p = p
        self._owner = owner
        self._now_us = now_us
        self._topic = topics_of(options.prefix).summaries
        self._producer: Any = None
        self._live: Live | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"publish-{p}")

    async def open(self) -> None:
        """Connect, and fence whoever published this partition before. Raises Unavailable."""
        self._producer = await open_producer(
            self._address,
            self._options,
            transactional_id=f"{self._options.prefix}-monitor-{self._p}",
            transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
            max_batch_size=BATCH_BYTES,
            max_request_size=REQUEST_BYTES,
        )

    async def publish(self, directory: Path) -> bool:
        """Publish what the state in this directory counted since it was last published; False where that is nothing.
        Raises Fenced, Conflict (restore first), Unavailable and StoreUnavailable; then nothing was published, or Kafka
        will tell.
        """
        try:
            if self._producer is None:
                await self.open()
            live = self._live = self._live or await self._caught_up(directory)
            with translated(f"publishing partition {self._p} of {self._topic}"), self._fencing():
                return await self._publish(Publication(live, directory, self._owner, self._now_us()))
        except BaseException:
            await self._drop()
            raise

    async def aclose(self) -> None:
        """Let go of Kafka and of the file."""
        await self._drop()
        self._thread.shutdown()

    @contextmanager
    def _fencing(self) -> Iterator[None]:
        try:
            yield
        except (ProducerFenced, InvalidProducerEpoch) as error:
            raise Fenced(f"partition {self._p}: another worker publishes it now") from error

    async def _publish(self, publication: Publication) -> bool:
        chunks = publication.chunks()
        try:
            chunk = await self._off_loop(next, chunks, None)
            if chunk is None:
                return False
            await self._producer.begin_transaction()
            last = await self._send_all(chunk, chunks)
            async with asyncio.timeout(SEND_SECONDS):
                await self._producer.commit_transaction()
            await self._off_loop(publication.commit, last + 1)
        finally:
            await self._off_loop(chunks.close)
        return True

    async def _send_all(self, chunk: list[Message], chunks: Iterator[list[Message]]) -> int:
        """Send everything; the greatest offset."""
        last = -1
        remaining: list[Message] | None = chunk
        while remaining is not None:
            async with asyncio.timeout(SEND_SECONDS):
                last = max(last, await self._send(remaining))
            remaining = await self._off_loop(next, chunks, None)
        return last

    async def _send(self, messages: list[Message]) -> int:
        sending = [
            await self._producer.send(self._topic, key=message.key, value=message.value, partition=self._p)
            for message in messages
        ]
        sent = await asyncio.gather(*sending, return_exceptions=True)  # all of them, or one would be complained about
        last = -1
        for outcome in sent:
            if isinstance(outcome, BaseException):
                raise outcome
            last = max(last, outcome.offset)
        return last

    async def _caught_up(self, directory: Path) -> Live:
        live: Live = await self._off_loop(open_live, directory / FILE_NAME, self._p)
        try:
            async with opened(self._address, self._options) as topic:
                await catch_up(topic, live, self._off_loop)
            await self._off_loop(drop_counts, live.connection, self._p)
        except BaseException:
            await self._off_loop(live.close)
            raise
        return live

    async def _off_loop(self, work: Callable[..., T], *given: Any) -> T:
        """In the one thread that the file belongs to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    async def _drop(self) -> None:
        """Give up the connection, with what is open in it, and the file, with what is not committed in it."""
        producer, self._producer = self._producer, None
        live, self._live = self._live, None
        if live is not None:
            await self._off_loop(live.close)
        if producer is not None:
            await let_go(producer, LET_GO_SECONDS)
            ended = producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001 - or it complains that nobody asked
            if ended is not None and ended.done() and not ended.cancelled():
                ended.exception()
