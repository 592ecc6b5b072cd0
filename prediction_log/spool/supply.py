"""The next segment, made ready ahead of time, so that changing to it is a swap of names.

Enters: `prepare`, called whenever the last one was taken. Leaves: a spare segment, or the disk's error; either way the
owner is told. After an error it tries again every `retry_seconds`, by itself, until it is stopped.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from prediction_log.spool.background import Background
from prediction_log.spool.clock import Clock
from prediction_log.spool.disk import Disk, demand_free
from prediction_log.spool.home import Home
from prediction_log.spool.segment import Header, Level
from prediction_log.spool.segment_file import SegmentFile, create_segment


class Terms(NamedTuple):
    """What a writer promises, and by which bounds. `retry_seconds`: how often a broken log tries to be whole again."""

    durability: Level
    segment_bytes: int
    segment_seconds: float
    disk_reserve_bytes: int
    retry_seconds: float


class Surroundings(NamedTuple):
    """What a writer is given of the world."""

    clock: Clock
    disk: Disk
    background: Background
    loop: asyncio.AbstractEventLoop
    boot: int


class SegmentSupply:
    """Keeps one spare segment. `changed` is called on the loop with the error of an attempt, or None where it went well."""

    def __init__(
        self, home: Home, terms: Terms, world: Surroundings, changed: Callable[[BaseException | None], None]
    ) -> None:
        self.spare: SegmentFile | None = None
        self.preparing = False
        self._home = home
        self._terms = terms
        self._world = world
        self._changed = changed
        self._number = 0
        self._retry: asyncio.TimerHandle | None = None
        self._stopped = False

    def take(self, now_ns: int) -> SegmentFile:
        """The spare, in use from `now_ns` on; the next one is begun."""
        segment = self.spare
        assert segment is not None
        assert segment.used_ns is None
        segment.used_ns = now_ns
        self.spare = None
        self.prepare()
        return segment

    def prepare(self) -> None:
        """Make the next segment, or look whether there is space again where one is ready."""
        if self.preparing:
            return
        self.preparing = True
        if self.spare is None:
            self._number += 1
        self._world.background.run(self._make_ready, self._prepared, self.spare, self._number)

    def try_again_later(self) -> None:
        """Prepare in a while, unless that is under way already."""
        if self._retry is None and not self.preparing and not self._stopped:
            self._retry = self._world.loop.call_later(self._terms.retry_seconds, self._try_again)

    def stop(self) -> None:
        """No further attempts on its own."""
        self._stopped = True
        if self._retry is not None:
            self._retry.cancel()

    def _try_again(self) -> None:
        self._retry = None
        self.prepare()

    def _make_ready(self, spare: SegmentFile | None, number: int) -> SegmentFile | None:
        terms, clock, disk = self._terms, self._world.clock, self._world.disk
        log_id, directory = self._home.log_id, self._home.directory
        if spare is not None:
            demand_free(disk, directory, terms.disk_reserve_bytes)
            return None
        header = Header(log_id, self._world.boot, clock.now_us(), clock.mono_ns(), number, terms.durability)
        return create_segment(disk, directory, header, terms.segment_bytes, terms.disk_reserve_bytes)

    def _prepared(self, done: asyncio.Future[SegmentFile | None]) -> None:
        self.preparing = False
        error = done.exception()
        if error is not None:
            self.try_again_later()
        elif (made := done.result()) is not None:
            assert self.spare is None
            self.spare = made
        self._changed(error)
