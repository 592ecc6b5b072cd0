"""One tick: poll the log, decode, fold, join, and save everything with the read positions in one transaction.

Enters: the spool's entries, and what the registry says of versions. Leaves: the state one step further, and what the step
did. The loop around it, its pace and its clock are elsewhere. A tick that fails saves nothing; the next one opens the
state and the log again where the last saved tick ended, which is also what a restart does.

Bound: a tick reads `records_max` entries. A backlog stays in the log.
"""

import gc
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from monitor.catalogue import Catalogue
from monitor.intake import Fresh, fresh
from monitor.record_type import RecordDecoder
from monitor.state import Changes, Connect, Progress, State, open_state
from monitor.step import Sources, Step, Times, step
from prediction_log.reader import Position, SpoolReader

EXPIRE_TICKS: Final = 64
"""Ticks after which what is past the horizon is dropped again, once the log is read to its end: while there is a backlog
the newest time met says nothing of what is still to come from other logs."""
DAY_US: Final = 86_400_000_000

OpenReader = Callable[[Mapping[str, Position]], SpoolReader]


class Tick(NamedTuple):
    """What one tick did; counts are of records. With `caught_up` there is nothing more to read for now."""

    entries: int
    predictions: int
    labels: int
    duplicates: int
    caught_up: bool


class _Opened(NamedTuple):
    state: State
    reader: SpoolReader
    saved: dict[str, Position]


class Consumer:
    """Owns the writing side of the state. `open_reader` opens the log at saved positions, `records_max` bounds a tick,
    `horizon_days` is how long after its event a label still counts.
    """

    def __init__(
        self,
        path: Path,
        open_reader: OpenReader,
        catalogue: Catalogue,
        *,
        records_max: int,
        horizon_days: float,
        connect: Connect = sqlite3.connect,
    ) -> None:
        self._path = path
        self._open_reader = open_reader
        self._catalogue = catalogue
        self._records_max = records_max
        self._horizon_us = int(horizon_days * DAY_US)
        self._connect = connect
        self._decoder = RecordDecoder()
        self._opened: _Opened | None = None

    def tick(self, now_us: int) -> Tick:
        """Take one step. Raises StoreUnavailable, sqlite3.Error, Unavailable (the registry) or CorruptLog; then nothing
        was saved, and the next tick starts from what is.
        """
        try:
            opened = self._opened = self._opened or self._open()
            with _collector_paused():
                return self._step(opened, now_us)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the state's file; another tick would open it again."""
        if self._opened is not None:
            self._opened.state.close()
            self._opened = None

    def _open(self) -> _Opened:
        state = open_state(self._path, self._connect)
        saved = {name: msgspec.json.decode(content, type=Position) for name, content in state.positions.items()}
        return _Opened(state, self._open_reader(saved), saved)

    def _step(self, opened: _Opened, now_us: int) -> Tick:
        state, reader, saved = opened
        entries = reader.poll(self._records_max)
        caught_up = len(entries) < self._records_max
        moved = {name: position for name, position in reader.positions.items() if saved.get(name) != position}
        if not entries and not moved and not reader.findings and caught_up == state.progress.caught_up:
            return Tick(0, 0, 0, 0, caught_up)
        new = fresh(entries, state.seen)
        sources = Sources(state, self._catalogue, self._decoder)
        made = step(sources, new.entries, now_us, self._horizon_us)
        progress = _progress(state.progress, made.times, now_us, caught_up=caught_up)
        state.save(self._changes(reader, new, made, progress, moved))
        saved.update(moved)
        return Tick(len(entries), made.predictions, made.labels, new.duplicates, caught_up)

    def _changes(
        self, reader: SpoolReader, new: Fresh, made: Step, progress: Progress, moved: Mapping[str, Position]
    ) -> Changes:
        counters = Counter(made.counters)
        counters["records_duplicate", "", "", ""] += new.duplicates
        for (model, version), amount in self._catalogue.take_rejected().items():
            counters["reference_rejected", model, version, ""] += amount
        return Changes(
            progress,
            {name: msgspec.json.encode(position) for name, position in moved.items()},
            new.seen,
            made.summaries,
            made.records,
            made.joined,
            counters,
            [msgspec.json.encode(finding).decode() for finding in reader.findings],
            self._expire_before(progress),
        )

    def _expire_before(self, progress: Progress) -> tuple[int, int] | None:
        """The event time and the receipt before which nothing is waited for any more; null where it is not the time."""
        if not progress.caught_up or progress.tick - progress.swept_tick < EXPIRE_TICKS:
            return None
        return progress.watermark_us - self._horizon_us, progress.received_us - self._horizon_us


def _progress(last: Progress, times: Times, now_us: int, *, caught_up: bool) -> Progress:
    events = [time for time in (last.first_event_us, times.first_event_us) if time is not None]
    newest = [time for time in (last.last_event_us, times.last_event_us) if time is not None]
    return Progress(
        tick=last.tick + 1,
        watermark_us=max(last.watermark_us, times.watermark_us or 0),
        received_us=max(last.received_us, times.received_us or 0),
        first_event_us=min(events, default=None),
        last_event_us=max(newest, default=None),
        updated_us=now_us,
        caught_up=caught_up,
        expired=last.expired,
        swept_tick=last.swept_tick,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Decoding makes hundreds of thousands of lists and no cycles: the cycle collector would take half the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
