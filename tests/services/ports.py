"""Free ports of this machine, for servers that tests start."""

import socket
import time


def free_ports(count: int) -> list[int]:
    """As many ports that nobody listens on just now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def answers(port: int) -> bool:
    """Whether somebody takes connections on the port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until_answers(port: int, alive: "object", seconds: float, what: str) -> None:
    """Return when the port takes connections; RuntimeError where the process (its `poll`) ended or time is up."""
    end = time.monotonic() + seconds
    while not answers(port):
        if alive.poll() is not None:  # type: ignore[attr-defined]
            raise RuntimeError(f"{what} ended before it answered on port {port}")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} does not answer on port {port} after {seconds:.0f} s")
        time.sleep(0.05)
