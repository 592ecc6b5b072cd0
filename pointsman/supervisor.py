"""Starts the roles of one host as child processes, keeps them running, and stops them in order.

Enters: what to start. Leaves: when all children are gone. The supervisor owns the listening sockets, so a child that dies
loses no connection but its own; a child that dies is started again after a pause that doubles up to `BACKOFF_SECONDS_MAX`;
a worker whose event loop has not turned for `HANG_SECONDS` is killed. If the supervisor dies, its children see the end
of their pipe and drain. Never serves a request itself.
"""

import asyncio
import fcntl
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from contracts.errors import InvalidSettings
from contracts.settings import Settings, encode_settings
from gateway.worker_status import read_statuses
from pointsman.child import SETTINGS_VARIABLE

BACKOFF_SECONDS = 0.1
BACKOFF_SECONDS_MAX = 10.0
STEADY_SECONDS = 30.0
HANG_SECONDS = 15.0
BACKLOG = 2048
BIND_SECONDS = 25.0

_LOG = logging.getLogger("pointsman.supervisor")

RoleName = Literal["worker", "admin", "monitor"]


class Role(NamedTuple):
    """One child: what it is, its slot (unique on the host), and the socket it listens on."""

    name: RoleName
    slot: str
    listener: socket.socket


async def supervise(roles: Sequence[Role], settings: Settings, stop: asyncio.Event) -> None:
    """Run all roles until `stop` is set, then let them drain: those that write the log first, its reader last."""
    reader, writer = os.pipe()
    children = [_Child(role, settings, reader, stop) for role in roles if role.name != "monitor"]
    monitors = [_Child(role, settings, reader, stop, after=children) for role in roles if role.name == "monitor"]
    try:
        async with asyncio.TaskGroup() as group:
            for child in [*children, *monitors]:
                group.create_task(child.keep_running())
            group.create_task(_watch_heartbeats(settings.state_dir / "workers", children, stop))
    finally:
        os.close(writer)
        os.close(reader)


class _Child:
    def __init__(
        self,
        role: Role,
        settings: Settings,
        parent_pipe: int,
        stop: asyncio.Event,
        after: "Sequence[_Child]" = (),
    ) -> None:
        self._role = role
        self._settings = settings
        self._parent_pipe = parent_pipe
        self._stop = stop
        self._after = after
        self.pid: int | None = None
        self.ended = asyncio.Event()

    async def keep_running(self) -> None:
        backoff = BACKOFF_SECONDS
        while not self._stop.is_set():
            started = time.monotonic()
            process = await self._start()
            self.pid = process.pid
            stopping = asyncio.create_task(self._stop.wait())
            ended = asyncio.create_task(process.wait())
            await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if self._stop.is_set():
                for child in self._after:
                    await child.ended.wait()
                await self._end(process)
                await ended
                break
            self.pid = None
            _LOG.warning("%s ended with code %s; it is started again", self._role.slot, process.returncode)
            backoff = (
                BACKOFF_SECONDS
                if time.monotonic() - started > STEADY_SECONDS
                else min(backoff * 2, BACKOFF_SECONDS_MAX)
            )
            await _sleep_unless(self._stop, backoff)
        self.ended.set()

    async def _start(self) -> asyncio.subprocess.Process:
        role = self._role
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pointsman.child", "--role", role.name, "--slot", role.slot),
            *("--socket", str(role.listener.fileno()), "--parent", str(self._parent_pipe)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(role.listener.fileno(), self._parent_pipe),
            env={**os.environ, SETTINGS_VARIABLE: encode_settings(self._settings).decode()},
            process_group=0,
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """Ask for a drain; a child that takes much longer than it may is killed, its answered records being safe."""
        if process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._settings.drain_timeout_seconds + 10)
        except TimeoutError:
            _LOG.error("%s did not drain in time and is killed", self._role.slot)
            process.kill()


async def _watch_heartbeats(workers: Path, children: Sequence[_Child], stop: asyncio.Event) -> None:
    """Kill our own workers whose event loop hangs: they hold connections that nobody answers."""
    while not stop.is_set():
        await _sleep_unless(stop, 1.0)
        own = {child.pid for child in children}
        for status in read_statuses(workers):
            silent_seconds = time.time() - status.at_us / 1e6
            if status.pid in own and silent_seconds > HANG_SECONDS:
                _LOG.error("%s has not moved for %.0f s and is killed", status.slot, silent_seconds)
                os.kill(status.pid, signal.SIGKILL)


async def _sleep_unless(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


async def bind(host: str, port: int) -> socket.socket:
    """A listening socket; where an earlier run is still draining on the port, wait for it, but not for ever."""
    patience = time.monotonic() + BIND_SECONDS
    while True:
        listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if time.monotonic() > patience:
                raise InvalidSettings(
                    f"cannot listen on {host}:{port}: {error.strerror}; choose another port"
                ) from error
            await asyncio.sleep(0.1)
        else:
            listener.setblocking(False)  # noqa: FBT003  the socket's own signature
            return listener


@contextmanager
def sole_owner(state_dir: Path, name: str) -> Iterator[None]:
    """Hold the state directory: two hosts' worth of workers on one spool would be two truths."""
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / name).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidSettings(
                f"state_dir {state_dir} is in use by another pointsman: stop it first or name another directory"
            ) from None
        yield
