"""Starts the roles of one host as child processes, keeps them running, and stops them in order.

Enters: what to start. Leaves: when all children are gone. The supervisor owns the listening sockets, so a child that dies
loses no connection but its own; a child that dies is started again at once, and where it goes on dying after a pause that
doubles up to `BACKOFF_SECONDS_MAX`, which touches none of the others. A child whose event loop has not turned for
`HANG_SECONDS` is killed. If the supervisor dies, its children see the end of their pipe and drain. Never serves a request
itself.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from contracts.settings import Settings, encode_settings
from pointsman.child import SETTINGS_VARIABLE

BACKOFF_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 30.0
STEADY_SECONDS = 30.0
ENDED_SECONDS = 5.0
"""A child that lived so long before it died, or before somebody ended it, is no crash loop."""
START_SECONDS = 60.0
"""How long a child may take until its event loop turns for the first time."""
WATCH_SECONDS = 1.0
HURRY_SECONDS = 4.0
"""What each stage of the drain may still take once it is told to hurry."""
COMMAND = (sys.executable, "-m", "pointsman.child")

_LOG = logging.getLogger("pointsman.supervisor")

RoleName = Literal["worker", "admin", "forward", "monitor"]

HANG_SECONDS: dict[RoleName, float] = {"worker": 10.0, "admin": 30.0, "forward": 30.0, "monitor": 60.0}
"""Only a worker is waited for by clients; the others may be held up by a slow disk without harm."""


class Role(NamedTuple):
    """One child: what it is, its slot (unique on the host), and the socket it listens on, where it listens."""

    name: RoleName
    slot: str
    listener: socket.socket | None = None


class Stage(NamedTuple):
    """A step of the drain: who ends together, and for how long that is waited for."""

    names: tuple[RoleName, ...]
    seconds: float


def stages(settings: Settings) -> tuple[Stage, ...]:
    """The order of the drain: those who write the log, then who sends it away, then who counts it.

    The monitor takes what the others left of the whole: a drain ends within `drain_delay_seconds + drain_timeout_seconds`
    and nine seconds, and nobody is the worse for being killed: what is not sent or counted yet stays in the log.
    """
    answers = settings.drain_delay_seconds + settings.drain_timeout_seconds
    return (
        Stage(("worker", "admin"), answers + 4.0),
        Stage(("forward",), 4.0),
        Stage(("monitor",), answers + 9.0),
    )


def pause_before(failures: int) -> float:
    """The pause before a child is started again that failed so many times in a row; none before the first time."""
    return 0.0 if failures < 2 else min(BACKOFF_SECONDS * 2.0 ** min(failures - 2, 10), BACKOFF_SECONDS_MAX)


async def supervise(
    roles: Sequence[Role],
    settings: Settings,
    stop: asyncio.Event,
    hurry: asyncio.Event,
    command: Sequence[str] = COMMAND,
) -> None:
    """Run all roles until `stop` is set, then let them drain in order; `hurry` skips what the drain waits for."""
    reader, writer = os.pipe()
    children = [_Child(role, settings, reader, stop, command) for role in roles]
    try:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.keep_running())
            group.create_task(_watch(children, stop))
            await stop.wait()
        for role in roles:
            if role.listener is not None:
                role.listener.close()  # the children's copies go on: who connects after the last one is refused at once
        await _drain(children, settings, hurry)
    finally:
        os.close(writer)
        os.close(reader)


class _Child:
    """One child process after the other."""

    def __init__(
        self, role: Role, settings: Settings, parent_pipe: int, stop: asyncio.Event, command: Sequence[str]
    ) -> None:
        self.role = role
        self._command = command
        self._settings = settings
        self._parent_pipe = parent_pipe
        self._stop = stop
        self._process: asyncio.subprocess.Process | None = None
        self._pulse: int | None = None
        self._beaten_at = 0.0
        self._patience = START_SECONDS

    async def keep_running(self) -> None:
        """Start it, and start it again where it ended, until `stop`; then it is left running, for `end`."""
        failures = 0
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                code: int | str | None = await self._run_once()
            except OSError as error:
                code = f"none: it could not be started ({error.strerror})"
            if self._stop.is_set():
                return
            steady = time.monotonic() - started > (ENDED_SECONDS if code == 0 else STEADY_SECONDS)
            failures = 1 if steady else failures + 1
            pause = pause_before(failures)
            _LOG.warning("%s ended with code %s; it is started again in %.1f s", self.role.slot, code, pause)
            await _first_of(self._stop, pause)

    async def end(self, seconds: float, hurry: asyncio.Event) -> None:
        """Ask for a drain; a child that takes longer than it may is killed: what it did not do stays in the log."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        ended = asyncio.create_task(process.wait())
        hurried = asyncio.create_task(hurry.wait())
        process.terminate()
        await asyncio.wait([ended, hurried], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if hurry.is_set() and not ended.done():
            with suppress(ProcessLookupError):  # it ended in this very moment, of which nobody has told yet
                process.terminate()
            await asyncio.wait([ended], timeout=HURRY_SECONDS)
        hurried.cancel()
        if not ended.done():
            _LOG.error("%s did not drain in time and is killed", self.role.slot)
            with suppress(ProcessLookupError):  # likewise
                process.kill()
            await ended
        self._forget_pulse()

    def kill_if_silent(self, now: float) -> None:
        """Kill a child that shows no sign of life: it holds connections, or work, that nobody attends to."""
        silent = now - self._beaten_at
        if self._pulse is not None and silent > self._patience and self._process is not None:
            _LOG.error("%s has not moved for %.0f s and is killed", self.role.slot, silent)
            self._beaten_at = now
            with suppress(ProcessLookupError):  # likewise
                os.kill(self._process.pid, signal.SIGKILL)

    async def _run_once(self) -> int | None:
        pulse, beat = os.pipe()
        try:
            self._process = process = await self._start(beat)
        except OSError:
            os.close(pulse)
            raise
        finally:
            os.close(beat)
        self._pulse, self._beaten_at, self._patience = pulse, time.monotonic(), START_SECONDS
        os.set_blocking(pulse, False)
        asyncio.get_running_loop().add_reader(pulse, self._beaten, pulse)
        waiting = [asyncio.create_task(process.wait()), asyncio.create_task(self._stop.wait())]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if self._stop.is_set():
            return None
        waiting[1].cancel()
        self._forget_pulse()
        return process.returncode

    def _beaten(self, pulse: int) -> None:
        if not os.read(pulse, 4096):
            self._forget_pulse()
            return
        self._beaten_at, self._patience = time.monotonic(), HANG_SECONDS[self.role.name]

    def _forget_pulse(self) -> None:
        if self._pulse is not None:
            asyncio.get_running_loop().remove_reader(self._pulse)
            os.close(self._pulse)
            self._pulse = None

    async def _start(self, beat: int) -> asyncio.subprocess.Process:
        role = self.role
        inherited = [self._parent_pipe, beat]
        words = ["--role", role.name, "--slot", role.slot, "--parent", str(self._parent_pipe), "--pulse", str(beat)]
        if role.listener is not None:
            inherited.append(role.listener.fileno())
            words += ["--socket", str(role.listener.fileno())]
        return await asyncio.create_subprocess_exec(
            *(*self._command, *words),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=inherited,
            env={
                "ORT_DISABLE_TELEMETRY": "1",
                **os.environ,
                SETTINGS_VARIABLE: encode_settings(self._settings).decode(),
            },
            process_group=0,
        )


async def _watch(children: Sequence[_Child], stop: asyncio.Event) -> None:
    """Look for children that hang. Only this machine's steady clock is asked, so no jump of the time kills anybody."""
    while not await _first_of(stop, WATCH_SECONDS):
        await asyncio.sleep(0)  # pulses that came while this process stood still are read before anybody is judged
        for child in children:
            child.kill_if_silent(time.monotonic())


async def _drain(children: Sequence[_Child], settings: Settings, hurry: asyncio.Event) -> None:
    began = time.monotonic()
    end = began + max(stage.seconds for stage in stages(settings))
    for stage in stages(settings):
        seconds = min(stage.seconds, end - time.monotonic())
        ending = [child.end(max(seconds, 1.0), hurry) for child in children if child.role.name in stage.names]
        await asyncio.gather(*ending)


async def _first_of(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until `stop`; whether it is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True
