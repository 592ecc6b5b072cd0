"""A role's process, as the supervisor starts it: settings, sockets and pipes in, one role until it is told to stop.

Enters: `--role`, `--slot`, `--socket FD` where the role listens, `--parent FD`, `--pulse FD`, and the settings in an
environment variable. Leaves: exit code 0 after a drain. It stops on SIGTERM, and also when the supervisor is gone: the
pipe from it then ends; a second SIGTERM skips the waits of the drain. Every second its event loop writes a byte to the
pulse pipe: who does not write hangs, and neither disk nor store nor network can keep it from writing.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import uvloop

from contracts.settings import Settings, decode_settings

SETTINGS_VARIABLE = "POINTSMAN_ROLE_SETTINGS"
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
PULSE_SECONDS = 1.0
PLAIN_LOOP = frozenset({"forward", "monitor"})
"""These roles speak to Kafka and run on asyncio's own loop: writing to a connection that has just been closed, uvloop raises
what the client does not expect, and its tasks die without a word.
"""
ORPHAN_SECONDS = 15.0
"""What an orphan may take beyond its drain; then it ends without one, so that its port is free for who comes next."""

Task = Callable[[asyncio.Event, asyncio.Event], Awaitable[None]]
"""A role's main task, given the events that say stop and hurry."""


def main() -> None:
    """Run the role that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["worker", "admin", "forward", "monitor"], required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--socket", type=int)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--pulse", type=int, required=True)
    arguments = parser.parse_args()
    settings = decode_settings(os.environ[SETTINGS_VARIABLE].encode())
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # an MLflow is asked many times a minute
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # Kafka is away: it says so 100 times a second, we once
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = None if arguments.socket is None else socket.socket(fileno=arguments.socket)
    task = task_of(arguments.role, arguments.slot, settings, listener)
    patience = settings.drain_delay_seconds + settings.drain_timeout_seconds + ORPHAN_SECONDS
    run = asyncio.run if arguments.role in PLAIN_LOOP else uvloop.run
    run(_run(task, arguments.parent, arguments.pulse, patience))


def task_of(role: str, slot: str, settings: Settings, listener: socket.socket | None) -> Task:
    """The main task of a role; only what it needs is loaded."""
    if role == "worker":
        from gateway.worker import serve_worker  # noqa: PLC0415  a role loads only what it runs

        assert listener is not None, "a worker listens"
        return lambda stop, hurry: serve_worker(settings, slot, listener, stop, hurry)
    if role == "admin":
        from gateway.admin.main import serve_admin  # noqa: PLC0415  likewise

        return lambda stop, _hurry: serve_admin(settings, listener, stop)
    if role == "forward":
        from prediction_log.forward.forwarding import serve_forwarder  # noqa: PLC0415  likewise

        return lambda stop, _hurry: serve_forwarder(settings, stop)
    from monitor.main import serve_monitor  # noqa: PLC0415  likewise

    return lambda stop, _hurry: serve_monitor(settings, listener, stop)


async def _run(task: Task, parent: int, pulse: int, patience: float) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, told, stop, hurry)
    watch = threading.Thread(target=_watch_parent, args=(parent, loop, stop, patience), name="parent", daemon=True)
    watch.start()
    beating = asyncio.create_task(_beat(pulse))
    try:
        await task(stop, hurry)
    finally:
        beating.cancel()


def told(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """A signal came: the first one says stop, any further one says hurry."""
    (hurry if stop.is_set() else stop).set()


async def _beat(pulse: int) -> None:
    """Say that the event loop turns."""
    os.set_blocking(pulse, False)
    while True:
        with suppress(OSError):  # nobody reads: the supervisor is slow, or gone, which another pipe says
            os.write(pulse, b".")
        await asyncio.sleep(PULSE_SECONDS)


def _watch_parent(parent: int, loop: asyncio.AbstractEventLoop, stop: asyncio.Event, patience: float) -> None:
    """Stop when the supervisor is gone. It never writes, so whatever can be read is the end of its pipe. A thread, so that
    an event loop that hangs by then does not keep the process, and its port, for ever.
    """
    os.read(parent, 1)
    with suppress(RuntimeError):  # the loop is closed: the process is about to end by itself
        loop.call_soon_threadsafe(stop.set)
    time.sleep(patience)
    os._exit(1)


if __name__ == "__main__":
    main()
