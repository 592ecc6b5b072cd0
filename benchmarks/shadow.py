"""What answers feel of a shadow: p99 at half load with all traffic copied to a challenger ten times as slow, and without.

Enters: rounds and seconds. Leaves: a table and JSON. One gateway on one core, a tree ensemble as its champion, one with ten
times as many trees as the challenger; oha on the other core asks at half of what the champion alone can do. With the shadow
and without it take turns, and the ratio is of neighbours. Not measured: many cores, the network. Run as
`python -m benchmarks.shadow`.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from benchmarks.closed_loop import CONNECTIONS, Ask, wrk
from benchmarks.constant_rate import Step, at_rate, oha
from benchmarks.machine import CHECKOUT, described, machine
from benchmarks.models import trees, write_version
from benchmarks.scenarios import ONE_VARIANT, scenario
from benchmarks.served import Served, end_when_told, free_port
from benchmarks.sheets import Sheet
from benchmarks.spread import ratios, spread

TREES: Final = 100
SLOWER: Final = 10
ALONE, SHADOWED = "alone", "with the shadow"


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=CHECKOUT / ".bench-peers")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    end_when_told()
    program, about = oha(arguments.cache), machine()
    with tempfile.TemporaryDirectory(prefix="pointsman-bench-") as made:
        folder = Path(made)
        for version, count in (("1", TREES), ("2", TREES * SLOWER)):
            write_version(folder / "models", version, trees(int(version), count))
        admin = free_port()
        with scenario(ONE_VARIANT, folder, admin) as server:
            steps = measured(program, server, admin, arguments.rounds, arguments.seconds)
    Console(width=150).print(sheet(steps, described(about)).rich())
    if arguments.json:
        kept: dict[str, Any] = {name: [one._asdict() for one in seen] for name, seen in steps.items()}
        arguments.json.write_text(json.dumps({"machine": about} | kept, indent=1) + "\n")


def measured(program: Path, server: Served, admin: int, rounds: int, seconds: int) -> dict[str, list[Step]]:
    """Both in turns; who comes first changes from round to round."""
    wrk(server.port, CONNECTIONS, server.folder, 2)
    most = statistics.median(wrk(server.port, CONNECTIONS, server.folder, 2).requests_per_s for _ in range(3))
    steps: dict[str, list[Step]] = {ALONE: [], SHADOWED: []}
    for number in range(rounds):
        for name in (ALONE, SHADOWED) if number % 2 else (SHADOWED, ALONE):
            shadow(admin, on=name == SHADOWED)
            steps[name].append(at_rate(program, server.port, server.folder, most / 2, seconds, Ask()))
    return steps


def shadow(admin: int, *, on: bool) -> None:
    """Copy all traffic to version 2, or none."""
    verb, change = ("shadow", {"version": "2", "share": 1.0}) if on else ("remove", {"name": "shadow-2"})
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/admin/models/m/{verb}",
        json.dumps(change | {"who": "benchmark", "reason": "benchmark", "wait_ms": 5000}).encode(),
        {"content-type": "application/json"},
    )
    with contextlib.suppress(urllib.error.HTTPError):  # it was not there
        urllib.request.urlopen(request, timeout=60).close()


def sheet(steps: dict[str, list[Step]], about: str) -> Sheet:
    """A row with and one without."""
    rows = [
        [name, *(spread([getattr(one, field) for one in seen]).shown(1) for field in ("p50_ms", "p99_ms"))]
        for name, seen in steps.items()
    ]
    fields = {"p50": "p50_ms", "p99": "p99_ms"}
    of_rounds = {
        name: ratios([getattr(one, field) for one in steps[SHADOWED]], [getattr(one, field) for one in steps[ALONE]])
        for name, field in fields.items()
    }
    due = statistics.median(one.due_per_s for one in steps[ALONE])
    notes = (
        "With the shadow, over without: " + ", ".join(f"{name} {spread(of).shown()}" for name, of in of_rounds.items()),
        f"{due:,.0f} requests/s due, half of the most; medians of {len(steps[ALONE])} rounds with quartiles. {about}",
    )
    return Sheet(f"a shadow of {SLOWER} times as many trees", ("", "p50 ms", "p99 ms"), rows, notes)


if __name__ == "__main__":
    main()
