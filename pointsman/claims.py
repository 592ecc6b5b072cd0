"""What a running Pointsman claims for itself on a host: its ports and its state directory.

Enters: an address, or a directory and a role's lock. Leaves: a listening socket, or a lock held for a while;
`InvalidSettings` where somebody else has it. Never serves on what it claims.
"""

import asyncio
import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from contracts.errors import InvalidSettings

BACKLOG = 2048
BIND_SECONDS = 25.0


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
    with _opened(state_dir, name) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidSettings(
                f"state_dir {state_dir} is in use by another pointsman: stop it first or name another directory"
            ) from None
        yield


def _opened(state_dir: Path, name: str) -> IO[str]:
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        return (state_dir / name).open("w")
    except OSError as error:
        raise InvalidSettings(
            f"state_dir {state_dir} cannot be written: {error.strerror}; name a directory that this user may write to"
        ) from error
