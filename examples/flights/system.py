"""Starts `pointsman up` as a child process, waits until it can answer, and stops it with a drain.

Enters: a registry, a state directory, addresses. Leaves: a running system, and none afterwards unless it is to be kept.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx

from contracts.plan import Plan
from contracts.wire import decode
from examples.flights.addresses import Addresses
from examples.flights.versions import MODEL

READY_SECONDS_MAX: Final = 90.0
DRAIN_SECONDS_MAX: Final = 60.0
_LOOK_EVERY_SECONDS: Final = 0.1
_LOG_TAIL_LINES: Final = 20


class SystemFailed(RuntimeError):
    """The system did not start, did not get ready or did not drain; the message ends with the last lines of its log."""


@asynccontextmanager
async def running_system(
    registry: Path, state_dir: Path, addresses: Addresses, settings: Mapping[str, str]
) -> AsyncIterator[None]:
    """`pointsman up` with one worker and a plan that nobody shifted yet, ready; it drains when the block is left."""
    log = state_dir / "up.log"
    process = await _start(registry, state_dir, addresses, settings, log)
    try:
        await _ready(process, addresses, log)
        yield
    except BaseException:
        await _ended(process)  # whatever it says, what was raised is the news
        raise
    code = await _ended(process)
    if code:
        raise SystemFailed(f"pointsman up ended with code {code}:\n{_tail(log)}")


def check_plan_is_new(body: bytes) -> None:
    """Refuse to tell the story on top of another: a plan store that is shared may hold a plan of this model already.

    Looked at before the gateway is waited for: versions that only the other story's registry has never get ready here.
    """
    plan = decode(Plan, body)
    if plan.revision > 1:
        raise SystemFailed(
            f"the plan of {MODEL} is at revision {plan.revision} already: name an empty plan store, such as another"
            " database of the same Redis (redis://HOST:6379/1)"
        )


async def until_ended() -> None:
    """Wait until the user asks for the end (Ctrl-C cancels the task)."""
    await asyncio.Event().wait()


async def _start(
    registry: Path, state_dir: Path, addresses: Addresses, settings: Mapping[str, str], log: Path
) -> asyncio.subprocess.Process:
    ports = {f"POINTSMAN_{name.upper()}": str(port) for name, port in addresses._asdict().items()}
    with log.open("wb") as output:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointsman", "up", "--workers", "1"),
            *("--registry", str(registry), "--state-dir", str(state_dir)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **ports, **settings},
            start_new_session=True,  # Ctrl-C is for the demo, which stops the system when it is done with it
        )


async def _ready(process: asyncio.subprocess.Process, addresses: Addresses, log: Path) -> None:
    """Return when gateway, admin and monitor answer; raises `SystemFailed` after READY_SECONDS_MAX or when it ends."""
    plan = f"{addresses.admin}/admin/models/{MODEL}/plan"
    rest = [
        f"{addresses.gateway}/v2/health/ready",
        f"{addresses.gateway}/v2/models/{MODEL}/ready",
        f"{addresses.monitor}/summaries?model={MODEL}",
    ]
    deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
    async with httpx.AsyncClient(timeout=5.0) as client:
        check_plan_is_new(await _answer(client, plan, process, deadline, log))
        for url in rest:
            await _answer(client, url, process, deadline, log)


async def _answer(
    client: httpx.AsyncClient, url: str, process: asyncio.subprocess.Process, deadline: float, log: Path
) -> bytes:
    """What is said at `url` once that is 200; raises `SystemFailed` at the deadline or when the process ends."""
    while True:
        try:
            reply = await client.get(url)
        except httpx.TransportError:
            reply = None
        if reply is not None and reply.status_code == httpx.codes.OK:
            return reply.content
        if process.returncode is not None:
            raise SystemFailed(f"pointsman up ended with code {process.returncode}:\n{_tail(log)}")
        if asyncio.get_running_loop().time() > deadline:
            raise SystemFailed(f"{url} does not answer after {READY_SECONDS_MAX:.0f} s:\n{_tail(log)}")
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _ended(process: asyncio.subprocess.Process) -> int:
    """The exit code after a drain; a process that takes longer than DRAIN_SECONDS_MAX is killed."""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
    try:
        return await asyncio.wait_for(process.wait(), DRAIN_SECONDS_MAX)
    except TimeoutError:
        process.kill()
        return await process.wait()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
