"""Free ports of this machine, for servers that tests start: none that a client's end or another test is given meanwhile."""

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import cache
from itertools import cycle, islice
from pathlib import Path

# From these the kernel gives clients their ends: such a port, found free, may be somebody's when a server wants it.
CLIENT_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Below lie the ports that servers have by default.
LOWEST_PORT = 12_000
PORTS_OF_ONE_RUNNER = 1_500


def free_ports(count: int) -> list[int]:
    """As many ports that nobody listens on, not given again soon. RuntimeError where there are not as many."""
    found = list(islice(filter(_is_free, islice(_ports(), PORTS_OF_ONE_RUNNER)), count))
    if len(found) < count:
        raise RuntimeError(
            f"of the {PORTS_OF_ONE_RUNNER} ports of this test runner {len(found)} are free: {count} are wanted"
        )
    return found


@cache
def _ports() -> Iterator[int]:
    """This runner's own ports in turn, from anywhere: two runs of the tests beside each other seldom meet."""
    clients = int(CLIENT_PORTS.read_text().split()[0]) if CLIENT_PORTS.exists() else 32_768
    runner = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    shares = max((clients - LOWEST_PORT) // PORTS_OF_ONE_RUNNER, 1)
    first = LOWEST_PORT + runner % shares * PORTS_OF_ONE_RUNNER
    ports = range(first, first + PORTS_OF_ONE_RUNNER)
    return islice(cycle(ports), random.SystemRandom().randrange(PORTS_OF_ONE_RUNNER), None)


def _is_free(port: int) -> bool:
    """Whether a server could listen on it now; a connection's end that lingers from before is no hindrance."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def answers(port: int) -> bool:
    """Whether somebody takes connections on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_answers(
    port: int, alive: "object", seconds: float, what: str, ready: Callable[[int], bool] = answers
) -> None:
    """Return when the port is `ready`; RuntimeError where the process (its `poll`) ended or time is up."""
    end = time.monotonic() + seconds
    while not ready(port):
        if alive.poll() is not None:  # type: ignore[attr-defined]
            raise RuntimeError(f"{what} ended before it answered on port {port}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} does not answer on port {port} after {seconds:.0f} s")
        time.sleep(0.05)
