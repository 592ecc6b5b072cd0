"""The counts of the whole fleet, kept beside every monitor worker: the topic of summaries, tailed into one file.

Enters: all partitions of the topic. Leaves: a file that `monitor.pages.queries.open_reader` reads, where a publication
is seen whole or not at all, and now and then where the topics of records end, so that lag can be told. Whatever goes
wrong with Kafka or the file is told in `trouble` and tried again; what is in the file can be asked for meanwhile.

Bounds: one fetch is held in memory; publications that are not whole yet wait in the file.
"""

import asyncio
import contextlib
import logging
import random
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from monitor.fleet.catching_up import OffLoop
from monitor.fleet.summaries_topic import Read, SummariesTopic, opened
from monitor.fleet.view_store import ViewStore, discard_view, open_view
from prediction_log.kafka.topics import topics_of

FILE_NAME: Final = "view.sqlite"
POLL_MS: Final = 500
ENDS_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 15.0

_LOG = logging.getLogger("pointsman.monitor")


class View:
    """Tails the topic into the file at `path`. `clock` gives seconds that never go back."""

    def __init__(
        self, address: str, options: KafkaOptions, path: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.trouble: str | None = "the summaries were not read yet"
        self._address = address
        self._options = options
        self._topic = topics_of(options.prefix).summaries
        self._path = path
        self._clock = clock
        self._behind: set[int] = set(range(options.partitions))
        self._ends: dict[int, int] = {}
        self._ends_at: float | None = None

    @property
    def caught_up(self) -> bool:
        """Whether every partition was at its end since this began to tail, and nothing is wrong."""
        return not self._behind and self.trouble is None

    async def run(self, stop: asyncio.Event) -> None:
        """Tail until `stop` is set."""
        stopped = asyncio.create_task(stop.wait())
        tailing = asyncio.create_task(self._run())
        try:
            await asyncio.wait({stopped, tailing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            tailing.cancel()
            await asyncio.gather(stopped, tailing, return_exceptions=True)

    async def _run(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            began = self._clock()
            try:
                await self._tail()
            except (Unavailable, sqlite3.Error) as error:
                self._tell(str(error))
                if type(error) is sqlite3.DatabaseError:  # and none of its kinds: a page is damaged, and will stay so
                    with contextlib.suppress(OSError):  # opening it says what is wrong
                        discard_view(self._path, error)
            except Exception as error:  # noqa: BLE001  a bug of ours must not let pages grow old in silence
                self._tell(f"{type(error).__name__}: {error}")
                _LOG.exception("the view of the summaries stands still")
            pause = PAUSE_SECONDS if self._clock() - began > PAUSE_SECONDS_MAX else min(2 * pause, PAUSE_SECONDS_MAX)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - workers must not come back all at once

    async def _tail(self) -> None:
        """Tail until something goes wrong."""
        with ThreadPoolExecutor(1, thread_name_prefix="view") as thread:

            async def off_loop(work: Callable[..., Any], *given: Any) -> Any:
                """In the one thread that the file belongs to."""
                return await asyncio.get_running_loop().run_in_executor(thread, work, *given)

            store: ViewStore = await off_loop(open_view, self._path, self._options.partitions)
            try:
                async with opened(self._address, self._options) as topic:
                    await self._begin(topic, store, off_loop)
                    while True:
                        for p, read in (await topic.poll(POLL_MS)).items():
                            await self._take(p, read, topic, store, off_loop)
                        await self._write_ends(topic, store, off_loop)
            finally:
                await off_loop(store.close)

    async def _begin(self, topic: SummariesTopic, store: ViewStore, off_loop: OffLoop) -> None:
        offsets = await off_loop(store.offsets)
        starts = await topic.seek(offsets)
        for p, start in starts.items():
            if start < offsets[p]:
                _LOG.warning("partition %d of the summaries was made anew: it is read from its beginning", p)
                await off_loop(store.read_anew, p)
        self._behind = set(starts)
        self._ends = {p: end for p, (_, end) in (await topic.ends(self._topic, starts)).items()}
        self._ends_at = None
        self._tell(None)

    async def _take(self, p: int, read: Read, topic: SummariesTopic, store: ViewStore, off_loop: OffLoop) -> None:
        if read.messages and await off_loop(store.receive, p, read.messages, read.next_offset):
            self._behind.add(p)
        if p not in self._behind or read.next_offset < self._ends[p]:
            return
        self._ends[p] = (await topic.ends(self._topic, [p]))[p][1]
        if read.next_offset < self._ends[p]:
            return
        if await off_loop(store.at_end, p):
            _LOG.warning("partition %d of the summaries does not add up: it is read again from its beginning", p)
            await topic.seek_to_beginning(p)
        else:
            self._behind.discard(p)

    async def _write_ends(self, topic: SummariesTopic, store: ViewStore, off_loop: OffLoop) -> None:
        """Where the topics of records end now, every few seconds."""
        if self._ends_at is not None and self._clock() - self._ends_at < ENDS_SECONDS:
            return
        topics = topics_of(self._options.prefix)
        for name in (topics.predictions, topics.labels):
            await off_loop(store.write_ends, name, await topic.ends(name, range(self._options.partitions)))
        self._ends_at = self._clock()

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and trouble != self.trouble:
            _LOG.warning("the view of the summaries stands still: %s", trouble)
        self.trouble = trouble
