"""The monitor of one machine: it counts the spool of its own state directory, with nobody's help.

Enters: settings, and an event that says stop. Leaves: when what was logged by then is counted. Never answers a question:
whoever does reads the state's file.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from contracts.settings import Settings
from contracts.standing import MonitorStanding
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.counting_loop import CountingLoop
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from monitor.counts.state import FILE_NAME
from monitor.member import member_name
from monitor.pages.standing import OwnPartition
from prediction_log.spool.reader import SpoolReader

TICK_SECONDS: Final = 0.2
"""How often the log is looked at for new records."""


class EmbeddedMonitor:
    """The only monitor. `catalogue` says what versions are like; `now_us` is the time of day."""

    def __init__(self, settings: Settings, catalogue: Catalogue, now_us: Callable[[], int]) -> None:
        self.member = member_name(settings.state_dir)
        self.path = settings.state_dir / FILE_NAME
        self.spool: Path | None = settings.state_dir / "spool"
        self._drain_seconds = settings.drain_timeout_seconds
        self._now_us = now_us
        self._started_us = now_us()
        self._consumer = Consumer(self.path, catalogue, horizon_days=settings.label_horizon_days)
        source = SpoolSource(lambda positions: SpoolReader(settings.state_dir / "spool", positions))
        counter = SpoolCounter(source, self._consumer, records_max=settings.monitor_tick_records_max)
        self._loop = CountingLoop(counter, now_us, time.monotonic, tick_seconds=TICK_SECONDS)

    def not_ready(self) -> str | None:
        """Why the counts do not follow the log at the moment; null where they do."""
        return self._loop.not_ready()

    def standing(self) -> MonitorStanding:
        """How far it is."""
        return MonitorStanding(
            member=self.member,
            started_us=self._started_us,
            at_us=self._now_us(),
            counted_records=self._loop.counted,
            caught_up=self._loop.caught_up,
            watermark_us=self._consumer.progress.watermark_us,
            problem=self.not_ready() or "",
        )

    def own(self) -> list[OwnPartition]:
        """It has no partitions."""
        return []

    async def run(self, stop: asyncio.Event) -> None:
        """Count until `stop` is set, then what is left, for at most `drain_timeout_seconds`."""
        await self._loop.run(stop, self._drain_seconds)
