"""Latency at fixed rates: Pointsman with everything on, the floor, and mosec where it is installed.

Enters: models, shares of what each server can do at most. Leaves: a table, JSON and two pictures. Each server's most is
measured first (wrk, 64 connections); then all are asked at the same shares of their own most, one after the other, round
after round. Latency counts from when a request was due (`constant_rate.py`). Not measured: many cores, the network; requests
come in bunches of a millisecond, as the generator's clock ticks. Run as `make bench-latency`.
"""

import argparse
import json
import math
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.closed_loop import CONNECTIONS, Ask, wrk
from benchmarks.constant_rate import GOOD_MS, OHA_VERSION, RATE_CONNECTIONS, Step, at_rate, oha
from benchmarks.installing import NotInstalledError
from benchmarks.machine import CHECKOUT, described, machine, results_folder
from benchmarks.models import KINDS, write_registry
from benchmarks.peers.catalogue import peers_named
from benchmarks.peers.environments import environment
from benchmarks.peers.pairs import check, serving, temporary_folder
from benchmarks.pictures import Line, Point, lines
from benchmarks.scenarios import EVERYTHING, FLOOR, scenario
from benchmarks.served import NotServedError, Served, end_when_told
from benchmarks.sheets import Sheet

SHARES = [0.25, 0.5, 0.75, 0.9, 1.1]
BUSY_CPU = 0.9
"""From here on the load's core is full, and what is late may be late because of the load."""


class Target(NamedTuple):
    """A server, how it is asked, and the most it answers per second."""

    server: Served
    ask: Ask
    most_per_s: float


Steps = dict[str, dict[float, list[Step]]]
"""Server, share, and the step of each round."""


def main() -> None:
    """Measure, print, keep."""
    arguments = parsed()
    end_when_told()
    console = Console(width=150)
    try:
        program = oha(arguments.cache)
    except NotInstalledError as error:
        raise SystemExit(f"the load generator did not install: {error}") from None
    about: dict[str, Any] = {
        "machine": machine(),
        "oha": OHA_VERSION,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "good_ms": GOOD_MS,
        "connections": RATE_CONNECTIONS,
    }
    folder = arguments.results or results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    models: dict[str, Any] = {}
    pages = []
    for model in arguments.models:
        steps, missing = measure(model, program, arguments)
        shown = sheet(model, steps, missing, about)
        console.print(shown.rich())
        pages.append(shown.markdown())
        models[model] = {name: jsoned(by_share) for name, by_share in steps.items()} | {"missing": missing}
        keep_pictures(folder, model, steps)
        (folder / "latency.json").write_text(json.dumps(about | {"models": models}, indent=1) + "\n")
        (folder / "latency.md").write_text("\n".join(pages))
    console.print(f"[dim]written to {folder}", highlight=False)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of a step")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of each server's most")
    parser.add_argument("--models", nargs="+", choices=KINDS, default=["mlp"])
    parser.add_argument("--peers", nargs="*", default=["mosec"])
    parser.add_argument("--cache", type=Path, default=CHECKOUT / ".bench-peers")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/COMMIT")
    return parser.parse_args()


def measure(model: str, program: Path, arguments: argparse.Namespace) -> tuple[Steps, dict[str, str]]:
    """All steps of a model, and the peers that did not serve, with their reasons."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(temporary_folder()))
        write_registry(folder / "models", model)
        servers: dict[str, tuple[Served, Ask]] = {
            "pointsman": (stack.enter_context(scenario(EVERYTHING, folder)), Ask()),
            "floor": (stack.enter_context(scenario(FLOOR, folder)), Ask()),
        }
        missing = {}
        for peer in peers_named(arguments.peers):
            try:
                server = stack.enter_context(serving(peer, environment(peer, arguments.cache), folder))
                check(server, peer.ask, folder)
                servers[peer.name] = (server, peer.ask)
            except (NotInstalledError, NotServedError) as error:
                missing[peer.name] = str(error)
        targets = {name: Target(server, ask, most(server, ask)) for name, (server, ask) in servers.items()}
        steps: Steps = {name: {share: [] for share in arguments.shares} for name in targets}
        for _ in range(arguments.rounds):
            for share in arguments.shares:
                for name, (server, ask, most_per_s) in targets.items():
                    seen = at_rate(program, server.port, server.folder, share * most_per_s, arguments.seconds, ask)
                    steps[name][share].append(seen)
    return steps, missing


def most(server: Served, ask: Ask) -> float:
    """Requests/s that a server answers when it is asked for more."""
    wrk(server.port, CONNECTIONS, server.folder, 2, ask=ask)
    return statistics.median(wrk(server.port, CONNECTIONS, server.folder, 2, ask=ask).requests_per_s for _ in range(3))


def sheet(model: str, steps: Steps, missing: dict[str, str], about: dict[str, Any]) -> Sheet:
    """A row for each server and share: medians over the rounds."""
    headings = (
        "",
        "due/s",
        "answered/s",
        f"good/s ({about['good_ms']:g} ms)",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "p99.9 ms",
    )
    rows = []
    for name, by_share in steps.items():
        for share, seen in by_share.items():
            busy = "*" if middle(seen, "load_cpu") >= BUSY_CPU else ""
            rates = [f"{middle(seen, field):,.0f}" for field in ("due_per_s", "answered_per_s", "good_per_s")]
            lates = [late(middle(seen, field)) for field in ("p50_ms", "p90_ms", "p99_ms", "p999_ms")]
            lates[2] += between(seen)
            rows.append([f"{name} at {share:.0%}{busy}", *rates, *lates, f"{middle(seen, 'load_cpu'):.0%}"])
    rows += [[f"{name}: {reason}", *[""] * len(headings)] for name, reason in missing.items()]
    note = (
        f"Medians of {about['rounds']} rounds of {about['seconds']} s, p99 with its range. Latency from when a request was "
        f"due; `never`: so many were not answered. `*`: the load's own core was full. oha {about['oha']}, "
        f"{about['connections']} connections. {described(about['machine'])}"
    )
    return Sheet(f"{model}: latency at fixed rates", (*headings, "load's CPU"), rows, (note,))


def middle(seen: list[Step], field: str) -> float:
    """The median of one figure over the rounds."""
    found: float = statistics.median(getattr(one, field) for one in seen)
    return found


def late(value: float) -> str:
    """Milliseconds, or that it never came."""
    return f"{value:,.2f}" if math.isfinite(value) else "never"


def between(seen: list[Step]) -> str:
    """The range of the rounds' p99."""
    values = [one.p99_ms for one in seen]
    return f" ({late(min(values))}-{late(max(values))})" if len(values) > 1 else ""


def keep_pictures(folder: Path, model: str, steps: Steps) -> None:
    """The p99 over the rate, and good answers over the rate."""
    curves = {
        "latency": ("p99_ms", f"{model}: p99 from when a request was due", "ms"),
        "goodput": ("good_per_s", f"{model}: good answers within {GOOD_MS:g} ms", "good/s"),
    }
    for name, (field, title, unit) in curves.items():
        rows = [Line(server, points(by_share, field)) for server, by_share in steps.items()]
        (folder / f"{name}-{model}.svg").write_text(lines(title, "requests due/s", unit, rows))


def points(by_share: dict[float, list[Step]], field: str) -> list[Point]:
    """One figure over the rate; what never came has no point."""
    found = [Point(middle(seen, "due_per_s"), middle(seen, field)) for seen in by_share.values()]
    return sorted(point for point in found if math.isfinite(point.y))


def jsoned(by_share: dict[float, list[Step]]) -> dict[str, Any]:
    """Steps by name; `inf`, which JSON does not have, as null."""
    return {
        f"{share:g}": [
            {name: value if math.isfinite(value) else None for name, value in one._asdict().items()} for one in seen
        ]
        for share, seen in by_share.items()
    }


if __name__ == "__main__":
    main()
