"""Requests/s and latency of the gateway against the floor: servers on one core, load (wrk) on the other, in turns.

All servers of a model run at once and are loaded one after the other, a second each, many times over: on a machine whose
speed changes from minute to minute only neighbours in time can be compared. Ratios are medians of the ratios of a turn.
Not measured: the network, TLS, many cores. Run as `python -m benchmarks.gateway`.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.closed_loop import CONNECTIONS, Load, wrk
from benchmarks.models import KINDS, write_registry
from benchmarks.scenarios import EVERYTHING, FLOOR, SCENARIOS, scenario
from benchmarks.served import end_when_told
from benchmarks.sheets import Sheet
from benchmarks.spread import ratios, spread


def main() -> None:
    """Run all scenarios on all models and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--models", nargs="+", choices=KINDS, default=["mlp", "trees"])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    end_when_told()
    console = Console()
    results = {}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("benchmark", total=arguments.turns * len(arguments.models))
        for model in arguments.models:
            results[model] = measure(model, arguments, lambda: progress.advance(bar))
    for model, by_scenario in results.items():
        console.print(sheet(model, by_scenario, arguments).rich())
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def measure(kind: str, arguments: argparse.Namespace, turned: Callable[[], object]) -> dict[str, list[Load]]:
    """Start all servers of a model, load them in turns, stop them."""
    loads: dict[str, list[Load]] = {name: [] for name in arguments.scenarios}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        write_registry(folder / "models", kind)
        servers = {name: stack.enter_context(scenario(name, folder)) for name in arguments.scenarios}
        for server in servers.values():
            wrk(server.port, arguments.connections, server.folder)
        for _ in range(arguments.turns):
            for name, server in servers.items():
                loads[name].append(wrk(server.port, arguments.connections, server.folder))
            turned()
    return loads


def sheet(model: str, by_scenario: dict[str, list[Load]], arguments: argparse.Namespace) -> Sheet:
    """Medians over the turns, and of each turn's ratio to the floor and to everything on."""
    rows = [
        [
            name,
            f"{middle(loads, 'requests_per_s'):,.0f}",
            f"{middle(loads, 'p50_ms'):.2f}",
            f"{middle(loads, 'p99_ms'):.2f}",
            ratio(loads, by_scenario.get(FLOOR)),
            ratio(loads, by_scenario.get(EVERYTHING)),
            str(sum(load.failures for load in loads)),
        ]
        for name, loads in by_scenario.items()
    ]
    title = f"{model}: single rows, {arguments.connections} connections, {arguments.turns} turns of 1 s"
    return Sheet(title, ("", "req/s", "p50 ms", "p99 ms", "x floor", "x everything", "failures"), rows)


def middle(loads: list[Load], field: str) -> float:
    """The median of one figure over the turns."""
    return spread([getattr(load, field) for load in loads]).middle


def ratio(loads: list[Load], others: list[Load] | None) -> str:
    """The median of the turns' ratios of requests/s."""
    if others is None:
        return ""
    of_turns = ratios([one.requests_per_s for one in loads], [other.requests_per_s for other in others])
    return f"{spread(of_turns).middle:.2f}" if of_turns else ""


if __name__ == "__main__":
    main()
