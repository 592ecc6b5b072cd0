"""A role's process, as the supervisor starts it: sockets and settings in, one role until it is told to stop.

Enters: `--role`, `--slot`, `--socket FD`, `--parent FD` and the settings in an environment variable. Leaves: exit code 0
after a drain. It stops on SIGTERM, and also when the supervisor is gone: the pipe from it then ends.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys

import uvloop

from contracts.settings import Settings, decode_settings

SETTINGS_VARIABLE = "POINTSMAN_ROLE_SETTINGS"
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def main() -> None:
    """Run the role that the arguments name."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=["worker", "admin", "monitor"], required=True)
    parser.add_argument("--slot", required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    settings = decode_settings(os.environ[SETTINGS_VARIABLE].encode())
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, stream=sys.stderr)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener = socket.socket(fileno=arguments.socket)
    uvloop.run(_run(arguments.role, arguments.slot, settings, listener, arguments.parent))


async def _run(role: str, slot: str, settings: Settings, listener: socket.socket, parent: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(parent, _orphaned, loop, parent, stop)
    if role == "worker":
        from gateway.worker import serve_worker  # noqa: PLC0415  a role loads only what it runs

        await serve_worker(settings, slot, listener, stop)
    elif role == "admin":
        from gateway.admin_main import serve_admin  # noqa: PLC0415  likewise

        await serve_admin(settings, listener, stop)
    else:
        from monitor.main import serve_monitor  # noqa: PLC0415  likewise

        await serve_monitor(settings, listener, stop)


def _orphaned(loop: asyncio.AbstractEventLoop, parent: int, stop: asyncio.Event) -> None:
    """The supervisor never writes, so whatever can be read is the end of its pipe."""
    loop.remove_reader(parent)
    stop.set()


if __name__ == "__main__":
    main()
