"""What each worker says of itself, and how it stands in `<state_dir>/workers/<slot>.json`: plans applied, versions loaded.

Enters: a status to write, or the directory. Leaves: a file replaced in one step, or the statuses of the workers that
live. How the admin API knows which worker follows which revision without asking any of them. Never holds a plan.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from contracts.errors import InvalidRecord
from contracts.plan import VersionRef
from contracts.version_state import VersionState
from contracts.wire import Contract, decode, encode

WORKERS_MAX = 256
"""The most status files that are read; a host with more workers than that is not one we know."""


class WorkerStatus(Contract, frozen=True, kw_only=True):
    """One worker; `host` is empty in its own host's files. `applied`: model to the revision it routes by; `loaded`: model
    to the versions in memory; `versions`: model to the versions that it loads just now or rejects; `errors`: model to the
    reason why it stays behind. Times: microseconds since the epoch, UTC.
    """

    host: str = ""
    slot: str
    pid: int
    started_us: int
    applied: Mapping[str, int] = {}
    loaded: Mapping[str, tuple[VersionRef, ...]] = {}
    versions: Mapping[str, tuple[VersionState, ...]] = {}
    errors: Mapping[str, str] = {}
    at_us: int

    @property
    def name(self) -> str:
        """How it is told from every other: its slot, in a fleet with its host before it."""
        return f"{self.host}/{self.slot}" if self.host else self.slot

    def at(self, host: str) -> "WorkerStatus":
        """The same, as the other hosts of a fleet see it."""
        return replace(self, host=host)


def write_status(workers: Path, status: WorkerStatus) -> None:
    """Replace a worker's file in one step: a reader sees the old status or the new one. Raises OSError."""
    workers.mkdir(parents=True, exist_ok=True)
    draft = workers / f".{status.slot}.{status.pid}"
    draft.write_bytes(encode(status))
    draft.replace(workers / f"{status.slot}.json")


def read_statuses(workers: Path) -> list[WorkerStatus]:
    """The statuses of the workers whose process lives, by slot; what a dead worker left behind is passed over."""
    statuses = []
    for path in sorted(workers.glob("*.json"))[:WORKERS_MAX]:
        try:
            status = decode(WorkerStatus, path.read_bytes())
        except (FileNotFoundError, InvalidRecord):
            continue  # gone since the listing, or left by another release: it says nothing about a worker of ours
        if lives(status.pid):
            statuses.append(status)
    return statuses


def forget_workers(workers: Path) -> None:
    """Remove what workers of an earlier run left behind: others may bear their pids by now. Who still runs says so again."""
    for path in workers.glob("*.json"):
        path.unlink(missing_ok=True)


def lives(pid: int) -> bool:
    """Whether a process of this host is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's process, so it lives
    return True
