"""The loop around the tick: one after the other, without a pause while there is a backlog, until told to stop.

Enters: what counts, a pace, an event that says stop. Leaves: when what was logged by then is counted or time is up. A tick
that fails is tried again after a pause that doubles; nothing is lost meanwhile, for the log keeps it.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Callable
from typing import Final

from contracts.errors import CorruptLog, Unavailable
from monitor.counts.spool_source import SpoolCounter

PAUSE_SECONDS: Final = 0.2
PAUSE_SECONDS_MAX: Final = 10.0
SILENCE_SECONDS: Final = 60.0
"""A tick that takes longer than this means that the monitor is stuck."""

_LOG = logging.getLogger("pointsman.monitor")


class CountingLoop:
    """Ticks until `stop` is set. `now_us` is the time of day, `clock` gives seconds that never go back. `counted` are the
    records since it began.
    """

    def __init__(
        self, counter: SpoolCounter, now_us: Callable[[], int], clock: Callable[[], float], *, tick_seconds: float
    ) -> None:
        self._counter = counter
        self._now_us = now_us
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._ticked_at: float | None = None
        self._trouble: str | None = "no tick yet"
        self.counted = 0
        self.caught_up = False

    def not_ready(self) -> str | None:
        """Why the counts do not follow the log at the moment; null where they do."""
        if self._trouble is None and self._ticked_at is not None and self._clock() - self._ticked_at > SILENCE_SECONDS:
            return f"the last tick began {self._clock() - self._ticked_at:.0f} s ago"
        return self._trouble

    async def run(self, stop: asyncio.Event, drain_seconds: float) -> None:
        """Count until `stop` is set, then what is left, for at most `drain_seconds`."""
        pause = PAUSE_SECONDS
        try:
            while not stop.is_set():
                caught_up = await self._tick()
                if caught_up is None:
                    await _wait(stop, pause)
                    pause = min(2 * pause, PAUSE_SECONDS_MAX)
                else:
                    pause = PAUSE_SECONDS
                    await _wait(stop, self._tick_seconds if caught_up else 0.0)
            give_up_at = self._clock() + drain_seconds
            while await self._tick() is False and self._clock() < give_up_at:
                continue
        finally:
            self._trouble = "stopped"
            self._counter.close()

    async def _tick(self) -> bool | None:
        """Whether the log was read to its end; null where the tick failed."""
        self._ticked_at = self._clock()
        try:
            tick = await asyncio.to_thread(self._counter.tick, self._now_us())
        except (Unavailable, CorruptLog, sqlite3.Error) as error:
            self._stands_still(str(error), traceback=False)
            return None
        except Exception as error:  # noqa: BLE001  a bug of ours must not take the reports away: readiness tells of it
            self._stands_still(f"{type(error).__name__}: {error}", traceback=True)
            return None
        if self._trouble is not None:
            _LOG.info("counting")
        self._trouble = None
        self.counted += tick.entries - tick.duplicates
        self.caught_up = tick.caught_up
        return tick.caught_up

    def _stands_still(self, trouble: str, *, traceback: bool) -> None:
        """Said once for each trouble in a row, not at every try."""
        if self._trouble != trouble:
            _LOG.warning("counting stands still: %s", trouble, exc_info=traceback)
        self._trouble = trouble


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
