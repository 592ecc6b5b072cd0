"""The monitor as a process's main task: makes its parts, counts, answers, and stops when told.

Enters: settings, a listening socket or none, and an event that says stop. Leaves: when the last tick is saved and the last
reply is out. Never decides what is counted or how it is judged.
"""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uvicorn

from contracts.settings import Settings
from monitor.answers import Answers
from monitor.catalogue import Catalogue
from monitor.consume import Consumer
from monitor.counting_loop import CountingLoop
from monitor.http import MonitorHttp
from monitor.policy import MonitorPolicy
from monitor.state import FILE_NAME
from monitor.version_facts import VersionFacts
from prediction_log.reader import SpoolReader
from registry_client.folder import FolderRegistry

GRACE_SECONDS: Final = 5
TICK_SECONDS: Final = 0.2
"""How often the log is looked at for new records."""
REGISTRY_SECONDS: Final = 30.0
"""How long a tick waits for the registry before it is tried again later."""


async def serve_monitor(settings: Settings, listener: socket.socket | None, stop: asyncio.Event) -> None:
    """Count and answer until `stop` is set, then count what is left in the log, for at most `drain_timeout_seconds`.

    Without a `listener` it listens on `monitor_host` and `monitor_port`.
    """
    path, spool = settings.state_dir / FILE_NAME, settings.state_dir / "spool"
    counting = CountingLoop(
        _consumer(settings, path, spool), _now_us, time.monotonic, tick_seconds=TICK_SECONDS
    )
    answers = Answers(path, spool, MonitorPolicy(), _now_us)
    server = _Server(_config(settings, MonitorHttp(answers, counting.not_ready, time.monotonic)))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(counting.run(stop, settings.drain_timeout_seconds))
            group.create_task(_stop_when(stop, server))
            await server.serve(sockets=None if listener is None else [listener])
            # A server that ends by itself, as where its port is taken, ends the monitor too.
            stop.set()
    finally:
        answers.close()


def _consumer(settings: Settings, path: Path, spool: Path) -> Consumer:
    registry = FolderRegistry(Path(settings.registry), settings.state_dir / "cache")
    facts = VersionFacts(registry, asyncio.get_running_loop(), REGISTRY_SECONDS)
    return Consumer(
        path,
        lambda positions: SpoolReader(spool, positions),
        Catalogue(facts.reference, facts.metadata),
        records_max=settings.monitor_tick_records_max,
        horizon_days=settings.label_horizon_days,
    )


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
