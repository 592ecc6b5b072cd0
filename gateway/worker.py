"""One worker: makes every part of the request path, hands it over, serves, and drains.

Enters: settings, a slot, a listening socket that the host's workers share, and an event that says stop. Leaves: when the
last answer and the last record are out. Never decides anything about traffic.
"""

import asyncio
import gc
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import uvicorn

from contracts.plan import Change
from contracts.settings import Settings
from contracts.wire import encode
from gateway import metrics
from gateway.answer import Gateway
from gateway.batching import Batcher
from gateway.clock import Clock, system_clock
from gateway.endpoints import DataPlane
from gateway.exposition import page
from gateway.fast_lane import FastLane, Lane
from gateway.http import Inference
from gateway.last_good import LastGood
from gateway.loading import Loaded
from gateway.metrics import Meter
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.plans import Models, every
from gateway.recorder import Recorder
from gateway.records import Origin
from gateway.serving import Runner
from gateway.sessions import Session, load_session
from gateway.shadow import Shadows
from gateway.worker_status import WorkerStatus, read_statuses, write_status
from prediction_log.segment import Kind
from prediction_log.writer import LogWriter, open_writer
from registry_client.folder import FolderRegistry

HEARTBEAT_SECONDS = 1.0
SHADOW_DRAIN_SECONDS = 2.0
SWEEP_SECONDS = 1.0
SHADOW_NICENESS = 10
GC_ALLOCATIONS = 50_000


class Worker:
    """The parts of one worker, and what they tell about themselves."""

    def __init__(self, settings: Settings, slot: str, log: LogWriter | None, clock: Clock) -> None:
        self._settings = settings
        self._slot = slot
        self._log = log
        self._clock = clock
        self._started_us = clock.now_us()
        self._answering = ThreadPoolExecutor(settings.session_threads, thread_name_prefix="answers")
        self._shadowing = ThreadPoolExecutor(1, thread_name_prefix="shadows", initializer=_step_back)
        self._metrics_dir = settings.state_dir / "metrics"
        self._workers_dir = settings.state_dir / "workers"
        self.meter = Meter(metrics.load(self._metrics_dir, slot))
        origin = Origin(f"{slot}/{os.getpid()}", version("pointsman"))
        self.recorder = Recorder(log, self.meter, clock, origin)
        self.shadows = Shadows(
            self.recorder,
            clock,
            in_flight_max=settings.shadow_queue_max,
            timeout_ms=settings.request_timeout_ms,
        )
        self.store = SqlitePlanStore(settings.state_dir / "plans.sqlite")
        registry = FolderRegistry(Path(settings.registry), settings.state_dir / "cache")
        loaded = Loaded(registry, self._load, self._runner)
        self.models = Models(
            registry,
            self.store,
            loaded,
            LastGood(settings.state_dir / "last_good"),
            self._audit,
            clock,
            self.report,
        )
        gateway = Gateway(self.models.serving, self.recorder, self.shadows, clock)
        self.inference = Inference(
            gateway, self.meter, clock, timeout_ms=settings.request_timeout_ms, rows_max=settings.batch_rows_max
        )
        self.data_plane = DataPlane(
            self.inference,
            self.models,
            log,
            self.meter,
            self._metrics_page,
            clock.now_us,
            body_bytes_max=settings.body_bytes_max,
        )

    def report(self) -> None:
        """Write down what this worker has applied and loaded, for the admin API and the supervisor."""
        servings = self.models.servings
        status = WorkerStatus(
            slot=self._slot,
            pid=os.getpid(),
            started_us=self._started_us,
            applied={model: serving.points.plan.revision for model, serving in servings.items()},
            loaded={model: tuple(serving.runners) for model, serving in servings.items()},
            errors=dict(self.models.errors),
            at_us=self._clock.now_us(),
        )
        write_status(self._workers_dir, status)

    async def heartbeat(self) -> None:
        """Show that the event loop turns."""
        self.report()

    async def flush_metrics(self) -> None:
        """Write the counts where every worker's metrics page finds them."""
        self._save_metrics()

    def close(self) -> None:
        """Write the last counts, leave the host's list, and let the threads go."""
        self._save_metrics()
        (self._workers_dir / f"{self._slot}.json").unlink(missing_ok=True)
        self._answering.shutdown(wait=False, cancel_futures=True)
        self._shadowing.shutdown(wait=False, cancel_futures=True)

    def _metrics_page(self) -> bytes:
        self._save_metrics()
        return page(self._metrics_dir, [status.slot for status in read_statuses(self._workers_dir)])

    def _save_metrics(self) -> None:
        servings = self.models.servings
        self._metrics_dir.mkdir(parents=True, exist_ok=True)
        gauges = metrics.Gauges(
            revisions={model: serving.points.plan.revision for model, serving in servings.items()},
            loaded={model: len(serving.runners) for model, serving in servings.items()},
            log_bytes=self._log.bytes if self._log else 0,
            log_writable=self._log is not None and self._log.available,
        )
        metrics.save(self._metrics_dir, self._slot, self.meter.snapshot(gauges))

    async def _load(self, fetched: Any) -> Session:
        return await load_session(fetched, threads=self._settings.session_threads)

    def _runner(self, session: Session) -> Runner:
        fetched = session.fetched
        return Runner(
            f"version {fetched.version} of {fetched.model!r}",
            session,
            self._batcher(session, self._answering, self._settings.inline_run_us_max),
            self._batcher(session, self._shadowing, -1.0),
        )

    def _batcher(self, session: Session, executor: ThreadPoolExecutor, inline_us_max: float) -> Batcher:
        return Batcher(
            session,
            executor,
            self._clock,
            rows_max=self._settings.batch_rows_max,
            queue_max=self._settings.queue_requests_max,
            inline_us_max=inline_us_max,
        )

    async def _audit(self, change: Change) -> None:
        if self._log is not None:
            await self._log.append(Kind.AUDIT, encode(change))


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process decides when to stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield


async def serve_worker(settings: Settings, slot: str, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then drain: not ready, no new connections, finish, flush, close."""
    clock = system_clock()
    log = await _open_log(settings, slot)
    worker = Worker(settings, slot, log, clock)
    lane = Lane(worker.inference.infer, worker.inference.refuse, settings.body_bytes_max)
    server = _Server(_uvicorn_config(settings, worker, lane))
    async with AsyncExitStack() as stack:
        stack.callback(worker.close)
        if log is not None:
            stack.push_async_callback(log.aclose)
        stack.push_async_callback(worker.store.aclose)
        stack.push_async_callback(worker.shadows.drain, SHADOW_DRAIN_SECONDS)
        ticks = asyncio.create_task(_ticks(settings, worker, lane))
        stack.callback(ticks.cancel)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        worker.data_plane.draining = True
        server.should_exit = True
        await serving


async def _open_log(settings: Settings, slot: str) -> LogWriter | None:
    if not settings.log_enabled:
        return None
    return await open_writer(
        settings.state_dir / "spool",
        slot,
        durability=settings.log_durability,
        segment_bytes=settings.log_segment_bytes,
        segment_seconds=settings.log_segment_seconds,
        disk_reserve_bytes=settings.log_disk_reserve_bytes,
    )


def _uvicorn_config(settings: Settings, worker: Worker, lane: Lane) -> uvicorn.Config:
    def connection(**arguments: Any) -> FastLane:
        return FastLane(lane, **arguments)

    return uvicorn.Config(
        worker.data_plane.app(),
        http=connection,  # type: ignore[arg-type]  # uvicorn only ever calls it
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=int(settings.drain_timeout_seconds),
    )


async def _ticks(settings: Settings, worker: Worker, lane: Lane) -> None:
    """Everything that happens beside answering, for as long as the worker lives."""

    async def sweep() -> None:
        lane.sweep(asyncio.get_running_loop().time())

    async with asyncio.TaskGroup() as group:
        group.create_task(every(HEARTBEAT_SECONDS, worker.heartbeat, "heartbeat"))
        group.create_task(every(metrics.FLUSH_SECONDS, worker.flush_metrics, "metrics"))
        group.create_task(every(SWEEP_SECONDS, sweep, "idle connections"))
        await worker.models.start()
        spare_the_collector()
        group.create_task(every(settings.plan_poll_ms / 1000, worker.models.plan_tick, "plan store"))
        group.create_task(every(settings.registry_poll_seconds, worker.models.registry_tick, "registry"))


def spare_the_collector() -> None:
    """Requests make no cycles: let the garbage collector pass over what is loaded, and look at the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


def _step_back() -> None:
    """Let the shadows' thread run only where nobody else wants the core (Linux gives each thread its own niceness)."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, 0, SHADOW_NICENESS)
