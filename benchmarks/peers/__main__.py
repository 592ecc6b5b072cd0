"""Pointsman beside other Python servers for ONNX models: the same files, the same requests, one core each in turn.

Each peer is installed into an environment of its own and served as its makers recommend, with dynamic batching where it
has any. Pointsman has everything on: checks, log, traffic split between two versions. One that does not install or start
is in the table with its reason. Not measured: many cores, GPUs, the network, large requests, gRPC. Run as `make bench-peers`.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.closed_loop import CONNECTIONS, Ask
from benchmarks.installing import NotInstalledError
from benchmarks.machine import CHECKOUT, machine, results_folder
from benchmarks.models import KINDS, write_registry
from benchmarks.peers.catalogue import PEERS, Peer, peers_named
from benchmarks.peers.environments import environment, installed
from benchmarks.peers.pairs import Outcome, measured, temporary_folder, with_peer
from benchmarks.peers.report import keep, sheet
from benchmarks.scenarios import EVERYTHING, FLOOR, scenario
from benchmarks.served import end_when_told

CACHE = CHECKOUT / ".bench-peers"


def main() -> None:
    """Install, measure, print, keep."""
    arguments = parsed()
    end_when_told()
    console = Console(width=160)
    about: dict[str, Any] = {"machine": machine(), "turns": arguments.turns, "seconds": arguments.seconds}
    folder = arguments.results or results_folder()
    peers = peers_named(arguments.peers)
    pythons, reasons = install(peers, arguments.cache, console)
    about["packages"] = {key: installed(python) for key, python in pythons.items()}
    results: dict[str, list[Outcome]] = {}
    for model in arguments.models:
        results[model] = measure(model, peers, pythons, reasons, arguments, console)
        results[model] = [labelled(outcome, about["packages"]) for outcome in results[model]]
        console.print(sheet(model, results[model], about, CONNECTIONS).rich())
        for path in keep(folder, results, about, CONNECTIONS):
            console.print(f"[dim]written: {path}", highlight=False)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=2, help="length of a turn")
    parser.add_argument("--models", nargs="+", choices=KINDS, default=["mlp", "trees200", "wide"])
    parser.add_argument("--peers", nargs="*", default=[peer.key for peer in PEERS])
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the peers' environments are kept")
    parser.add_argument("--results", type=Path, help="default: benchmarks/results/COMMIT")
    return parser.parse_args()


def install(peers: list[Peer], cache: Path, console: Console) -> tuple[dict[str, Path], dict[str, str]]:
    """The Pythons of those that could be installed, and the reasons of those that could not."""
    pythons, reasons = {}, {}
    for peer in peers:
        console.print(f"installing {peer.name} ...", highlight=False)
        try:
            pythons[peer.key] = environment(peer, cache)
        except NotInstalledError as error:
            reasons[peer.key] = f"did not install: {error}"
            console.print(f"  {reasons[peer.key]}", highlight=False)
    return pythons, reasons


def measure(
    model: str,
    peers: list[Peer],
    pythons: dict[str, Path],
    reasons: dict[str, str],
    arguments: argparse.Namespace,
    console: Console,
) -> list[Outcome]:
    """All pairs of a model: the floor first, then each peer."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(temporary_folder()))
        write_registry(folder / "models", model)
        ours = stack.enter_context(scenario(EVERYTHING, folder))
        with scenario(FLOOR, folder) as floor:
            outcomes = [measured("floor", ours, floor, Ask(), arguments.turns, arguments.seconds)]
        for peer in peers:
            console.print(f"{model}: {peer.name} ...", highlight=False)
            if peer.key in pythons:
                found = with_peer(peer, pythons[peer.key], folder, ours, arguments.turns, arguments.seconds)
            else:
                found = Outcome(peer.name, reason=reasons[peer.key])
            outcomes.append(found._replace(batching=peer.batching))
    return outcomes


def labelled(outcome: Outcome, packages: dict[str, dict[str, str]]) -> Outcome:
    """With the peer's version, where it was installed."""
    for peer in PEERS:
        if peer.name == outcome.name and peer.key in packages:
            return outcome._replace(version=packages[peer.key].get(peer.distribution, ""))
    return outcome._replace(batching=outcome.batching or "none")


if __name__ == "__main__":
    main()
