"""What Kafka does to the answers of a gateway: nothing, it should be; with a broker that is there, gone, or slow.

Enters: how many turns. Leaves: a table, and every load as JSON. A gateway each for: no forwarder beside it; a forwarder
to a broker; to one that was stopped; to one behind 2 s of latency, then behind a line of 10 KB/s. All run at once. A turn
loads a gateway for two seconds right beside the one without a forwarder, at all it can do and at about half of that.
Ratios are medians of the pairs' ratios; `none again` is the one without against itself: what chance does alone. "CPU" is
what a request costs the gateway; it hardly minds what else the machine does. The workers share one core; wrk, forwarders,
broker and proxy share the other. Not measured: networks, disks that others keep busy, several workers. It needs wrk.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from benchmarks.closed_loop import CONNECTIONS, LOAD_CORE, Load, wrk
from benchmarks.models import write_registry
from benchmarks.served import SERVER_CORE, free_port, wait_ready
from benchmarks.sheets import Sheet
from benchmarks.spread import spread
from prediction_log.forward.status import ForwarderStatus, read_status
from tests.services.kafka import Broker, cluster
from tests.services.proxy import Proxy

STACKS = ("none", "up", "down", "slow")
SCENARIOS = {"none again": "none", "up": "up", "down": "down", "2 s late": "slow", "10 KB/s": "slow"}
"""Scenario, and the gateway it loads."""
LEVELS = ("full load", "half load")
LATE_SECONDS, NARROW_BYTES = 2.0, 10_000
SECONDS = 2
WAIT_SECONDS_MAX = 60.0
CAUGHT_UP_RECORDS = 100


class Turn(NamedTuple):
    """A load, the one without a forwarder right beside it, what a request cost both gateways in microseconds of CPU, and
    the forwarder's share of a core meanwhile.
    """

    alone: Load
    load: Load
    alone_us: float
    load_us: float
    forwarder_cpu: float


class Stack(NamedTuple):
    """A gateway, and the process ids of it and of its forwarder (None: there is none)."""

    folder: Path
    port: int
    gateway: int
    forwarder: int | None


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--model", choices=("mlp", "trees"), default="mlp")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD_CORE)})  # and whatever is started from here, unless it says otherwise
    console = Console(width=120)
    with Progress(console=console, transient=True) as progress, ExitStack() as stack:
        bar = progress.add_task("benchmark", total=arguments.turns)
        results = measure(arguments.model, arguments.turns, stack, lambda: progress.advance(bar))
    for level, by_scenario in results.items():
        console.print(sheet(f"{arguments.model}, {level}, {arguments.turns} pairs of {SECONDS} s", by_scenario).rich())
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def measure(kind: str, turns: int, stack: ExitStack, turned: Callable[[], object]) -> dict[str, dict[str, list[Turn]]]:
    """Start everything, and load in turns: level of load, scenario, turns."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
    write_registry(folder / "models", kind)
    near, far = brokers(folder, stack)
    proxy = Proxy(near.through_port, near.behind_port)
    proxy.start()
    stack.callback(proxy.close)
    addresses = {"up": near.address, "down": far.address, "slow": proxy.address}
    stacks = {name: stack.enter_context(running(folder, name, addresses.get(name))) for name in STACKS}
    for one in stacks.values():
        wrk(one.port, CONNECTIONS, one.folder, SECONDS)
        wait_sent(one)
    far.kill()
    results: dict[str, dict[str, list[Turn]]] = {level: {name: [] for name in SCENARIOS} for level in LEVELS}
    for number in range(turns):
        pause_ms = 0.0
        for level in LEVELS:
            for scenario, name in SCENARIOS.items():
                become(proxy, scenario)
                turn = pair(stacks[name], stacks["none"], pause_ms, first=number % 2 == 0)
                results[level][scenario].append(turn)
                if scenario == "up":
                    wait_sent(stacks["up"])
            full = statistics.median(seen[-1].alone.requests_per_s for seen in results[level].values())
            pause_ms = 2e3 * CONNECTIONS / full
        turned()
    return results


def brokers(folder: Path, stack: ExitStack) -> list[Broker]:
    """Two that know nothing of each other, started."""
    clusters = [cluster(folder / name) for name in ("near", "far")]
    for one in clusters:
        one.start(quick=False)
        stack.callback(one.stop)
    return [one.brokers[0] for one in clusters]


def become(proxy: Proxy, scenario: str) -> None:
    """Let the line be as the scenario says; any other leaves it as it is."""
    if scenario in {"2 s late", "10 KB/s"}:
        late = scenario == "2 s late"
        proxy.latency_s, proxy.bytes_per_second = (LATE_SECONDS, 0) if late else (0.0, NARROW_BYTES)
        time.sleep(0.5)


@contextlib.contextmanager
def running(folder: Path, name: str, kafka: str | None) -> Iterator[Stack]:
    """A gateway that answers, with a forwarder beside it where there is a Kafka."""
    port = free_port()
    settings = {
        "POINTSMAN_REGISTRY": folder / "models",
        "POINTSMAN_STATE_DIR": folder / name / "state",
        "POINTSMAN_HTTP_PORT": port,
        "POINTSMAN_ADMIN_PORT": free_port(),
        "POINTSMAN_KAFKA": kafka or "",
        "POINTSMAN_KAFKA_OPTIONS": json.dumps({"prefix": f"bench-{name}", "partitions": 4}),
    }
    environment = os.environ | {key: str(value) for key, value in settings.items()}
    (folder / name).mkdir()
    with ExitStack() as stack:
        gateway = stack.enter_context(role("serve", SERVER_CORE, environment, folder / name))
        wait_ready(port, "/v2/health/ready", gateway, folder / name / "serve.log")
        forwarder = None
        if kafka:
            forwarder = stack.enter_context(role("forward", LOAD_CORE, environment, folder / name))
        yield Stack(folder / name, port, gateway.pid, forwarder.pid if forwarder else None)


@contextlib.contextmanager
def role(name: str, core: str, environment: dict[str, str], folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """`pointsman NAME` on a core, as long as the block runs."""
    command = ["taskset", "-c", core, sys.executable, "-m", "pointsman", name]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:  # a forwarder whose line is slow has a lot to wait for
            process.kill()
            process.wait()


def wait_sent(stack: Stack) -> None:
    """Return when the forwarder has sent nearly all there is."""
    if stack.forwarder is None:
        return
    begun_us, end = time.time_ns() // 1000, time.monotonic() + WAIT_SECONDS_MAX
    status: ForwarderStatus | None = None
    while time.monotonic() < end:
        status = read_status(stack.folder / "state")
        if status is not None and status.at_us > begun_us and status.backlog_records <= CAUGHT_UP_RECORDS:
            return
        time.sleep(0.1)
    raise SystemExit(f"the forwarder is not done after {WAIT_SECONDS_MAX:.0f} s: {status}")


def pair(stack: Stack, alone: Stack, pause_ms: float, *, first: bool) -> Turn:
    """Load two gateways one after the other; `first`: the one without a forwarder first."""
    beside = costed(alone, pause_ms) if first else None
    before = cpu_seconds(stack.forwarder)
    load, load_us = costed(stack, pause_ms)
    spent = cpu_seconds(stack.forwarder) - before
    alone_load, alone_us = beside or costed(alone, pause_ms)
    return Turn(alone_load, load, alone_us, load_us, spent / SECONDS)


def costed(stack: Stack, pause_ms: float) -> tuple[Load, float]:
    """Load a gateway; with the microseconds of its CPU that a request took."""
    before = cpu_seconds(stack.gateway)
    load = wrk(stack.port, CONNECTIONS, stack.folder, SECONDS, pause_ms)
    return load, (cpu_seconds(stack.gateway) - before) * 1e6 / (load.requests_per_s * SECONDS)


def cpu_seconds(supervisor: int | None) -> float:
    """What a role's process and its children have used so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended
            fields = stat.read_text().rpartition(")")[2].split()
            mine = supervisor is not None and supervisor in {int(stat.parent.name), int(fields[1])}
            ticks += int(fields[11]) + int(fields[12]) if mine else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def sheet(title: str, by_scenario: dict[str, list[Turn]]) -> Sheet:
    """Medians over the turns; ratios of each pair, with their quartiles."""
    headings = ("forwarder to", "req/s", "p99 ms", "req/s x none", "p99 x none", "CPU x none", "its CPU", "failures")
    rows = [
        [
            name,
            f"{statistics.median(turn.load.requests_per_s for turn in turns):,.0f}",
            f"{statistics.median(turn.load.p99_ms for turn in turns):.2f}",
            spread([turn.load.requests_per_s / turn.alone.requests_per_s for turn in turns]).shown(),
            spread([turn.load.p99_ms / turn.alone.p99_ms for turn in turns]).shown(),
            spread([turn.load_us / turn.alone_us for turn in turns]).shown(),
            f"{statistics.median(turn.forwarder_cpu for turn in turns):.0%}",
            str(sum(turn.load.failures + turn.alone.failures for turn in turns)),
        ]
        for name, turns in by_scenario.items()
    ]
    return Sheet(title, headings, rows)


if __name__ == "__main__":
    main()
