"""The admin API as a process's main task: makes its parts, serves, and stops when told.

Enters: settings, a listening socket or none, and an event that says stop. Leaves: when the last reply and the last audit
record are out. Listens on loopback unless `admin_host` says otherwise: whoever reaches it may move traffic.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import uvicorn

from contracts.gate import GateResult
from contracts.plan import Change
from contracts.promotion import Promotion
from contracts.settings import Settings
from contracts.signature import Signature
from contracts.wire import encode
from gateway.admin.app import AdminParts, admin_app
from gateway.admin.deliveries import SECRET
from gateway.admin.gate_book import GateBook
from gateway.admin.plan_control import PlanControl
from gateway.admin.promotion_desk import PromotionDesk
from gateway.admin.version_check import VersionCheck
from gateway.clock import Clock, system_clock
from gateway.fleet.seam import applied_of
from gateway.fleet.shared_state import SharedState, shared_state
from gateway.models.probe import probe_in_child
from gateway.models.version_states import VersionStates
from gateway.server import Server
from gateway.traffic.last_good import LastGood
from gateway.traffic.plan_floor import Applied
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer
from registry_client.choice import open_registry
from registry_client.registry import RegistryClient

Audit = Callable[[Change | GateResult | Promotion], Awaitable[None]]

SLOT = "admin"
GRACE_SECONDS = 5


async def serve_admin(settings: Settings, listener: socket.socket | None, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; without a `listener` on `admin_host` and `admin_port`.

    Raises `LogUnavailable` where the log for the audit records cannot be opened.
    """
    clock = system_clock()
    async with AsyncExitStack() as stack:
        shared = shared_state(settings, clock)
        stack.push_async_callback(shared.aclose)
        registry = open_registry(settings.registry, settings.state_dir / "cache", os.environ)
        stack.push_async_callback(registry.aclose)
        audit = await _audit_to_log(settings, stack)
        parts = _parts(settings, shared, registry, audit, clock)
        server = Server(_config(settings, parts))
        stopping = asyncio.create_task(_stop_when(stop, server))
        stack.callback(stopping.cancel)
        await server.serve(sockets=None if listener is None else [listener])


def _parts(settings: Settings, shared: SharedState, registry: RegistryClient, audit: Audit, clock: Clock) -> AdminParts:
    last_good = LastGood(settings.state_dir / "last_good")

    async def probe(path: Path) -> Signature | None:
        return await probe_in_child(
            path,
            memory_bytes_max=settings.model_memory_bytes_max,
            timeout_seconds=settings.model_load_timeout_seconds,
        )

    async def applied(model: str) -> Applied:
        return await applied_of(model, last_good, shared.fleet)

    states = VersionStates(clock.now_us)
    check_version = VersionCheck(registry, probe, states)
    control = PlanControl(shared.store, registry, check_version, audit, clock, applied)
    return AdminParts(
        control=control,
        gates=GateBook(shared.store, audit),
        store=shared.store,
        registry=registry,
        fleet=shared.fleet,
        clock=clock,
        version=version("pointsman"),
        signature=check_version.signature,
        promotions=PromotionDesk(shared.store, control, check_version, audit, clock),
        webhook_secret=os.environ.get(SECRET, ""),
        states=states,
    )


async def _audit_to_log(settings: Settings, stack: AsyncExitStack) -> Audit:
    """Where audit records go: the prediction log, or nowhere where it is turned off; the store keeps the history anyway."""
    if not settings.log_enabled:

        async def keep_none(_: Change | GateResult | Promotion) -> None:
            return

        return keep_none
    log = await open_writer(
        settings.state_dir / "spool",
        SLOT,
        durability=settings.log_durability,
        segment_bytes=settings.log_segment_bytes,
        disk_reserve_bytes=settings.log_disk_reserve_bytes,
    )
    stack.push_async_callback(log.aclose)

    async def append(record: Change | GateResult | Promotion) -> None:
        await log.append(Kind.AUDIT, encode(record))

    return append


def _config(settings: Settings, parts: AdminParts) -> uvicorn.Config:
    return uvicorn.Config(
        admin_app(parts),
        host=settings.admin_host,
        port=settings.admin_port,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


async def _stop_when(stop: asyncio.Event, server: Server) -> None:
    await stop.wait()
    server.should_exit = True
