"""The monitor as a process's main task: makes its parts, counts, answers, and stops when told.

Enters: settings, a listening socket or none, and an event that says stop. Leaves: when the last tick is saved and the last
reply is out. With `kafka` set it is a worker of a fleet, without it counts the spool beside it; what it answers is the same.
Never decides what is counted or how it is judged.
"""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import uvicorn

from contracts.settings import Settings
from contracts.standing import MonitorStanding
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.version_facts import VersionFacts
from monitor.fleet_report import keep_telling, open_report
from monitor.measures.policy import MonitorPolicy
from monitor.pages.answers import Answers
from monitor.pages.http import MonitorHttp
from monitor.pages.standing import OwnPartition
from registry_client.choice import open_registry
from registry_client.registry import RegistryClient

GRACE_SECONDS: Final = 5
REGISTRY_SECONDS: Final = 30.0
"""How long a tick waits for the registry before it is tried again later."""


class Counts(Protocol):
    """What counts. `path` is the file from which questions are answered, `spool` the log beside it, if that is read."""

    path: Path
    spool: Path | None

    def not_ready(self) -> str | None:
        """Why it does not follow the log at the moment; null where it does."""

    def standing(self) -> MonitorStanding:
        """How far it is."""

    def own(self) -> list[OwnPartition]:
        """The partitions that it has, of a fleet's."""

    async def run(self, stop: asyncio.Event) -> None:
        """Count until `stop` is set."""


async def serve_monitor(settings: Settings, listener: socket.socket | None, stop: asyncio.Event) -> None:
    """Count and answer until `stop` is set, then count what is left in the log, for at most `drain_timeout_seconds`.

    Without a `listener` it listens on `monitor_host` and `monitor_port`.
    """
    registry = open_registry(settings.registry, settings.state_dir / "cache", os.environ)
    counting = _counts(settings, registry)
    answers = Answers(counting.path, counting.spool, MonitorPolicy(), _now_us, counting.own)
    server = _Server(_config(settings, MonitorHttp(answers, counting.not_ready, time.monotonic)))
    report = open_report(settings.redis, settings.state_dir)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(counting.run(stop))
            group.create_task(keep_telling(report, counting.standing, stop))
            group.create_task(_stop_when(stop, server))
            await server.serve(sockets=None if listener is None else [listener])
            # A server that ends by itself, as where its port is taken, ends the monitor too.
            stop.set()
    finally:
        answers.close()
        await report.aclose()
        await registry.aclose()


def embedded_consumer(settings: Settings, path: Path) -> Consumer:
    """A consumer as the monitor of one machine has it, with its state at `path`. Needs a running event loop."""
    registry = open_registry(settings.registry, settings.state_dir / "cache", os.environ)
    return Consumer(path, _catalogue(registry), horizon_days=settings.label_horizon_days)


def _counts(settings: Settings, registry: RegistryClient) -> Counts:
    catalogue = _catalogue(registry)
    if settings.kafka:
        from monitor.fleet.worker import FleetMonitor  # noqa: PLC0415  one machine alone needs no Kafka client

        return FleetMonitor(settings, catalogue, _now_us)
    from monitor.counts.embedded import EmbeddedMonitor  # noqa: PLC0415  likewise

    return EmbeddedMonitor(settings, catalogue, _now_us)


def _catalogue(registry: RegistryClient) -> Catalogue:
    facts = VersionFacts(registry, asyncio.get_running_loop(), REGISTRY_SECONDS)
    return Catalogue(facts.reference, facts.metadata)


def _config(settings: Settings, http: MonitorHttp) -> uvicorn.Config:
    return uvicorn.Config(
        http.app(),
        host=settings.monitor_host,
        port=settings.monitor_port,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


async def _stop_when(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


def _now_us() -> int:
    return time.time_ns() // 1000
