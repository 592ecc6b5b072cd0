"""More than can be answered: good answers under twice the most, and how soon all is well after ten times as much.

Enters: models. Leaves: a table and JSON. The most is measured first (wrk); then oha sends at half of it, at twice, at ten
times and at half again, without a break between the last two. Each request has a connection at once, up to `CONNECTIONS`, and
gives up after `PATIENCE_SECONDS`, which it says (`timeout`): nobody waits for ever, and no client slows down because others wait. An answer is good
where it came with success within that time; a second is well where nothing failed and the p99 is within `WELL` of that before.
For a small model the generator's own core is full long before twice the most (marked `*`): for that wrk keeps as many
connections busy, which costs it less. Not measured: many cores, the network. Run as `python -m benchmarks.overload`.
"""

import argparse
import csv
import io
import json
import math
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.console import Console

from benchmarks.closed_loop import CONNECTIONS, KEYS, LOAD_CORE, V2_BODY, Ask, Load, wrk
from benchmarks.constant_rate import SETTLING_SECONDS, children_cpu, oha, percentile
from benchmarks.machine import CHECKOUT, described, machine
from benchmarks.models import KINDS, write_registry
from benchmarks.scenarios import EVERYTHING, scenario
from benchmarks.served import Served, end_when_told
from benchmarks.sheets import Sheet

PATIENCE_SECONDS: Final = 1.0
SENDERS: Final = 512
"""Half of what a worker takes from one address: those of the phase before may not be gone yet."""
BUSY_CPU: Final = 0.9
"""From here on the generator's core is full, and less was sent than was due."""
CALM, TWICE, TENFOLD, AFTER = "half", "twice", "ten times", "half, after it"
SHARES: Final = {CALM: 0.5, TWICE: 2.0, TENFOLD: 10.0, AFTER: 0.5}
WELL: Final = 2.0
WELL_MS_MIN: Final = 20.0
"""On a machine that others use, too, a p99 below this says nothing."""


class Reply(NamedTuple):
    """When a request was sent, counted from the first, how long it took, and its status (0: none came)."""

    sent_s: float
    took_ms: float
    status: int


class Phase(NamedTuple):
    """One rate, for so long, and what came of it."""

    due_per_s: float
    seconds: int
    replies: list[Reply]
    load_cpu: float

    def per_s(self, *statuses: int) -> float:
        """Replies of these statuses a second, in time."""
        found = [one for one in self.replies if one.status in statuses and one.took_ms <= PATIENCE_SECONDS * 1e3]
        return len(found) / self.seconds

    def p99_ms(self) -> float:
        """Of the good answers after the first second; `nan` where there are none."""
        took = sorted(one.took_ms for one in self.replies if one.status == 200 and one.sent_s >= SETTLING_SECONDS)
        return percentile(took, 99) if took else math.nan

    def well_after_s(self, p99_ms: float) -> float:
        """After how many seconds all seconds were well; `inf` where the last was not."""
        well_ms = max(WELL * p99_ms, WELL_MS_MIN)
        by_second: dict[int, list[Reply]] = {}
        for one in self.replies:
            by_second.setdefault(int(one.sent_s), []).append(one)
        last = -1
        for second, replies in by_second.items():
            took = sorted(one.took_ms for one in replies)
            if any(one.status != 200 for one in replies) or percentile(took, 99) > well_ms:
                last = max(last, second)
        return float(last + 1) if last + 1 < self.seconds else math.inf


class Round(NamedTuple):
    """The most answers a second, the phases by name, and a crowd of `SENDERS` connections right after `CONNECTIONS`."""

    most_per_s: float
    phases: dict[str, Phase]
    few: Load
    crowd: Load


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=KINDS, default=["mlp", "wide"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--cache", type=Path, default=CHECKOUT / ".bench-peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    end_when_told()
    program = oha(arguments.cache)
    about: dict[str, Any] = {"machine": machine(), "models": {}}
    for model in arguments.models:
        with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as made:
            folder = Path(made)
            write_registry(folder / "models", model)
            with scenario(EVERYTHING, folder) as server:
                rounds = [measured(program, server, arguments.seconds) for _ in range(arguments.rounds)]
        Console(width=150).print(sheet(model, rounds, described(about["machine"])).rich())
        about["models"][model] = [summed(one) for one in rounds]
    if arguments.json:
        arguments.json.write_text(json.dumps(about, indent=1) + "\n")


def measured(program: Path, server: Served, seconds: int) -> Round:
    """The most a server answers, all phases, and a crowd."""
    wrk(server.port, CONNECTIONS, server.folder, 2)
    most = statistics.median(wrk(server.port, CONNECTIONS, server.folder, 2).requests_per_s for _ in range(3))
    phases = {name: phase(program, server, most * share, seconds) for name, share in SHARES.items()}
    beside = wrk(server.port, CONNECTIONS, server.folder, 3)
    return Round(most, phases, beside, wrk(server.port, SENDERS, server.folder, 3))


def phase(program: Path, server: Served, per_s: float, seconds: int) -> Phase:
    """Send at this rate."""
    patience = f'{{"parameters": {{"timeout": {PATIENCE_SECONDS * 1e6:.0f}, '
    ask = Ask(body=V2_BODY.replace('{"parameters": {', patience, 1))
    bodies = server.folder / "bodies.txt"
    bodies.write_text("".join(f"{ask.body % number}\n" for number in range(1, KEYS + 1)))
    command = [
        *("taskset", "-c", LOAD_CORE, str(program), "--no-tui", "--output-format", "csv"),
        *("-z", f"{seconds}s", "-q", f"{per_s:.0f}", "-c", str(SENDERS), "-w", "-t", f"{PATIENCE_SECONDS:g}s"),
        *("-m", "POST", "-T", "application/json", "-Z", str(bodies)),
        f"http://127.0.0.1:{server.port}{ask.path}",
    ]
    before = children_cpu()
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    return Phase(per_s, seconds, replies_of(done.stdout), (children_cpu() - before) / seconds)


def replies_of(printed: str) -> list[Reply]:
    """What oha printed, a line a request that ended with a reply."""
    rows = csv.DictReader(io.StringIO(printed))
    return [
        Reply(float(row["request-start"]), float(row["request-duration"]) * 1e3, int(row["status"])) for row in rows
    ]


def summed(seen_in: Round) -> dict[str, Any]:
    """A round in figures."""
    most, phases, few, crowd = seen_in
    calm_ms = phases[CALM].p99_ms()
    figures: dict[str, Any] = {"most_per_s": most, "crowd": crowd._asdict()}
    for name, seen in phases.items():
        figures[name] = {
            "due_per_s": seen.due_per_s,
            "good_per_s": seen.per_s(200),
            "refused_per_s": seen.per_s(429, 503),
            "too_late_per_s": seen.per_s(504),
            "p99_ms": seen.p99_ms(),
            "load_cpu": seen.load_cpu,
        }
    figures["goodput_at_twice"] = phases[TWICE].per_s(200) / most
    figures["crowd_over_few"] = crowd.requests_per_s / few.requests_per_s
    figures["well_after_s"] = phases[AFTER].well_after_s(calm_ms)
    return figures


def sheet(model: str, rounds: Sequence[Round], about: str) -> Sheet:
    """A row a phase, medians over the rounds."""
    figures = [summed(one) for one in rounds]
    rows = []
    for name in SHARES:
        fields = ("due_per_s", "good_per_s", "refused_per_s", "too_late_per_s")
        cells = [f"{statistics.median(one[name][field] for one in figures):,.0f}" for field in fields]
        busy = "*" if max(one[name]["load_cpu"] for one in figures) >= BUSY_CPU else ""
        rows.append([name + busy, *cells, f"{statistics.median(one[name]['p99_ms'] for one in figures):,.1f}"])
    goodput = sorted(one["goodput_at_twice"] for one in figures)
    well = sorted(one["well_after_s"] for one in figures)
    notes = (
        f"Good answers at twice the most, over the most: {', '.join(f'{value:.2f}' for value in goodput)}",
        f"All well again after: {', '.join(f'{value:.0f} s' for value in well)}",
        f"wrk with {SENDERS} connections, over {CONNECTIONS}: "
        + ", ".join(f"{one['crowd_over_few']:.2f} ({one['crowd']['failures']} failed)" for one in figures),
        f"{len(rounds)} rounds, {SENDERS} connections, patience {PATIENCE_SECONDS:g} s. {about}",
    )
    headings = ("", "due/s", "good/s", "refused/s", "504/s", "p99 ms of the good")
    return Sheet(f"{model}: more than can be answered", headings, rows, notes)


if __name__ == "__main__":
    main()
