"""Membership in the group of monitor workers, and the loop: poll, count each partition in its turn, publish now and then.

Enters: the stream of the group, and what partitions are made of. Leaves: when told to stop, with everything counted that was
read, published, and the group left. Never counts by itself; a partition in trouble never stops the others.

One step counts at a time, so that memory holds one step: batches are held until there are enough of one partition, or until
they have waited `TICK_SECONDS`. A restore, a publication or a pause of one partition goes on beside the others' counting.

Bound: `HELD_TICKS` steps' worth of records are held; then the partition that has most is counted before more is read.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final, Protocol

from contracts.errors import Unavailable
from monitor.fleet.partition import Partition, Parts
from prediction_log.kafka.decoding import Batch

TICK_SECONDS: Final = 0.2
"""How long records wait for others of their partition."""
POLL_MS: Final = 100
HELD_TICKS: Final = 4
PUBLISH_SECONDS: Final = 2.0
"""How often counts are published; other workers and readers are behind by as much."""
PAUSE_SECONDS: Final = 0.5
PAUSE_SECONDS_MAX: Final = 15.0
SILENCE_SECONDS: Final = 60.0
"""A turn of the loop that takes longer than this means that the worker is stuck."""

_LOG = logging.getLogger("pointsman.monitor")

Moved = Callable[[set[int]], Awaitable[None]]


class Streams(Protocol):
    """What the group needs of a stream."""

    async def start(self) -> None:
        """Join the group."""

    async def poll(self, timeout_ms: int) -> dict[int, Batch]:
        """What came in."""

    def seek(self, p: int, positions: Mapping[str, int]) -> None:
        """Give partition p from these offsets on."""

    def pause(self, p: int) -> None:
        """Give nothing of partition p until the next `seek`."""

    def ends(self, p: int) -> dict[str, int]:
        """Where the topics of partition p ended when they were last asked."""

    async def commit(self, positions: Mapping[tuple[str, int], int]) -> None:
        """Tell Kafka, for tools that show lags."""

    async def aclose(self) -> None:
        """Leave the group."""


class Group:
    """One worker. `make_stream(assigned, revoked)` makes a member that reads `topics`; states live in `directory`, by
    partition.
    """

    def __init__(
        self,
        make_stream: Callable[[Moved, Moved], Streams],
        parts: Parts,
        directory: Path,
        *,
        records_max: int,
        topics: Collection[str],
    ) -> None:
        self._topics = frozenset(topics)
        self._make_stream = make_stream
        self._parts = parts
        self._directory = directory
        self._records_max = records_max
        self._owned: dict[int, Partition] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._trouble: str | None = "not in the group yet"
        self._turned_at: float | None = None
        self._was_assigned = False
        self._one_at_a_time = asyncio.Lock()
        self._lags: dict[int, int] = {}

    @property
    def partitions(self) -> list[Partition]:
        """The partitions that it owns now, by number."""
        return [self._owned[number] for number in sorted(self._owned)]

    def not_ready(self) -> str | None:
        """Why some of what is sent is not counted at the moment; null where all of it is."""
        clock = self._parts.clock
        if self._trouble is not None:
            return self._trouble
        if not self._was_assigned:
            return "the group has not said yet which partitions to count"
        if self._turned_at is not None and clock() - self._turned_at > SILENCE_SECONDS:
            return f"the last turn began {clock() - self._turned_at:.0f} s ago"
        stuck = [f"partition {one.number} is {one.standing}: {one.trouble}" for one in self.partitions if one.trouble]
        return "; ".join(stuck[:3]) + (f"; and {len(stuck) - 3} more" if len(stuck) > 3 else "") if stuck else None

    def lag_records(self) -> int:
        """Messages of the partitions that it owns and has not counted, as far as Kafka has said."""
        return sum(self._lags.get(one.number, 0) for one in self.partitions)

    async def run(self, stop: asyncio.Event) -> None:
        """Be a member until `stop` is set; join again after any trouble."""
        pause = PAUSE_SECONDS
        while not stop.is_set():
            started = self._parts.clock()
            try:
                await self._be_member(stop)
            except Unavailable as error:
                self._out_of_group(str(error))
            except Exception as error:  # noqa: BLE001  a bug of ours must not take the pages away
                _LOG.exception("the worker left its group")
                self._out_of_group(f"{type(error).__name__}: {error}")
            if self._parts.clock() - started > PAUSE_SECONDS_MAX:
                pause = PAUSE_SECONDS
            if not stop.is_set():
                await _wait(stop, pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
        self._trouble = "stopped"

    def _out_of_group(self, trouble: str) -> None:
        if trouble != self._trouble:
            _LOG.warning("not in the group: %s", trouble)
        self._trouble = trouble

    async def _be_member(self, stop: asyncio.Event) -> None:
        stream = self._make_stream(self._assigned, self._revoked)
        left = asyncio.Event()
        publishing = asyncio.create_task(self._publish_now_and_then(stream, left))
        try:
            self._was_assigned = False
            await stream.start()
            self._trouble = None
            while not stop.is_set() and not any(one.standing == "lost" for one in self._owned.values()):
                self._turned_at = self._parts.clock()
                await self._turn(stream)
        finally:
            left.set()
            await publishing
            await self._close(set(self._owned))
            await stream.aclose()

    async def _turn(self, stream: Streams) -> None:
        """Seek what is open, read if there is room, count what is due."""
        self._tend(stream)
        held = sum(one.held for one in self._owned.values())
        room = held < HELD_TICKS * self._records_max
        if room:
            for number, batch in (await stream.poll(POLL_MS)).items():
                if number in self._owned:
                    self._owned[number].offer(batch)
        for one in self._due(anyway=not room):
            async with self._one_at_a_time:
                await one.take()

    def _due(self, *, anyway: bool) -> list[Partition]:
        """Those to be counted now; where there is no room for more, at least the fullest."""
        now = self._parts.clock()
        holding = [one for one in self.partitions if one.offered_at is not None]
        due = [
            one
            for one in holding
            if not one.busy and (one.held >= self._records_max or now - (one.offered_at or now) >= TICK_SECONDS)
        ]
        if not due and anyway and holding:
            due = [max(holding, key=lambda one: one.held)]
        return due

    def _tend(self, stream: Streams) -> None:
        """Between two polls, so that nothing read before a seek is taken for what comes after it."""
        for number, one in self._owned.items():
            task = self._opening.get(number)
            if task is None and one.standing in {"standing still", "paused"}:
                stream.pause(number)
                self._opening[number] = asyncio.create_task(one.opened())
            elif task is not None and task.done():
                del self._opening[number]
                stream.seek(number, one.positions)

    async def _assigned(self, numbers: set[int]) -> None:
        """Called while no heartbeat is sent: what takes long goes on beside."""
        self._was_assigned = True
        for number in sorted(numbers - self._owned.keys()):
            self._owned[number] = Partition(number, self._directory / str(number), self._parts)
            self._opening[number] = asyncio.create_task(self._owned[number].opened())

    async def _revoked(self, numbers: set[int]) -> None:
        await self._close(numbers & self._owned.keys())

    async def _close(self, numbers: set[int]) -> None:
        closing = {number: self._owned.pop(number) for number in numbers}
        for number in closing:
            task = self._opening.pop(number, None)
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        await asyncio.gather(*(one.aclose() for one in closing.values()))

    async def _publish_now_and_then(self, stream: Streams, left: asyncio.Event) -> None:
        while not left.is_set():
            await _wait(left, PUBLISH_SECONDS)
            for one in self.partitions:
                if not left.is_set():
                    async with self._one_at_a_time:
                        await one.take()  # also what was found beside the records
                    await one.publish()
                    await self._commit(stream, one)

    async def _commit(self, stream: Streams, one: Partition) -> None:
        """Only for tools that show lags: where to go on is in the state."""
        if one.number in self._owned and one.standing == "counting":
            offsets = {(topic, one.number): at for topic, at in one.positions.items() if topic in self._topics}
            ends = stream.ends(one.number)
            self._lags[one.number] = sum(max(0, end - one.positions.get(topic, 0)) for topic, end in ends.items())
            await stream.commit(offsets)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
