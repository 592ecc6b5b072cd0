"""Requests/s and latency of the gateway against the floor: servers on one core, load (wrk) on the other, in turns.

All servers of a model run at once and are loaded one after the other, a second each, many times over: on a machine whose
speed changes from minute to minute only neighbours in time can be compared. Ratios are medians of the ratios of a turn.
Not measured: the network, TLS, many cores. Run as `python -m benchmarks.gateway`.
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.models import FEATURES, write_registry

CONNECTIONS = 64
SERVER_CORE, LOAD_CORE = "0", "1"
SCENARIOS = ("floor", "everything", "no log", "one variant")


class Load(NamedTuple):
    """What wrk saw: requests/s, latencies in ms, and answers that were no success."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


def main() -> None:
    """Run all scenarios on both models and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--models", nargs="+", default=["mlp", "trees"])
    parser.add_argument("--scenarios", nargs="+", default=list(SCENARIOS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    console = Console()
    results = {}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("benchmark", total=arguments.turns * len(arguments.models))
        for model in arguments.models:
            results[model] = measure(model, arguments, lambda: progress.advance(bar))
    for model, by_scenario in results.items():
        console.print(table(model, by_scenario, arguments))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


def measure(kind: str, arguments: argparse.Namespace, turned: Callable[[], object]) -> dict[str, list[Load]]:
    """Start all servers of a model, load them in turns, stop them."""
    loads: dict[str, list[Load]] = {scenario: [] for scenario in arguments.scenarios}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pointsman-bench-")))
        write_registry(folder / "models", kind)
        ports = {scenario: stack.enter_context(serving(scenario, folder)) for scenario in arguments.scenarios}
        for scenario, port in ports.items():
            wrk(port, arguments.connections, folder / scenario)
        for _ in range(arguments.turns):
            for scenario, port in ports.items():
                loads[scenario].append(wrk(port, arguments.connections, folder / scenario))
            turned()
    return loads


@contextmanager
def serving(scenario: str, folder: Path) -> Iterator[int]:
    """The server of a scenario, ready; its port."""
    port, admin = free_port(), free_port()
    state = folder / scenario
    state.mkdir()
    process = start(scenario, folder, port, admin)
    try:
        wait_ready(port, "/" if scenario == "floor" else "/v2/health/ready")
        if scenario in {"everything", "no log"}:
            split(admin)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def start(scenario: str, folder: Path, port: int, admin: int) -> "subprocess.Popen[bytes]":
    """The server of a scenario, on its core."""
    if scenario == "floor":
        command = [
            sys.executable,
            "-m",
            "benchmarks.floor",
            str(folder / "models" / "m" / "1" / "model.onnx"),
            str(port),
        ]
    else:
        command = [sys.executable, "-m", "pointsman", "serve"]
    settings = {
        "POINTSMAN_REGISTRY": folder / "models",
        "POINTSMAN_STATE_DIR": folder / scenario / "state",
        "POINTSMAN_HTTP_PORT": port,
        "POINTSMAN_ADMIN_PORT": admin,
        "POINTSMAN_LOG_ENABLED": "false" if scenario == "no log" else "true",
    }
    environment = os.environ | {name: str(value) for name, value in settings.items()}
    return subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def split(admin: int) -> None:
    """Half of the traffic to version 2."""
    body = json.dumps(
        {"version": "2", "share": 0.5, "who": "benchmark", "reason": "benchmark", "wait_ms": 5000}
    ).encode()
    url = f"http://127.0.0.1:{admin}/admin/models/m/ab"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200, reply.status


def wrk(port: int, connections: int, folder: Path, seconds: int = 1, pause_ms: float = 0) -> Load:
    """Load one server from the other core; every request has a routing key of its own.

    With `pause_ms` each connection waits between its requests, half to one and a half times as long.
    """
    script = folder / "load.lua"
    lua = LUA % ", ".join(f"{0.1 * i:.1f}" for i in range(FEATURES))
    script.write_text(lua + (PAUSE % pause_ms if pause_ms else ""))
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    url = f"http://127.0.0.1:{port}/v2/models/m/infer"
    out = subprocess.run([*command, "-s", str(script), url], capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p50, p99 = (re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", out) for percent in (50, 99))
    bad = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", out)
    assert rate is not None, out
    assert p50 is not None, out
    assert p99 is not None, out
    return Load(float(rate[1]), in_ms(p50), in_ms(p99), sum(map(int, bad)))


def in_ms(found: "re.Match[str]") -> float:
    """A latency as wrk prints it, in milliseconds."""
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[found[2]]


def wait_ready(port: int, path: str) -> None:
    """Return when the server answers anything but a refusal to be ready; give up after half a minute."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1).close()
        except urllib.error.HTTPError as error:
            if error.code != 503:
                return
        except OSError:
            pass
        else:
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
        return port


def table(model: str, by_scenario: dict[str, list[Load]], arguments: argparse.Namespace) -> Table:
    """Medians over the turns, and of each turn's ratio to the floor and to everything on."""
    shown = Table(title=f"{model}: single rows, {arguments.connections} connections, {arguments.turns} turns of 1 s")
    for heading in ("", "req/s", "p50 ms", "p99 ms", "x floor", "x everything", "failures"):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for name, loads in by_scenario.items():
        shown.add_row(
            name,
            f"{statistics.median(load.requests_per_s for load in loads):,.0f}",
            f"{statistics.median(load.p50_ms for load in loads):.2f}",
            f"{statistics.median(load.p99_ms for load in loads):.2f}",
            ratio(loads, by_scenario.get("floor")),
            ratio(loads, by_scenario.get("everything")),
            str(sum(load.failures for load in loads)),
        )
    return shown


def ratio(loads: list[Load], others: list[Load] | None) -> str:
    """The median of the turns' ratios of requests/s."""
    if others is None:
        return ""
    turns = zip(loads, others, strict=True)
    return f"{statistics.median(one.requests_per_s / other.requests_per_s for one, other in turns):.2f}"


LUA = """
local data = '{"parameters": {"routing_key": "N%%05d"}, "inputs": [{"name": "x", "shape": [1, 32], "datatype": "FP32", "data": [%s]}]}'
local bodies, turn = {}, 0
for number = 1, 1000 do
  local body = string.format(data, number)
  bodies[number] = wrk.format("POST", nil, {["host"] = "gateway", ["content-type"] = "application/json"}, body)
end
request = function()
  turn = turn %% 1000 + 1
  return bodies[turn]
end
"""
PAUSE = """
delay = function()
  return math.floor(%.3f * (0.5 + math.random()) + 0.5)
end
"""


if __name__ == "__main__":
    main()
