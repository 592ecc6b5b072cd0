"""The project's own servers in benchmarks: the gateway in several dresses, and the floor under it.

Enters: a scenario's name and a folder with a registry in `models/`. Leaves: the server, ready, its traffic split where the
scenario says so. It never loads anything.
"""

import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.served import SERVER_CORE, Served, free_port, served

FLOOR, EVERYTHING, NO_LOG, ONE_VARIANT = "floor", "everything", "no log", "one variant"
SCENARIOS: Final = (FLOOR, EVERYTHING, NO_LOG, ONE_VARIANT)


@contextmanager
def scenario(
    name: str, folder: Path, admin: int | None = None, *, workers: int = 1, cores: str = SERVER_CORE
) -> Iterator[Served]:
    """A server of ours, ready; its admin API listens where the caller says, else anywhere."""
    port, admin = free_port(), admin or free_port()
    state = folder / f"{name.replace(' ', '-')}-{workers}"
    state.mkdir()
    ready: str | None
    if name == FLOOR:
        command = [sys.executable, "-m", "benchmarks.floor", str(model_file(folder)), str(port)]
        ready = None
    else:
        command = [sys.executable, "-m", "pointsman", "serve"]
        ready = "/v2/health/ready"
    settings = {
        "PYTHONPATH": Path(__file__).parent.parent,
        "POINTSMAN_REGISTRY": folder / "models",
        "POINTSMAN_STATE_DIR": state / "state",
        "POINTSMAN_HTTP_PORT": port,
        "POINTSMAN_ADMIN_PORT": admin,
        "POINTSMAN_WORKERS": workers,
        "POINTSMAN_LOG_ENABLED": "false" if name == NO_LOG else "true",
    }
    with served(command, port, ready, state, settings, cores=cores) as server:
        if name in {EVERYTHING, NO_LOG}:
            split(admin)
        yield server


def model_file(folder: Path) -> Path:
    """The ONNX file that all servers of a run serve."""
    return folder / "models" / "m" / "1" / "model.onnx"


def split(admin: int) -> None:
    """Half of the traffic to version 2."""
    body = json.dumps(
        {"version": "2", "share": 0.5, "who": "benchmark", "reason": "benchmark", "wait_ms": 5000}
    ).encode()
    url = f"http://127.0.0.1:{admin}/admin/models/m/ab"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        assert reply.status == 200, reply.status
