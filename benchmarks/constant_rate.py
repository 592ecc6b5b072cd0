"""Open-loop load: oha on its own core sends at a fixed rate, whatever the server does, and says how late each answer was.

Enters: a port, what to send, a rate, for how long. Leaves: a `Step`. Latency counts from when a request was due, also while it
waits for a free connection: a server that stalls for a second is seen to be late for all that was due in that second
(coordinated omission). What was due and was never answered is counted, not left out. It never starts or stops a server.
"""

import math
import resource
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.closed_loop import KEYS, LOAD_CORE, Ask
from benchmarks.installing import NotInstalledError, install_step

OHA_VERSION: Final = "1.16.0"
BUILD_SECONDS_MAX: Final = 1200.0
RATE_CONNECTIONS: Final = 256
GOOD_MS: Final = 50.0
"""An answer that comes later than this is no good one."""
NEVER_MS: Final = math.inf
CUT_SECONDS: Final = 0.05
"""What was due in the last moments is cut off with the run: only a backlog longer than this was really not answered."""


SETTLING_SECONDS: Final = 1.0
"""In its first second the load opens all its connections at once: no rate is kept then, and it is not counted."""


class Step(NamedTuple):
    """What came of one rate: requests due and answered per second, those answered well and in time, latencies in ms of all
    that were due (`inf`: so many were never answered), and the share of a core that the load itself took.
    """

    due_per_s: float
    answered_per_s: float
    good_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    unanswered: int
    load_cpu: float


def oha(cache: Path) -> Path:
    """The load generator: from the path, from the cache, or built into the cache."""
    found = shutil.which("oha")
    if found:
        return Path(found)
    built = cache.absolute() / "oha" / "bin" / "oha"
    if built.exists():
        return built
    if shutil.which("cargo") is None:
        raise NotInstalledError("there is no oha on the path and no cargo to build it: install Rust, or oha itself")
    cache.mkdir(parents=True, exist_ok=True)
    command = ["cargo", "install", "oha", "--version", OHA_VERSION, "--locked", "--root", str(built.parent.parent)]
    install_step(command, cache.absolute() / "oha.log", BUILD_SECONDS_MAX)
    return built


def at_rate(program: Path, port: int, folder: Path, per_s: float, seconds: int, ask: Ask) -> Step:
    """Send this many requests a second for this long."""
    bodies = folder / "bodies.txt"
    bodies.write_text("".join(f"{ask.body % number}\n" for number in range(1, KEYS + 1)))
    command = [
        *("taskset", "-c", LOAD_CORE, str(program), "--no-tui", "--output-format", "csv"),
        *(
            "-z",
            f"{seconds + SETTLING_SECONDS:g}s",
            "-q",
            f"{per_s:.0f}",
            "-c",
            str(RATE_CONNECTIONS),
            "--latency-correction",
            "-w",
        ),
        *("-t", "10s", "-m", "POST", "-T", "application/json", "-Z", str(bodies)),
        f"http://127.0.0.1:{port}{ask.path}",
    ]
    before = children_cpu()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    used = (children_cpu() - before) / (seconds + SETTLING_SECONDS)
    return step(done.stdout, round(per_s), seconds, used)


def step(printed: str, per_s: int, seconds: int, load_cpu: float) -> Step:
    """What oha printed for each answer, as figures over all requests that were due in the last `seconds`."""
    header, *rows = printed.splitlines()
    names = header.split(",")
    start, late, status = (names.index(name) for name in ("request-start", "request-duration", "status"))
    counted = [cells for cells in (row.split(",") for row in rows) if float(cells[start]) >= SETTLING_SECONDS]
    answers = [(float(cells[late]) * 1e3, int(cells[status])) for cells in counted]
    ok = [ms for ms, code in answers if 200 <= code < 300]
    due = max(int(per_s * (seconds - CUT_SECONDS)), len(answers))
    lates = sorted(ok) + [NEVER_MS] * (due - len(ok))
    return Step(
        due_per_s=per_s,
        answered_per_s=len(ok) / seconds,
        good_per_s=sum(ms <= GOOD_MS for ms in ok) / seconds,
        p50_ms=percentile(lates, 50),
        p90_ms=percentile(lates, 90),
        p99_ms=percentile(lates, 99),
        p999_ms=percentile(lates, 99.9),
        unanswered=due - len(ok),
        load_cpu=load_cpu,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that this percentage of all values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def children_cpu() -> float:
    """Seconds of CPU that this process's ended children have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
