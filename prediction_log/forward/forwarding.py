"""The role `forward`: one forwarder for one spool, its housekeeping, and what it says of itself.

Enters: settings and an event that says stop. Leaves: when what was committed is sent, or after the drain's few seconds; the
rest stays in the spool. Holds a lock on the spool for as long as it lives: a second forwarder is refused. Needs nobody at
start: without Kafka it waits, tries again, and says so in `<state_dir>/forwarder.json`.
"""

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from contracts.errors import InvalidSettings
from contracts.settings import Settings
from prediction_log.forward.backlog import LogBacklog, Throttle
from prediction_log.forward.feed import World
from prediction_log.forward.feeds import Feeds
from prediction_log.forward.forwarder import Forwarder
from prediction_log.forward.outgoing import manifest_message
from prediction_log.forward.shipping import BATCH_BYTES_MAX
from prediction_log.forward.status import ForwarderStatus, write_status
from prediction_log.forward.tally import Tally
from prediction_log.kafka.producer import open_producer
from prediction_log.kafka.topics import ensure_topics, topics_of
from prediction_log.spool.clock import Clock, SystemClock
from prediction_log.spool.disk import Disk, boot_of_this_machine, direct

LOCK_NAME: Final = ".forwarder.lock"
DEAD_NAME: Final = "dead"
WATCH_SECONDS: Final = 1.0
MANIFEST_SECONDS: Final = 10.0
SWEEP_SECONDS: Final = 10.0
MANIFEST_LOGS_MAX: Final = 1000
HOUR_US: Final = 3_600_000_000

_LOG: Final = logging.getLogger(__name__)


async def serve_forwarder(
    settings: Settings, stop: asyncio.Event, *, clock: Clock | None = None, disk: Disk = direct
) -> None:
    """Forward the spool of `state_dir` until `stop` is set. Raises InvalidSettings where there is no Kafka to forward to,
    or where another forwarder has the spool.
    """
    if not settings.kafka:
        raise InvalidSettings("kafka is not set: there is nowhere to forward to; set it to the brokers' addresses")
    clock = clock or SystemClock()
    spool = settings.state_dir / "spool"
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it repeats itself ten times a second; we say it once
    with _sole_forwarder(spool):
        tally = Tally()
        world = World(disk, boot_of_this_machine(), settings.kafka_options.partitions, settings.state_dir / DEAD_NAME)
        feeds = Feeds(spool, world, lambda: clock.mono_ns() / 1e9)
        throttle = Throttle(settings.kafka_options.backlog_bytes_per_second_max, lambda: clock.mono_ns() / 1e9)
        topics = topics_of(settings.kafka_options.prefix)
        forwarder = Forwarder(feeds, Connector(settings).connect, topics, throttle, tally, clock)
        watch = Watch(settings, feeds, forwarder, throttle, tally, clock)
        watching = asyncio.ensure_future(watch.run())
        try:
            await _first_ended(asyncio.ensure_future(forwarder.run(stop)), watching)
        finally:
            watching.cancel()
            await asyncio.wait({watching})
            tally.state = "stopped"
            await watch.look()


async def _first_ended(working: "asyncio.Task[None]", watching: "asyncio.Task[None]") -> None:
    """Return when the work is done; raise what ended either of them."""
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        await working
    finally:
        working.cancel()
        await asyncio.wait({working})


class Connector:
    """Makes producers; tells people once what is odd about the topics."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._told: set[str] = set()

    async def connect(self) -> AIOKafkaProducer:
        """A producer, after a look at the topics. Raises Unavailable and InvalidSettings."""
        address, options = self._settings.kafka, self._settings.kafka_options
        for warning in await ensure_topics(address, options, self._settings.label_horizon_days):
            if warning not in self._told:
                self._told.add(warning)
                _LOG.warning("%s", warning)
        return await open_producer(address, options, max_batch_size=BATCH_BYTES_MAX)


class Watch:
    """Once a second: how much waits, the status file, and in turn manifests and the removal of old segments."""

    def __init__(
        self, settings: Settings, feeds: Feeds, forwarder: Forwarder, throttle: Throttle, tally: Tally, clock: Clock
    ) -> None:
        self._settings = settings
        self._feeds = feeds
        self._forwarder = forwarder
        self._throttle = throttle
        self._tally = tally
        self._clock = clock
        self._started_us = clock.now_us()
        self._told = ""
        self._manifested = self._swept = self._looked = clock.mono_ns() / 1e9
        self._through = 0

    async def run(self) -> None:
        """Look again and again; logs that are begun while Kafka is away have a backlog too."""
        while True:
            now = self._clock.mono_ns() / 1e9
            self._discover()
            backlogs = await self.look()
            if now - self._manifested >= MANIFEST_SECONDS:
                self._manifested = now
                self._forwarder.announce(self._manifest(backlogs))
            if now - self._swept >= SWEEP_SECONDS:
                self._swept = now
                await self._sweep()
            await asyncio.sleep(WATCH_SECONDS)

    def _discover(self) -> None:
        try:
            self._feeds.discover()
        except OSError as error:
            self._tell(f"the spool cannot be looked through: {error}")

    async def look(self) -> Mapping[str, LogBacklog]:
        """Measure the backlog and write the status."""
        backlogs = await asyncio.to_thread(self._feeds.backlogs)
        waiting = sum(backlog.bytes for backlog in backlogs.values())
        now, through = self._clock.mono_ns() / 1e9, waiting + self._tally.stored
        if now > self._looked:
            stored_per_second = (through - self._through) / (now - self._looked) if self._through else 0.0
            self._throttle.observe(waiting, stored_per_second * self._tally.growth)
        self._looked, self._through = now, through
        try:
            write_status(self._settings.state_dir, self._status(backlogs))
        except OSError as error:
            self._tell(f"the forwarder's status cannot be written: {error}")
        return backlogs

    def _status(self, backlogs: Mapping[str, LogBacklog]) -> ForwarderStatus:
        tally = self._tally
        oldest = [backlog.oldest_us for backlog in backlogs.values() if backlog.oldest_us is not None]
        return ForwarderStatus(
            at_us=self._clock.now_us(),
            started_us=self._started_us,
            pid=os.getpid(),
            state=tally.visible_state,
            trouble=tally.trouble or tally.unsaved or next(iter(self._feeds.troubles), None),
            logs=len(self._feeds.active),
            sent=tally.sent,
            acked=tally.acked,
            bytes=tally.bytes,
            dead=tally.dead,
            rebuilds=tally.rebuilds,
            repairs=tally.repairs,
            removed=tally.removed,
            backlog_records=sum(backlog.records for backlog in backlogs.values()),
            backlog_bytes=sum(backlog.bytes for backlog in backlogs.values()),
            oldest_unsent_us=min(oldest, default=None),
        )

    def _manifest(self, backlogs: Mapping[str, LogBacklog]) -> Any:
        logs = []
        for feed in self._feeds.active[:MANIFEST_LOGS_MAX]:
            acked = feed.acked
            backlog = backlogs.get(feed.log.log_id)
            logs.append(
                {
                    "slot": feed.log.slot,
                    "log_id": feed.log.log_id,
                    "segment": acked.position.segment,
                    "committed": max(backlog.committed if backlog else 0, acked.position.seq),
                    "acked": acked.position.seq,
                    "lanes": {lane: last for lane, (last, _) in acked.lanes.items()},
                }
            )
        return manifest_message(socket.gethostname(), self._clock.now_us(), logs)

    async def _sweep(self) -> None:
        before_us = self._clock.now_us() - int(self._settings.kafka_options.spool_retain_hours * HOUR_US)
        try:
            await asyncio.to_thread(self._feeds.sweep, before_us)
        except OSError as error:
            self._tell(f"segments that Kafka has cannot be removed: {error}")
        self._tally.removed = self._feeds.removed

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            self._told = trouble
            _LOG.warning("%s", trouble)


@contextmanager
def _sole_forwarder(spool: Path) -> Iterator[None]:
    """Hold the spool: two forwarders would move one cursor in turn."""
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(spool / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 200, 0).decode(errors="replace")
        os.close(fd)
        raise InvalidSettings(f"spool {spool} is being forwarded already, by {holder}: stop that one first") from None
    try:
        os.truncate(fd, 0)
        os.pwrite(fd, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        os.close(fd)
