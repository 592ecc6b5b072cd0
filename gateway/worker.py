"""One worker: makes every part of the request path, hands it over, serves, and drains.

Enters: settings, a slot, a listening socket that the host's workers share, and an event that says stop. Leaves: when the
last answer and the last record are out. Never decides anything about traffic.
"""

import asyncio
import gc
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from importlib.metadata import version
from typing import Any, NamedTuple

import uvicorn

from contracts.plan import Change
from contracts.promotion import AliasMove, Promotion
from contracts.settings import Settings
from contracts.wire import encode
from gateway import metrics
from gateway.answer import Gateway
from gateway.clock import Clock, system_clock
from gateway.edge.connection_edge import Edge, fitted_to_process
from gateway.edge.connection_limits import Limits
from gateway.edge.fast_lane import FastLane, Lane
from gateway.endpoints import DataPlane
from gateway.fleet.hinted_pause import HintedPause
from gateway.fleet.seam import applied_of
from gateway.fleet.shared_state import SharedState, shared_state
from gateway.http import Inference
from gateway.metrics import Meter
from gateway.models.batching import Batcher
from gateway.models.loading import Loaded
from gateway.models.serving import Runner
from gateway.models.sessions import Session, load_session
from gateway.models.slots import Slots, Threads
from gateway.models.version_states import VersionStates
from gateway.quota import Quota
from gateway.recorder import Recorder
from gateway.records import Origin
from gateway.reporting import Report
from gateway.server import Server
from gateway.shadow import Shadows
from gateway.traffic.last_good import LastGood
from gateway.traffic.plan_floor import Applied
from gateway.traffic.plans import Models, every
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import LogWriter, open_writer
from registry_client.choice import open_registry
from registry_client.registry import FetchedVersion, RegistryClient

HEARTBEAT_SECONDS = 1.0
SHADOW_DRAIN_SECONDS = 2.0
SHADOWS_MAX = 256
"""Shadows under way at once; one more is skipped, and the record says so."""
QUEUE_MAX = 1024
"""Requests that may wait for one version; one more is refused."""
SWEEP_SECONDS = 1.0
CACHE_SECONDS = 600.0
"""How often the cache hears which versions are in use."""
LOADING_PATIENCE_SECONDS = 10.0
"""A worker whose models take longer to load answers meanwhile that it is not ready."""
SHADOW_NICENESS = 10
NEVER_INLINE = -1.0
GC_ALLOCATIONS = 50_000


class Worker(NamedTuple):
    """The parts of one worker that are run, drained or closed."""

    models: Models
    gateway: Gateway
    inference: Inference
    shadows: Shadows
    data_plane: DataPlane
    registry: RegistryClient
    shared: SharedState
    meter: Meter
    report: Report
    pools: "Pools"

    def close(self) -> None:
        """Write the last counts and let the threads go."""
        self.report.leave(self.models)
        self.pools.close()


class Pools(NamedTuple):
    """The threads in which long runs happen, and those of the shadows, which run only where nobody else wants the core."""

    answers: Threads
    shadows: Threads

    def close(self) -> None:
        """Let the threads go; what they still run is nobody's any more."""
        for threads in self:
            threads.executor.shutdown(wait=False, cancel_futures=True)


def make_worker(settings: Settings, slot: str, log: LogWriter | None, clock: Clock) -> Worker:
    """Make every part and hand it what it needs."""
    meter = Meter(metrics.load(settings.state_dir / "metrics", slot))
    shared = shared_state(settings, clock)
    report = Report(shared.fleet, settings.state_dir, slot, log, meter, clock)
    recorder = Recorder(log, meter, clock, Origin(f"{slot}/{os.getpid()}", version("pointsman")))
    answering = ThreadPoolExecutor(settings.session_threads, thread_name_prefix="answers")
    shadowing = ThreadPoolExecutor(1, thread_name_prefix="shadows", initializer=_step_back)
    pools = Pools(Threads(answering, Slots(settings.session_threads)), Threads(shadowing, Slots(1)))
    registry = open_registry(settings.registry, settings.state_dir / "cache", os.environ)
    models = _make_models(settings, registry, shared, log, clock, pools, report)
    shadows = Shadows(recorder, clock, in_flight_max=SHADOWS_MAX, timeout_ms=settings.request_timeout_ms)
    gateway = Gateway(models.serving, recorder, shadows, clock)
    quota = Quota(settings.quota_requests_per_second) if settings.quota_requests_per_second else None
    inference = Inference(
        gateway, meter, clock, quota, timeout_ms=settings.request_timeout_ms, rows_max=settings.batch_rows_max
    )
    data_plane = DataPlane(
        inference,
        models,
        log,
        meter,
        lambda: report.page(models),
        clock,
        body_bytes_max=settings.body_bytes_max,
    )
    return Worker(models, gateway, inference, shadows, data_plane, registry, shared, meter, report, pools)


def _make_models(
    settings: Settings,
    registry: RegistryClient,
    shared: SharedState,
    log: LogWriter | None,
    clock: Clock,
    pools: Pools,
    report: Report,
) -> Models:
    async def load(fetched: FetchedVersion) -> Session:
        seconds = settings.model_load_timeout_seconds
        return await load_session(fetched, threads=settings.session_threads, seconds_max=seconds)

    async def audit(record: Change | AliasMove | Promotion) -> None:
        if log is not None:
            await log.append(Kind.AUDIT, encode(record))

    states = VersionStates(clock.now_us)
    loaded = Loaded(registry, load, lambda session: _runner(session, settings, clock, pools), states)
    last_good = LastGood(settings.state_dir / "last_good")

    async def elsewhere(model: str) -> Applied:
        return await applied_of(model, last_good, shared.fleet)

    models = Models(
        registry,
        shared.store,
        loaded,
        last_good,
        audit,
        clock,
        lambda: report.tell(models),
        elsewhere,
        seen_by=report.name,
    )
    return models


def _runner(session: Session, settings: Settings, clock: Clock, pools: Pools) -> Runner:
    def batcher(threads: Threads, inline_us_max: float) -> Batcher:
        return Batcher(
            session,
            threads,
            clock,
            rows_max=settings.batch_rows_max,
            queue_max=QUEUE_MAX,
            inline_us_max=inline_us_max,
        )

    fetched = session.fetched
    return Runner(
        f"version {fetched.version} of {fetched.model!r}",
        session,
        batcher(pools.answers, settings.inline_run_us_max),
        batcher(pools.shadows, NEVER_INLINE),
    )


async def serve_worker(
    settings: Settings,
    slot: str,
    listener: socket.socket,
    stop: asyncio.Event,
    hurry: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set, then drain; `hurry` skips what the drain waits for, never the last commit."""
    clock, hurry = system_clock(), hurry or asyncio.Event()
    log = await _open_log(settings, slot)
    worker = make_worker(settings, slot, log, clock)
    edge = Edge(fitted_to_process(Limits()), worker.meter.close, asyncio.get_running_loop().time())
    lane = Lane(worker.inference.answer, worker.inference.refuse, settings.body_bytes_max, edge, clock.mono_ns)
    server = Server(_uvicorn_config(settings, worker, lane))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(worker.shared.aclose)
        stack.push_async_callback(worker.registry.aclose)
        stack.callback(worker.close)
        if log is not None:
            stack.push_async_callback(log.aclose)
        stack.push_async_callback(_drain_shadows, worker.shadows, hurry)
        ticks = asyncio.create_task(_ticks(settings, worker, edge))
        stack.callback(ticks.cancel)
        await first_of(LOADING_PATIENCE_SECONDS, worker.models.started, stop)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.wait([serving, ticks, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        worker.data_plane.draining = True
        await first_of(settings.drain_delay_seconds, hurry)
        await server.leave(serving, hurry)
        if ticks.done():
            ticks.result()  # a worker that follows no plan any more ends with the reason, and is started again


async def _drain_shadows(shadows: Shadows, hurry: asyncio.Event) -> None:
    await shadows.drain(0.0 if hurry.is_set() else SHADOW_DRAIN_SECONDS)


async def first_of(seconds: float, *events: asyncio.Event) -> None:
    """Wait until one of the events is set, or for so long."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _open_log(settings: Settings, slot: str) -> LogWriter | None:
    if not settings.log_enabled:
        return None
    return await open_writer(
        settings.state_dir / "spool",
        slot,
        durability=settings.log_durability,
        segment_bytes=settings.log_segment_bytes,
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


async def _ticks(settings: Settings, worker: Worker, edge: Edge) -> None:
    """Everything that happens beside answering, for as long as the worker lives."""

    async def heartbeat() -> None:
        worker.report.tell(worker.models)

    async def save_counts() -> None:
        await worker.report.save_counts(worker.models)

    pause = HintedPause(worker.shared.fleet.hinted)

    async def until_next_poll(seconds: float) -> None:
        await pause(worker.registry.poll_after(seconds))

    async def sweep() -> None:
        edge.sweep(asyncio.get_running_loop().time())
        worker.meter.connections = len(edge.connections)

    async with asyncio.TaskGroup() as group:
        group.create_task(every(HEARTBEAT_SECONDS, heartbeat, "heartbeat"))
        group.create_task(every(metrics.FLUSH_SECONDS, save_counts, "metrics"))
        group.create_task(every(SWEEP_SECONDS, sweep, "connections"))
        await pause.begin()
        await worker.models.start()
        spare_the_collector()
        seconds, changed = settings.plan_poll_ms / 1000, worker.shared.store.changed
        group.create_task(every(seconds, worker.models.plan_tick, "plan store", changed))
        seconds = settings.registry_poll_seconds
        group.create_task(every(seconds, worker.models.registry_tick, "registry", until_next_poll))
        group.create_task(every(CACHE_SECONDS, worker.models.mark_used, "cache"))


def spare_the_collector() -> None:
    """Requests make no cycles: let the garbage collector pass over what is loaded, and look at the rest rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS, 20, 50)


def _step_back() -> None:
    """Let the shadows' thread run only where nobody else wants the core (Linux gives each thread its own niceness)."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        os.setpriority(os.PRIO_PROCESS, 0, SHADOW_NICENESS)
