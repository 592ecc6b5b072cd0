"""Who lives, and who follows which revision: the seam between workers that tell and the admin API that asks.

Two stand behind it: `HostFleet` (files in `state_dir`, one host) and `RedisFleet` (one Redis for all hosts).
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from contracts.errors import InvalidRecord, StoreUnavailable
from contracts.standing import ALIVE_MS, MonitorStanding, Verdicts, monitor_file, verdict_file
from contracts.verdict import Verdict
from contracts.wire import decode
from gateway.fleet.worker_status import WorkerStatus, read_statuses, write_status
from gateway.traffic.last_good import LastGood
from gateway.traffic.plan_floor import Applied

MONITORS_MAX: Final = 256
HINT_FILE: Final = "registry_hint"


class Seen(NamedTuple):
    """The living workers; `missing` says why there may be more of them, empty where there are not. `silent` are those that
    fell silent without leaving, and for how long: dead, or cut off and serving by an older plan.
    """

    workers: list[WorkerStatus]
    missing: str = ""
    silent: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What keeps this from being all."""
        silent = (f"silent, and perhaps on an older plan: {', '.join(self.silent)}",) if self.silent else ()
        return (*((self.missing,) if self.missing else ()), *silent)


class Fleet(Protocol):
    """What the processes of one or many hosts say of themselves."""

    def tell(self, status: WorkerStatus) -> None:
        """Take what a worker of this host says of itself, and pass it on without making it wait. Raises OSError."""
        ...

    def leave(self, slot: str) -> None:
        """A worker of this host is gone."""
        ...

    async def workers(self) -> Seen:
        """The living workers, by name."""
        ...

    async def monitors(self) -> list[MonitorStanding]:
        """The monitors, by name; the `problem` of one that fell silent says so. Raises StoreUnavailable."""
        ...

    async def verdicts(self, model: str) -> tuple[Verdict, ...]:
        """The latest verdict of each variant and guard, by their names. Raises StoreUnavailable."""
        ...

    async def hint(self, mark: str) -> None:
        """Tell every worker to look at the registry; `mark` is a text that never came before. Raises StoreUnavailable."""
        ...

    async def hinted(self) -> str:
        """The mark of the newest hint, empty before the first. Raises StoreUnavailable."""
        ...

    async def aclose(self) -> None:
        """Pass on what is left, and let go."""
        ...


class HostFleet:
    """A `Fleet` of one host, in files below `state_dir`."""

    def __init__(self, state_dir: Path, now_us: Callable[[], int]) -> None:
        self._workers = state_dir / "workers"
        self._state_dir = state_dir
        self._now_us = now_us

    def tell(self, status: WorkerStatus) -> None:
        """Replace the worker's file."""
        write_status(self._workers, status)

    def leave(self, slot: str) -> None:
        """Remove the worker's file."""
        (self._workers / f"{slot}.json").unlink(missing_ok=True)

    async def workers(self) -> Seen:
        """The workers whose process lives."""
        return Seen(await asyncio.to_thread(read_statuses, self._workers))

    async def monitors(self) -> list[MonitorStanding]:
        """The monitors that spoke lately."""
        found = []
        for path in sorted(monitor_file(self._state_dir, "").parent.glob("*.json"))[:MONITORS_MAX]:
            try:
                standing = decode(MonitorStanding, path.read_bytes())
            except (OSError, InvalidRecord):
                continue  # gone since the listing, or of another release
            if self._now_us() - standing.at_us < ALIVE_MS * 1000:
                found.append(standing)
        return found

    async def verdicts(self, model: str) -> tuple[Verdict, ...]:
        """The verdicts that this host's monitor gave last."""
        path = verdict_file(self._state_dir, model)
        try:
            return decode(Verdicts, path.read_bytes()).verdicts
        except FileNotFoundError:
            return ()
        except (OSError, InvalidRecord) as error:
            raise StoreUnavailable(f"verdicts {path} cannot be read: {error}") from error

    async def hint(self, mark: str) -> None:
        """Replace the file of the hint."""
        path = self._state_dir / HINT_FILE
        draft = path.with_name(f".{HINT_FILE}.{os.getpid()}")
        try:
            draft.write_text(mark)
            draft.replace(path)
        except OSError as error:
            raise StoreUnavailable(f"the hint {path} cannot be written: {error.strerror}") from error

    async def hinted(self) -> str:
        """What stands in the file of the hint: a few bytes, read in microseconds."""
        path = self._state_dir / HINT_FILE
        try:
            return path.read_text(errors="replace")  # any mark is a mark
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise StoreUnavailable(f"the hint {path} cannot be read: {error.strerror}") from error

    async def aclose(self) -> None:
        """Files need no closing."""


async def applied_of(model: str, last_good: LastGood, fleet: Fleet) -> Applied:
    """The newest plan of a model that any living worker runs, or that this host ran last."""
    kept = last_good.load(model)
    newest = Applied() if kept is None else Applied(kept.revision, "this host", kept)
    for worker in (await fleet.workers()).workers:
        if worker.applied.get(model, 0) > newest.revision:
            newest = Applied(worker.applied[model], f"worker {worker.name}")
    return newest
