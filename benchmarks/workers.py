"""Requests/s, CPU a request and memory with one worker and with more, each server on all cores of the machine, in turns.

Enters: numbers of workers. Leaves: a table. The load takes its part of the same cores, so that the last core's worth of
workers cannot show in requests/s; what a request costs shows whether workers stand in each other's way. Not measured: more
cores than this machine has. Run as `python -m benchmarks.workers`.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks.closed_loop import wrk
from benchmarks.machine import described, machine
from benchmarks.models import KINDS, write_registry
from benchmarks.scenarios import EVERYTHING, scenario
from benchmarks.served import Served, cpu_seconds, end_when_told, memory_mb
from benchmarks.sheets import Sheet
from benchmarks.spread import ratios, spread

CONNECTIONS_A_WORKER = 32


class Turn(NamedTuple):
    """What one turn saw: answers a second, microseconds of CPU a request, of all the server's processes, and failures."""

    requests_per_s: float
    cpu_us: float
    failures: int


def main() -> None:
    """Start a server for each number of workers, load them in turns, print the table."""
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, 2, cores}))
    parser.add_argument("--model", choices=KINDS, default="mlp")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    arguments = parser.parse_args()
    end_when_told()
    console, about = Console(width=150), machine()
    turns: dict[int, list[Turn]] = {number: [] for number in arguments.workers}
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-bench-") as made,
        ExitStack() as stack,
        Progress(console=console, transient=True) as progress,
    ):
        write_registry(Path(made) / "models", arguments.model)
        servers = {
            number: stack.enter_context(scenario(EVERYTHING, Path(made), workers=number, cores=every_core()))
            for number in arguments.workers
        }
        held = {number: memory_mb(server.mark) for number, server in servers.items()}
        bar = progress.add_task("turns", total=arguments.turns + 1)
        for turn in range(arguments.turns + 1):
            for number, server in servers.items():
                seen = load(server, CONNECTIONS_A_WORKER * max(arguments.workers), arguments.seconds)
                turns[number] += [seen] if turn else []  # the first warms up
            progress.advance(bar)
    console.print(sheet(arguments.model, turns, held, described(about)).rich())


def load(server: Served, connections: int, seconds: int) -> Turn:
    """One turn."""
    before = cpu_seconds(server.mark)
    seen = wrk(server.port, connections, server.folder, seconds, cores=every_core())
    used = cpu_seconds(server.mark) - before
    return Turn(seen.requests_per_s, used / (seen.requests_per_s * seconds) * 1e6, seen.failures)


def every_core() -> str:
    """The cores that this program may use, as taskset takes them."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def sheet(model: str, turns: dict[int, list[Turn]], held: dict[int, float], about: str) -> Sheet:
    """Medians with their quartiles; ratios are those of a turn."""
    first = min(turns)

    def column(number: int, name: str) -> Sequence[float]:
        return [getattr(turn, name) for turn in turns[number]]

    rows = [
        [
            str(number),
            spread(column(number, "requests_per_s")).shown(0),
            spread(ratios(column(number, "requests_per_s"), column(first, "requests_per_s"))).shown(2),
            spread(column(number, "cpu_us")).shown(0),
            f"{held[number]:,.0f}",
            str(sum(turn.failures for turn in turns[number])),
        ]
        for number in turns
    ]
    headings = ("workers", "req/s", f"x {first} worker", "CPU us", "MB, all processes", "failures")
    return Sheet(f"{model}: more workers on the same cores", headings, rows, (about,))


if __name__ == "__main__":
    main()
