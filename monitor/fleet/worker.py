"""The monitor as a worker of a fleet: makes its parts, joins the group, follows everybody's summaries, and says how it is.

Enters: settings, and an event that says stop. Leaves: when what was read is counted and published. Starting needs neither
Kafka nor the registry: what is away is asked again, and `not_ready` tells. Never answers a question: whoever does reads the
view, the file in which the summaries of all workers are added up.
"""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from contracts.errors import InvalidSettings, Unavailable
from contracts.settings import KafkaOptions, Settings
from contracts.standing import MonitorStanding
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.join_store import join_memory
from monitor.counts.state import FILE_NAME
from monitor.fleet.dead_letters import DeadLetters
from monitor.fleet.group import Group, Moved
from monitor.fleet.host_reports import HostReports
from monitor.fleet.partition import Parts
from monitor.fleet.publishing import Publisher
from monitor.fleet.restoring import restore
from monitor.fleet.view import FILE_NAME as VIEW_FILE_NAME
from monitor.fleet.view import View
from monitor.member import member_name
from monitor.pages.standing import OwnPartition
from prediction_log.kafka.stream import KafkaStream
from prediction_log.kafka.topics import ensure_topics, topics_of

FOLDER: Final = "monitor"
COLLECTED_AFTER: Final = 200_000
"""Objects more than before, after which the cycle collector looks at them; a step's worth are about as many."""
PAUSE_SECONDS: Final = 1.0
PAUSE_SECONDS_MAX: Final = 5.0

_LOG = logging.getLogger("pointsman.monitor")


class FleetMonitor:
    """One worker. `catalogue` says what versions are like; `now_us` is the time of day."""

    def __init__(self, settings: Settings, catalogue: Catalogue, now_us: Callable[[], int]) -> None:
        self.member = member_name(settings.state_dir)
        self.folder = settings.state_dir / FOLDER
        self.path = self.folder / VIEW_FILE_NAME
        self.spool: Path | None = None
        self._settings = settings
        self._catalogue = catalogue
        self._now_us = now_us
        self._started_us = now_us()
        self._trouble: str | None = "Kafka was not asked for its topics yet"
        self._view = View(settings.kafka, settings.kafka_options, self.path)
        self._dead_letters = DeadLetters(settings.kafka, settings.kafka_options)
        self.group = self._group()
        self._reports = HostReports(settings.kafka, settings.kafka_options, lambda: self.group.partitions)

    def not_ready(self) -> str | None:
        """Why counts do not follow the topics at the moment, or answers not the counts; null where they do."""
        if self._trouble is not None:
            return self._trouble
        if not self._view.caught_up:
            return self._view.trouble or "the summaries of the other workers are being read"
        return self.group.not_ready()

    def standing(self) -> MonitorStanding:
        """How far it is."""
        partitions = self.group.partitions
        return MonitorStanding(
            member=self.member,
            started_us=self._started_us,
            at_us=self._now_us(),
            partitions=tuple(one.number for one in partitions),
            counted_records=sum(one.records for one in partitions),
            lag_records=self.group.lag_records(),
            caught_up=all(one.caught_up for one in partitions),
            watermark_us=max((one.watermark_us for one in partitions), default=0),
            problem=self.not_ready() or "",
        )

    def own(self) -> list[OwnPartition]:
        """The partitions that it has."""
        return [one.seen_from_outside() for one in self.group.partitions]

    async def run(self, stop: asyncio.Event) -> None:
        """Count until `stop` is set."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _collector_patient():
            try:
                await self._find_topics(stop)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._view.run(stop))
                    tasks.create_task(self._reports.run(stop))
                    await self.group.run(stop)
            finally:
                await self._dead_letters.aclose()

    async def _find_topics(self, stop: asyncio.Event) -> None:
        """The topics, made where they are missing; asked until they are there and can be used."""
        pause, settings = PAUSE_SECONDS, self._settings
        while not stop.is_set():
            try:
                warnings = await ensure_topics(settings.kafka, settings.kafka_options, settings.label_horizon_days)
            except (Unavailable, InvalidSettings) as error:
                if self._trouble != str(error):
                    _LOG.warning("%s", error)
                self._trouble = str(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
            else:
                for warning in warnings:
                    _LOG.warning("%s", warning)
                self._trouble = None
                return

    def _group(self) -> Group:
        settings, memory = self._settings, join_memory()
        address, options, horizon_days = settings.kafka, settings.kafka_options, settings.label_horizon_days
        topics = topics_of(options.prefix)
        parts = Parts(
            topics=topics,
            make_consumer=lambda path, refuse: Consumer(
                path, self._catalogue, horizon_days=horizon_days, memory=memory, refuse=refuse
            ),
            make_publisher=lambda p: Publisher(address, options, p, owner=self.member, now_us=self._now_us),
            restore=lambda p, directory: restore(address, options, p, directory, horizon_days),
            dead_letters=self._dead_letters,
            now_us=self._now_us,
            clock=time.monotonic,
        )
        return Group(
            self._stream,
            parts,
            self.folder,
            records_max=settings.monitor_tick_records_max,
            topics=(topics.predictions, topics.labels),
        )

    def _stream(self, assigned: Moved, revoked: Moved) -> KafkaStream:
        return KafkaStream(
            self._settings.kafka,
            self._settings.kafka_options,
            group=group_name(self._settings.kafka_options),
            member=self.member,
            assigned=assigned,
            revoked=revoked,
            records_max=self._settings.monitor_tick_records_max,
            kept=lambda: kept_partitions(self.folder),
        )


def group_name(options: KafkaOptions) -> str:
    """The consumer group of all monitor workers of a fleet."""
    return f"{options.prefix}-monitor"


@contextlib.contextmanager
def _collector_patient() -> Iterator[None]:
    """Each message is a dozen lists and tuples and no cycle: at its usual pace the cycle collector takes an eighth of the
    time to find nothing.
    """
    before = gc.get_threshold()
    gc.set_threshold(COLLECTED_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def kept_partitions(folder: Path) -> list[int]:
    """The partitions whose state lies here."""
    return sorted(int(path.parent.name) for path in folder.glob(f"*/{FILE_NAME}") if path.parent.name.isdigit())
