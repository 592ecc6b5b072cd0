"""A server for as long as somebody loads it: started on its core, waited for, ended with all its processes.

Enters: a command and where it listens. Leaves: a `Served` while the block runs. What the server prints goes to a file; one
that does not start is a `NotServedError` with the last line it printed. It listens on 127.0.0.1. Only processes that carry
the mark that this start put into their environment are ended, so a server that starts others far away from itself (Ray
does) leaves nothing behind, and nobody else's process is touched.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

SERVER_CORE = "0"
START_SECONDS_MAX = 120.0
END_SECONDS_MAX = 20.0
MARK = "BENCHMARKED_SERVER"


class Served(NamedTuple):
    """A server that answers: its port, its process, the mark that its processes carry, and its folder."""

    port: int
    process: int
    mark: str
    folder: Path


class NotServedError(Exception):
    """A server did not come to answer; the message is the last thing it said."""


@contextlib.contextmanager
def served(
    command: Sequence[str],
    port: int,
    ready: str | None,
    folder: Path,
    settings: Mapping[str, object],
    *,
    cores: str = SERVER_CORE,
) -> Iterator[Served]:
    """Start it on its core, or on cores as taskset takes them, and wait until the path `ready` is answered with success (None:
    until it listens); end it with all it started.
    """
    mark = uuid.uuid4().hex
    environment = os.environ | {name: str(value) for name, value in settings.items()} | {MARK: mark}
    pinned = ["taskset", "-c", cores, *command]
    printed = folder / "printed.log"
    with printed.open("wb") as log:
        process = subprocess.Popen(
            pinned,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
        )
    try:
        wait_ready(port, ready, process, printed)
        yield Served(port, process.pid, mark, folder)
    finally:
        end(process, mark)


def wait_ready(port: int, path: str | None, process: "subprocess.Popen[bytes]", printed: Path) -> None:
    """Return when the server says that it is ready; without a path, when it listens."""
    end_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end_at:
        if process.poll() is not None:
            raise NotServedError(f"ended with {process.returncode}: {last_line(printed)}")
        with contextlib.suppress(OSError):
            if answered(port, path):
                return
        time.sleep(0.05)
    raise NotServedError(f"no answer after {START_SECONDS_MAX:.0f} s: {last_line(printed)}")


def answered(port: int, path: str | None) -> bool:
    """Whether the path is answered with success, or without one, whether anything listens; an `OSError` if not."""
    if path is None:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    else:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
    return True


def end(process: "subprocess.Popen[bytes]", mark: str) -> None:
    """Ask it to end, then end what is left of it."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS_MAX)
    for _ in range(3):  # a process that is being born between look and kill is seen the next time
        for left in marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        time.sleep(0.05)
    process.wait(END_SECONDS_MAX)


def marked(mark: str) -> list[int]:
    """The processes that carry a mark, wherever in the tree they are."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it ended, or belongs to somebody else
            if wanted in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


def strayed(mark: str) -> list[int]:
    """The server's processes that run on other cores than its own: their figures would be no comparison."""
    away = []
    for number in marked(mark):
        with contextlib.suppress(OSError):
            if os.sched_getaffinity(number) != {int(SERVER_CORE)}:
                away.append(number)
    return away


def cpu_seconds(mark: str) -> float:
    """What the server's processes have used so far, without those that have ended."""
    ticks = 0
    for number in marked(mark):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(mark: str) -> float:
    """What the server's processes hold together, shared pages counted once (PSS)."""
    kilobytes = 0
    for number in marked(mark):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes / 1024


def end_when_told() -> None:
    """Let SIGTERM end this program as Ctrl-C does: the servers that it started end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def last_line(printed: Path, length: int = 200) -> str:
    """The last thing that a program said, without colours; of a long line the beginning."""
    lines = [line.strip() for line in printed.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:length] if lines else "it printed nothing"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port
