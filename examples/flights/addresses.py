"""Where the parts of the running system are reached, all on this machine."""

import socket
from typing import Final, NamedTuple

HOST: Final = "127.0.0.1"
DEFAULT_PORTS: Final = {"http": 8000, "admin": 8003, "monitor": 8004}


class Addresses(NamedTuple):
    """The ports of the three listeners."""

    http_port: int
    admin_port: int
    monitor_port: int

    @property
    def gateway(self) -> str:
        """The data plane."""
        return f"http://{HOST}:{self.http_port}"

    @property
    def admin(self) -> str:
        """The admin API."""
        return f"http://{HOST}:{self.admin_port}"

    @property
    def monitor(self) -> str:
        """The monitor: summaries and reports."""
        return f"http://{HOST}:{self.monitor_port}"


def free_addresses() -> Addresses:
    """The default ports; where one is taken, a free one instead."""
    return Addresses(**{f"{role}_port": free_port(port) for role, port in DEFAULT_PORTS.items()})


def free_port(wanted: int) -> int:
    """The wanted port if nobody listens there, else one that the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            bound: int = probe.getsockname()[1]
            return bound
    raise OSError(f"no free port on {HOST}")
