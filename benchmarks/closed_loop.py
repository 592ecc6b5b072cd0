"""Closed-loop load: wrk on its own core keeps a number of connections busy, and says what came of it.

Enters: a port, what to send, for how long. Leaves: a `Load`. Every request has a routing key of its own. A connection sends
its next request when it has the answer to the last, so a slow server is asked less: latencies at a chosen rate are
`constant_rate.py`'s. It never starts or stops a server.
"""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from benchmarks.models import FEATURES

CONNECTIONS = 64
LOAD_CORE = "1"
KEYS = 1000
"""Different routing keys, sent one after the other."""
ROW = ", ".join(f"{0.1 * number:.1f}" for number in range(FEATURES))
V2_BODY = (
    '{"parameters": {"routing_key": "N%05d"}, '
    '"inputs": [{"name": "x", "shape": [1, '
    f'{FEATURES}], "datatype": "FP32", "data": [{ROW}]}}]}}'
)


class Ask(NamedTuple):
    """What a server is asked: a path, and a body in which `%05d` is the number of a routing key."""

    path: str = "/v2/models/m/infer"
    body: str = V2_BODY


class Load(NamedTuple):
    """What wrk saw: requests/s, latencies in ms, and answers that were no success."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failures: int


def wrk(
    port: int,
    connections: int,
    folder: Path,
    seconds: int = 1,
    pause_ms: float = 0,
    ask: Ask | None = None,
    cores: str = LOAD_CORE,
) -> Load:
    """Load one server from the other core, or from cores as taskset takes them.

    With `pause_ms` each connection waits between its requests, half to one and a half times as long.
    """
    asked = ask or Ask()
    script = folder / "load.lua"
    script.write_text(LUA % (asked.body, KEYS, KEYS) + (PAUSE % pause_ms if pause_ms else ""))
    command = [
        "taskset",
        "-c",
        cores,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--latency",
        "--timeout",
        "10s",
    ]
    url = f"http://127.0.0.1:{port}{asked.path}"
    out = subprocess.run(
        [*command, "-s", str(script), url], capture_output=True, text=True, check=True, timeout=seconds + 30
    ).stdout
    return seen(out)


def seen(out: str) -> Load:
    """What wrk printed, as numbers."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    p50, p99 = (re.search(rf"{percent}%\s+([\d.]+)(us|ms|s|m)", out) for percent in (50, 99))
    bad = re.findall(r"(?:Non-2xx or 3xx responses:|connect|read|write|timeout) (\d+)", out)
    if rate is None or p50 is None or p99 is None:
        raise ValueError(f"wrk printed no rate or no percentiles; is it wrk 4? It said: {out[-300:]!r}")
    return Load(float(rate[1]), in_ms(p50), in_ms(p99), sum(map(int, bad)))


def in_ms(found: "re.Match[str]") -> float:
    """A latency as wrk prints it, in milliseconds."""
    return float(found[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}[found[2]]


LUA = """
local data = '%s'
local bodies, turn = {}, 0
for number = 1, %d do
  local body = string.format(data, number)
  bodies[number] = wrk.format("POST", nil, {["host"] = "gateway", ["content-type"] = "application/json"}, body)
end
request = function()
  turn = turn %% %d + 1
  return bodies[turn]
end
"""
PAUSE = """
delay = function()
  return math.floor(%.3f * (0.5 + math.random()) + 0.5)
end
"""
