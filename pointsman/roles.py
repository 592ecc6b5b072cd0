"""`pointsman up`, `serve`, `forward` and `monitor`: start roles on this machine and stop them with one Ctrl-C.

Enters: settings and command options. Leaves: an exit code. Never serves a request itself: the supervisor's children do.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from contracts.errors import InvalidSettings
from contracts.settings import Settings
from gateway.fleet.worker_status import forget_workers
from pointsman.child import LOG_FORMAT, told
from pointsman.claims import bind, sole_owner
from pointsman.configuration import load_settings
from pointsman.supervisor import Role, RoleName, supervise
from registry_client.choice import open_registry

READY_POLL_SECONDS = 0.1

RegistryOption = Annotated[
    str | None, typer.Option(help="A folder of models, MODEL/VERSION/model.onnx; or the URL of an MLflow server.")
]
StateOption = Annotated[Path | None, typer.Option(help="Where plans, the prediction log and counts are kept.")]
WorkersOption = Annotated[int | None, typer.Option(min=1, help="How many gateway processes share the port.")]
RedisOption = Annotated[str | None, typer.Option(help="The fleet's plan store: redis://HOST:PORT/DB.")]
KafkaOption = Annotated[str | None, typer.Option(help="Where the log goes: HOST:PORT, or several with commas.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]


def up(
    registry: RegistryOption = None,
    state_dir: StateOption = None,
    workers: WorkersOption = None,
    redis: RedisOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """Run everything on this machine: gateway, admin API, monitor, and with Kafka the forwarder; Ctrl-C stops it."""
    settings = _settings(config, registry=registry, state_dir=state_dir, workers=workers, redis=redis, kafka=kafka)
    _run(("worker", "admin", "forward", "monitor") if settings.kafka else ("worker", "admin", "monitor"), settings)


def serve(
    registry: RegistryOption = None,
    state_dir: StateOption = None,
    workers: WorkersOption = None,
    redis: RedisOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the gateway and its admin API, without a forwarder or a monitor."""
    _run(("worker", "admin"), _settings(config, registry=registry, state_dir=state_dir, workers=workers, redis=redis))


def forward(
    state_dir: StateOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """Send the prediction log of a state directory to Kafka: one such process a host, beside `serve`."""
    settings = _settings(config, state_dir=state_dir, kafka=kafka)
    if not settings.kafka:
        raise InvalidSettings("kafka is not set: name where the log goes, as in --kafka HOST:9092")
    _run(("forward",), settings)


def monitor(
    registry: RegistryOption = None,
    state_dir: StateOption = None,
    redis: RedisOption = None,
    kafka: KafkaOption = None,
    config: ConfigOption = None,
) -> None:
    """Run the monitor over the prediction log of a state directory, or over Kafka."""
    _run(("monitor",), _settings(config, registry=registry, state_dir=state_dir, redis=redis, kafka=kafka))


def _settings(config: Path | None, **chosen: Any) -> Settings:
    return load_settings(config, {name: value for name, value in chosen.items() if value is not None})


def _run(names: Sequence[RoleName], settings: Settings) -> None:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # looked at here, so that what makes no sense is said once and not by each child
    open_registry(settings.registry, settings.state_dir / "cache", os.environ)
    with ExitStack() as owned:
        for name in names:
            owned.enter_context(sole_owner(settings.state_dir, f"{name}.lock"))
        asyncio.run(_supervised(names, settings))


async def _supervised(names: Sequence[RoleName], settings: Settings) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told, stop, hurry)
    if "worker" in names:
        forget_workers(settings.state_dir / "workers")
    claiming = asyncio.create_task(_all_roles(names, settings))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([claiming, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not claiming.done():
        claiming.cancel()  # it waits for a port, and there is nobody to wait for any more
        return
    roles = claiming.result()
    announcing = asyncio.create_task(_announce(names, settings, stop))
    await supervise(roles, settings, stop, hurry)
    announcing.cancel()


async def _all_roles(names: Sequence[RoleName], settings: Settings) -> list[Role]:
    return [role for name in names for role in await _roles(name, settings)]


async def _roles(name: RoleName, settings: Settings) -> list[Role]:
    if name == "worker":
        listener = await bind(settings.host, settings.http_port)
        return [Role("worker", f"worker-{number}", listener) for number in range(settings.workers)]
    if name == "admin":
        return [Role("admin", "admin", await bind(settings.admin_host, settings.admin_port))]
    if name == "forward":
        return [Role("forward", "forward")]
    return [Role("monitor", "monitor", await bind(settings.monitor_host, settings.monitor_port))]


async def _announce(names: Sequence[RoleName], settings: Settings, stop: asyncio.Event) -> None:
    """Say where everything is, once it answers."""
    console = Console(stderr=True)
    if "worker" in names:
        data = _at(settings.host, settings.http_port)
        async with httpx.AsyncClient(base_url=data, timeout=5, verify=False) as client:  # noqa: S501  plain HTTP, to ourselves
            models = await _served(client, stop)
        if models is None:
            return
        console.print(f"[green]ready[/]: {', '.join(models) or f'no models yet in {settings.registry}'}")
    table = Table(show_header=False, box=None, padding=(0, 2))
    for whole in (True, True, False):  # addresses are copied: the last column gives way where the terminal is narrow
        table.add_column(no_wrap=whole, overflow="fold")
    if "worker" in names:
        table.add_row("predictions", f"{data}/v2/models/MODEL/infer", "curl, or any V2 client that sends JSON tensors")
    if "admin" in names:
        table.add_row("traffic", _at(settings.admin_host, settings.admin_port), "pointsman traffic show MODEL")
    if "monitor" in names:
        table.add_row("report", f"{_at(settings.monitor_host, settings.monitor_port)}/", "pointsman report MODEL")
    if "forward" in names:
        table.add_row("log", f"kafka {settings.kafka}", "pointsman log verify")
    table.add_row("state", str(settings.state_dir), "pointsman log verify")
    console.print(table)


def _at(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _served(client: httpx.AsyncClient, stop: asyncio.Event) -> list[str] | None:
    """The names of the models, once a worker is ready; None where it stops before."""
    while not stop.is_set():
        try:
            if (await client.get("/v2/health/ready")).status_code == 200:
                names: list[str] = (await client.get("/v2/models")).json()["models"]
                return names
        except httpx.TransportError:
            pass  # not listening yet, or too busy to answer
        await asyncio.sleep(READY_POLL_SECONDS)
    return None
