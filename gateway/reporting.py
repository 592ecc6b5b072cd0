"""What a worker tells about itself: its state for the admin API and the supervisor, its counts for the metrics page.

Enters: the models and the counts of a worker. Leaves: its word to the fleet, and a file of counts a slot, replaced in one
step. Never counts and never applies anything.
"""

import asyncio
import logging
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway import metrics
from gateway.clock import Clock
from gateway.exposition import page
from gateway.fleet.seam import Fleet
from gateway.fleet.worker_status import WorkerStatus, read_statuses
from gateway.metrics import Meter
from gateway.traffic.plans import Models
from prediction_log.spool.writer import LogWriter

_LOG: Final = logging.getLogger("pointsman.gateway")


class Report:
    """The voice of one slot."""

    def __init__(
        self, fleet: Fleet, state_dir: Path, slot: str, log: LogWriter | None, meter: Meter, clock: Clock
    ) -> None:
        self._fleet = fleet
        self._unheard = self._unsaved = False
        self._workers = state_dir / "workers"
        self._metrics = state_dir / "metrics"
        self._slot = slot
        self._log = log
        self._meter = meter
        self._clock = clock
        self._started_us = clock.now_us()
        self._saving = threading.Lock()
        self._taken = self._saved = 0

    @property
    def name(self) -> str:
        """Machine and slot: who saw something, for an audit record."""
        return f"{socket.gethostname()}/{self._slot}"

    def tell(self, models: Models) -> None:
        """Write down what is applied and loaded, and that the event loop turns."""
        servings = models.servings
        status = WorkerStatus(
            slot=self._slot,
            pid=os.getpid(),
            started_us=self._started_us,
            applied={model: serving.points.plan.revision for model, serving in servings.items()},
            loaded={model: tuple(serving.runners) for model, serving in servings.items()},
            errors=dict(models.errors),
            versions=models.states(),
            at_us=self._clock.now_us(),
        )
        try:
            self._fleet.tell(status)
        except OSError as error:
            if not self._unheard:
                _LOG.warning("%s cannot say where it is: %s", self._slot, error)
            self._unheard = True
        else:
            self._unheard = False

    async def save_counts(self, models: Models) -> None:
        """Write the counts where every worker's metrics page finds them, in a thread: a busy disk holds nobody up."""
        self._taken += 1
        await asyncio.to_thread(self._save, self._taken, self._counts(models))

    def _counts(self, models: Models) -> metrics.Snapshot:
        servings = models.servings
        gauges = metrics.Gauges(
            revisions={model: serving.points.plan.revision for model, serving in servings.items()},
            loaded={model: len(serving.runners) for model, serving in servings.items()},
            log_bytes=self._log.bytes if self._log else 0,
            log_shed=self._log.shed if self._log else 0,
            log_writable=self._log is not None and self._log.available,
            behind={model: model in models.refused for model in models.errors},
            store_reached=models.store_reached,
        )
        return self._meter.snapshot(gauges)

    def _save(self, number: int, counts: metrics.Snapshot) -> None:
        """Replace the file, unless a later one stands there: threads come to an end in any order. A disk that does not
        take it is told once: only the pages of the other workers lack what this one counts meanwhile.
        """
        with self._saving:
            if number <= self._saved:
                return
            try:
                self._metrics.mkdir(parents=True, exist_ok=True)
                metrics.save(self._metrics, self._slot, counts)
            except OSError as error:
                if not self._unsaved:
                    _LOG.warning("%s cannot write down what it counts: %s", self._slot, error)
                self._unsaved = True
            else:
                self._saved, self._unsaved = number, False

    async def page(self, models: Models) -> bytes:
        """The metrics page of the host. It waits for no disk: what this worker counts it knows without one."""
        living = [status.slot for status in read_statuses(self._workers)]
        return page(self._metrics, living, {self._slot: self._counts(models)})

    def leave(self, models: Models) -> None:
        """Write the last counts, and leave the host's list; where the disk does not take it, its process is gone anyway."""
        self._taken += 1
        self._save(self._taken, self._counts(models))
        with suppress(OSError):
            self._fleet.leave(self._slot)
