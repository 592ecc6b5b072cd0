"""One partition that this worker owns: opened when it is assigned, fed with what the stream gives, published, closed.

Enters: batches of one partition number. Leaves: its state one step further, what nobody can read in the topic of dead
letters, its counts in the topic of summaries. A partition in trouble stands still alone: it says why, closes, and opens
again after a pause that doubles, from the positions that its state has; what it was given meanwhile is given again.
Never joins or leaves the group, never reads Kafka by itself.

    opening --> counting --> standing still --> opening ...      after trouble
                    `------> paused ----------> opening ...      while too much of what comes cannot be read
                    `------> lost                                another worker has taken over

Exactly once: counts and offsets are saved in one transaction of the state. Opening the publisher fences every worker that
had the partition before; only then the state is restored from what was published, or goes on where that is its own.
Bound: batches are held until `take`; whoever offers them bounds how many.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from contracts.errors import PointsmanError, StoreUnavailable
from monitor.counts.consume import Consumer, Reading, Refuse
from monitor.counts.state import FILE_NAME
from monitor.fleet.arrival import Arrival, arrival_of, letters_of
from monitor.fleet.dead_letters import DeadLetters, DeadShare
from monitor.fleet.losses import Claims
from monitor.fleet.publishing import Fenced
from monitor.fleet.set_aside import set_aside
from monitor.pages.standing import OwnPartition
from prediction_log.finding import Finding
from prediction_log.kafka.decoding import Batch
from prediction_log.kafka.topics import Topics
from prediction_log.position import Entry

PAUSE_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 15.0
CLOSE_SECONDS_MAX: Final = 15.0
"""How long a partition that was taken away may still publish: the next owner waits for it."""
REFUSE_SECONDS: Final = 60.0
"""How long the thread that counts waits for dead letters to be taken."""
SHARE_SECONDS: Final = 1.0
"""How often a paused partition looks whether it may go on."""

T = TypeVar("T")
Standing = Literal["opening", "counting", "standing still", "paused", "lost"]

_LOG = logging.getLogger("pointsman.monitor")


class Publishes(Protocol):
    """What a partition needs of a publisher."""

    async def open(self) -> None:
        """Fence whoever published before."""

    async def publish(self, directory: Path) -> bool:
        """Publish what changed, if anything has. Raises Fenced where another has taken over."""

    async def aclose(self) -> None:
        """Let go."""


class Parts(NamedTuple):
    """What partitions are made of. `restore` leaves a state in a directory that goes on where the published one stands."""

    topics: Topics
    make_consumer: Callable[[Path, Refuse], Consumer]
    make_publisher: Callable[[int], Publishes]
    restore: Callable[[int, Path], Awaitable[None]]
    dead_letters: DeadLetters
    now_us: Callable[[], int]
    clock: Callable[[], float]


class Partition:
    """Partition number `number` with its state in `directory`."""

    def __init__(self, number: int, directory: Path, parts: Parts) -> None:
        self.number = number
        self.standing: Standing = "opening"
        self.trouble: str | None = "not opened yet"
        self.records = 0
        self.dead = 0
        self.caught_up = False
        self.offered_at: float | None = None
        self.held = 0
        self.openings = 0
        self._directory = directory
        self._parts = parts
        self._consumer = parts.make_consumer(directory / FILE_NAME, self._refuse)
        self._publisher: Publishes | None = None
        self._dead = DeadShare(parts.clock)
        self._claims = Claims(f"partition {number}")
        self._pause = 0.0
        self._positions: Mapping[str, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused = 0
        self._changed = False
        self._batches: list[Batch] = []
        self._found: list[Finding] = []
        self._found_at: dict[str, int] = {}
        self._busy = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether it counts or publishes just now."""
        return self._busy.locked()

    def seen_from_outside(self) -> OwnPartition:
        """What it does just now."""
        return OwnPartition(
            number=self.number,
            doing=self.standing,
            trouble=self.trouble,
            read=self.records,
            dead=self.dead,
            held=self.held,
        )

    @property
    def watermark_us(self) -> int:
        """The newest event time that is counted."""
        return self._consumer.progress.watermark_us

    @property
    def positions(self) -> Mapping[str, int]:
        """The offsets from which to read on, by topic: what is saved."""
        return self._positions

    async def opened(self) -> None:
        """Open, as often as it takes; then it counts."""
        while True:
            await asyncio.sleep(self._pause)
            while (why := self._dead.too_many()) is not None:
                self._stand("paused", why)
                await asyncio.sleep(SHARE_SECONDS)
            try:
                async with self._busy:
                    await self._open()
            except Exception as error:  # noqa: BLE001  a bug of ours must not take the other partitions along
                self._stand_still(error)
            else:
                self._stand("counting", None)
                return

    def offer(self, batch: Batch) -> None:
        """Hold a batch until `take`. What comes before the partition is open comes again."""
        if self.standing == "counting":
            self._batches.append(batch)
            self.held += len(batch.entries) + len(batch.undecodable) + len(batch.controls)
            self.offered_at = self.offered_at or self._parts.clock()

    async def take(self) -> None:
        """Count what is held. Never raises: what went wrong is in `standing` and `trouble`."""
        if self.standing != "counting":
            return  # it may be busy opening, for long
        async with self._busy:
            batches, self._batches, self.held, self.offered_at = self._batches, [], 0, None
            if self.standing != "counting" or not (batches or self._found_at or self._claims.waiting):
                return
            try:
                if batches:
                    await self._take(arrival_of(batches))
                await self._look()
            except Exception as error:  # noqa: BLE001  likewise
                self._stand_still(error)
                return
            why = self._dead.too_many()
            if why is not None:
                self._stand("paused", why)

    async def publish(self, seconds_max: float | None = None) -> None:
        """Publish what changed since the last time. Never raises."""
        if self.standing not in {"counting", "paused"}:
            return  # likewise
        async with self._busy:
            if self._publisher is None or not self._changed or self.standing not in {"counting", "paused"}:
                return
            try:
                async with asyncio.timeout(seconds_max):
                    await self._publisher.publish(self._directory)
                self._changed = False
            except Fenced as error:
                self._stand("lost", str(error))
            except Exception as error:  # noqa: BLE001  likewise
                self._stand_still(error)

    def claimed(self, streams: Mapping[str, int], ends: Mapping[str, int]) -> None:
        """A host said that up to these seqs everything was sent; just now the topics ended at these offsets."""
        self._claims.manifest(streams, ends)

    def found(self, findings: Sequence[Finding], name: str, position: int) -> None:
        """Keep these findings with the next step, and that `name` was read up to `position`."""
        self._found += findings
        self._found_at[name] = position

    async def aclose(self) -> None:
        """Publish what is counted and let go. Never raises; batches that are held come again to the next owner."""
        await self.publish(CLOSE_SECONDS_MAX)
        async with self._busy:
            self._batches, self.held, self.offered_at = [], 0, None
            await self._let_go()
        self._stand("lost", "closed")

    async def _open(self) -> None:
        """Raises whatever keeps it from being open."""
        await self._let_go()
        publisher = self._parts.make_publisher(self.number)
        self._publisher = publisher
        await publisher.open()
        try:
            saved = await self._restored()
        except StoreUnavailable as error:
            if not await _in_thread(set_aside, self._directory, error):
                raise
            saved = await self._restored()
        self._positions = _decoded(saved)
        self._claims.begin(self._consumer.seen)
        self._found, self._found_at = [], {}
        self.openings += 1
        self._changed = True

    async def _restored(self) -> Mapping[str, bytes]:
        await self._parts.restore(self.number, self._directory)
        return await _in_thread(self._consumer.open)

    async def _take(self, arrival: Arrival) -> None:
        await self._parts.dead_letters.send(arrival.dead)
        self._refused = 0
        await self._step(arrival.reading)
        self._pause = 0.0
        dead = len(arrival.dead) + self._refused
        self._dead.add(arrival.read, dead)
        self.dead += dead
        self.records += arrival.read
        self.caught_up = arrival.reading.caught_up
        self._claims.met(self._consumer.seen, arrival.streams, at_end=self.caught_up)
        for stream, last in arrival.sealed:
            self._claims.sealed(stream, last)

    async def _look(self) -> None:
        """Keep what was found beside the records: holes that are certain now, and what hosts reported."""
        holes = self._claims.due(self._consumer.seen, self._positions)
        if holes:
            _LOG.error("partition %d: %d holes, the first: %s", self.number, len(holes), holes[0])
        found, self._found = self._found, []
        at, self._found_at = self._found_at, {}
        if holes or found or at:
            await self._step(Reading((), _encoded(at), [*holes, *found], self.caught_up))

    async def _step(self, reading: Reading) -> None:
        self._loop = asyncio.get_running_loop()
        await _in_thread(self._consumer.take, reading, self._parts.now_us())
        self._positions = {**self._positions, **_decoded(reading.positions)}
        self._changed = True

    def _refuse(self, entries: Sequence[Entry]) -> None:
        """Called in the thread that counts: what is no record is with the dead letters before it is saved as read."""
        assert self._loop is not None, "a step is under way"
        letters = letters_of(entries, self._parts.topics, self.number)
        sending = asyncio.run_coroutine_threadsafe(self._parts.dead_letters.send(letters), self._loop)
        sending.result(REFUSE_SECONDS)
        self._refused += len(letters)

    async def _let_go(self) -> None:
        await _in_thread(self._consumer.close)
        publisher, self._publisher = self._publisher, None
        if publisher is not None:
            try:
                await publisher.aclose()
            except Exception as error:  # noqa: BLE001  it may be what is broken, and another one takes its place
                _LOG.info("the publisher of partition %d did not close well: %r", self.number, error)

    def _stand_still(self, error: Exception) -> None:
        known = isinstance(error, PointsmanError | sqlite3.Error | TimeoutError)
        trouble = str(error) if known and str(error) else f"{type(error).__name__}: {error}"
        if trouble != self.trouble:
            _LOG.warning("partition %d stands still: %s", self.number, trouble, exc_info=None if known else error)
        self._pause = min(max(PAUSE_SECONDS, 2 * self._pause), PAUSE_SECONDS_MAX)
        self._stand("standing still", trouble)

    def _stand(self, standing: Standing, trouble: str | None) -> None:
        if standing == "paused" and self.standing != "paused":
            _LOG.error("partition %d is paused: %s", self.number, trouble)
        if standing == "counting" and self.standing != "opening":
            _LOG.info("partition %d counts again", self.number)
        self.standing, self.trouble = standing, trouble


async def _in_thread(work: Callable[..., T], *given: Any) -> T:
    """Whoever is cancelled meanwhile waits for the end first: the files are this thread's until then."""
    working = asyncio.ensure_future(asyncio.to_thread(work, *given))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _encoded(positions: Mapping[str, int]) -> dict[str, bytes]:
    return {topic: b"%d" % offset for topic, offset in positions.items()}


def _decoded(positions: Mapping[str, bytes]) -> dict[str, int]:
    return {topic: msgspec.json.decode(offset, type=int) for topic, offset in positions.items()}
