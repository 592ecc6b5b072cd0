"""Memory of a gateway over many version swaps: each loads a version and lets another one go.

Enters: how many swaps. Leaves: what the worker holds (PSS) along the way, and how many requests failed meanwhile. One gateway
on one core; requests come from the other all the time. Not measured: how long a swap takes for large models. Run as
`python -m benchmarks.swaps`.
"""

import argparse
import json
import tempfile
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress

from benchmarks.closed_loop import V2_BODY
from benchmarks.machine import described, machine
from benchmarks.models import graph, write_version
from benchmarks.scenarios import ONE_VARIANT, scenario
from benchmarks.served import end_when_told, free_port, memory_mb
from benchmarks.sheets import Sheet

VERSIONS: Final = 8
"""More than a plan keeps warm."""
LOOKS: Final = 10


def main() -> None:
    """Swap, look, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--model", choices=["mlp", "wide"], default="mlp")
    arguments = parser.parse_args()
    end_when_told()
    about, console = machine(), Console(width=150)
    with (
        tempfile.TemporaryDirectory(prefix="pointsman-bench-") as made,
        Progress(console=console, transient=True) as progress,
    ):
        folder, admin = Path(made), free_port()
        for number in range(1, VERSIONS + 1):
            write_version(folder / "models", str(number), graph(arguments.model, number))
        bar, seen, done, failed = progress.add_task("swaps", total=arguments.swaps), {}, threading.Event(), [0, 0]
        with scenario(ONE_VARIANT, folder, admin) as server:
            asking = threading.Thread(target=ask, args=(server.port, done, failed), daemon=True)
            asking.start()
            for number in range(arguments.swaps):
                switch(admin, str(1 + (number + 1) % VERSIONS))
                progress.advance(bar)
                if (number + 1) % max(1, arguments.swaps // LOOKS) == 0:
                    seen[number + 1] = memory_mb(server.mark)
            done.set()
            asking.join()
    rows = [[f"{number:,}", f"{held:,.0f}"] for number, held in seen.items()]
    note = f"{failed[0]:,} requests meanwhile, {failed[1]} failed. {described(about)}"
    console.print(Sheet(f"{arguments.model}: memory over swaps", ("swaps", "MB"), rows, (note,)).rich())


def switch(admin: int, version: str) -> None:
    """Make a version the champion, and wait until the worker has it."""
    change = {"version": version, "who": "benchmark", "reason": "swap", "wait_ms": 30_000}
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/admin/models/m/switch",
        json.dumps(change).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert json.load(reply)["converged"].startswith("1/1")


def ask(port: int, done: threading.Event, counted: list[int]) -> None:
    """Ask again and again; counts requests and failures."""
    url, body = f"http://127.0.0.1:{port}/v2/models/m/infer", (V2_BODY % 1).encode()
    while not done.wait(0.005):
        counted[0] += 1
        try:
            urllib.request.urlopen(urllib.request.Request(url, body), timeout=30).close()
        except urllib.error.URLError:
            counted[1] += 1


if __name__ == "__main__":
    main()
