"""One tick: a reading of the log is decoded, folded, joined, and saved with its read positions in one transaction.

Enters: readings, from whatever log, and what the registry says of versions. Leaves: the state one step further, and what
the step did. Where the log is read, the loop, its pace and its clock are elsewhere. A tick that fails saves nothing and
closes the state: open it again and read on from the positions that it has, which is also what a restart does.

Bound: a tick holds one reading; whoever reads bounds it.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from monitor.counts.catalogue import Catalogue
from monitor.counts.intake import Fresh, fresh
from monitor.counts.join_book import Horizon
from monitor.counts.join_store import JoinMemory
from monitor.counts.panes import PANE_US
from monitor.counts.record_type import RecordDecoder
from monitor.counts.state import Changes, Connect, Progress, State, open_state
from monitor.counts.step import Sources, Step, Times, step
from prediction_log.collector import collector_paused
from prediction_log.finding import Finding
from prediction_log.intervals import Interval
from prediction_log.position import Entry

EXPIRE_TICKS: Final = 64
"""Ticks after which what is past the horizon is dropped again, once the log is read to its end: while there is a backlog
the newest time met says nothing of what is still to come from other logs."""
DAY_US: Final = 86_400_000_000


class Reading(NamedTuple):
    """What was read of a log: entries, the positions after them by name (those that did not move may be left out), what
    was found beside them; with `caught_up` there is nothing more to read for now.
    """

    entries: Sequence[Entry]
    positions: Mapping[str, bytes]
    findings: Sequence[Finding]
    caught_up: bool


class Tick(NamedTuple):
    """What one tick did; counts are of records. With `caught_up` there is nothing more to read for now."""

    entries: int
    predictions: int
    labels: int
    duplicates: int
    caught_up: bool


Refuse = Callable[[Sequence[Entry]], None]
"""Takes what is no record, before it is saved that it was read. Whatever it raises, nothing is saved."""


class Consumer:
    """Owns the writing side of the state. `horizon_days` is how long after its event a label still counts; `memory` is
    shared by the states that one process has open; `refuse` is given what is no record.
    """

    def __init__(
        self,
        path: Path,
        catalogue: Catalogue,
        *,
        horizon_days: float,
        connect: Connect = sqlite3.connect,
        memory: JoinMemory | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        self.path = path
        self._catalogue = catalogue
        self._horizon_us = int(horizon_days * DAY_US)
        self._connect = connect
        self._memory = memory
        self._refuse = refuse
        self._decoder = RecordDecoder()
        self._state: State | None = None

    def open(self) -> Mapping[str, bytes]:
        """Open the state; the positions from which to read on. Raises StoreUnavailable."""
        self.close()
        self._state = open_state(self.path, self._connect, self._memory)
        return dict(self._state.positions)

    @property
    def seen(self) -> Mapping[str, Sequence[Interval]]:
        """The seqs that are counted, by log, while the state is open and nothing is being taken."""
        return {} if self._state is None else self._state.seen

    @property
    def progress(self) -> Progress:
        """How far the state is; nowhere while it is not open."""
        return Progress() if self._state is None else self._state.progress

    def take(self, reading: Reading, now_us: int) -> Tick:
        """Take one step. Raises StoreUnavailable, sqlite3.Error or Unavailable (the registry); then nothing was saved and
        the state is closed: open it, and read again from its positions.
        """
        assert self._state is not None, "open the state first"
        try:
            with collector_paused():
                return self._step(self._state, reading, now_us)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the state's files."""
        if self._state is not None:
            self._state.close()
            self._state = None

    def _step(self, state: State, reading: Reading, now_us: int) -> Tick:
        entries, caught_up = reading.entries, reading.caught_up
        moved = {name: at for name, at in reading.positions.items() if state.positions.get(name) != at}
        if not entries and not moved and not reading.findings and caught_up == state.progress.caught_up:
            return Tick(0, 0, 0, 0, caught_up)
        new = fresh(entries, state.seen)
        made = step(Sources(state, self._catalogue, self._decoder), new.entries, now_us, self._horizon_us)
        if made.unreadable and self._refuse is not None:
            self._refuse(made.unreadable)
        progress = _progress(state.progress, made.times, now_us, caught_up=caught_up)
        state.save(self._changes(reading, new, made, progress, moved))
        return Tick(len(entries), made.predictions, made.labels, new.duplicates, caught_up)

    def _changes(
        self, reading: Reading, new: Fresh, made: Step, progress: Progress, moved: Mapping[str, bytes]
    ) -> Changes:
        counters = Counter(made.counters)
        counters["records_duplicate", "", "", ""] += new.duplicates
        for (model, version), amount in self._catalogue.take_rejected().items():
            counters["reference_rejected", model, version, ""] += amount
        return Changes(
            progress,
            moved,
            new.seen,
            made.summaries,
            made.records,
            made.joined,
            made.known,
            counters,
            [msgspec.json.encode(finding).decode() for finding in reading.findings],
            self._forget(progress),
        )

    def _forget(self, progress: Progress) -> Horizon | None:
        """What is past the horizon now, or still is; null where it is not the time to drop it."""
        if not progress.caught_up:
            return None
        if not progress.swept:
            return Horizon(*progress.forgotten)
        if progress.tick - progress.swept_tick < EXPIRE_TICKS:
            return None
        received_us = max(0, progress.received_us - self._horizon_us) // PANE_US * PANE_US
        return Horizon(progress.watermark_us - self._horizon_us, received_us)


def _progress(last: Progress, times: Times, now_us: int, *, caught_up: bool) -> Progress:
    events = [time for time in (last.first_event_us, times.first_event_us) if time is not None]
    newest = [time for time in (last.last_event_us, times.last_event_us) if time is not None]
    return msgspec.structs.replace(
        last,
        tick=last.tick + 1,
        watermark_us=max(last.watermark_us, times.watermark_us or 0),
        received_us=max(last.received_us, times.received_us or 0),
        first_event_us=min(events, default=None),
        last_event_us=max(newest, default=None),
        updated_us=now_us,
        caught_up=caught_up,
    )
