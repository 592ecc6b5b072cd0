"""Questions -> answers: rows of statistics, the content of a report, a page of metrics, the monitor's own standing.

Enters: the file of a state and its spool, or that of a view alone; the policy. Leaves: plain values. Only reads, and
blocks while it does: whoever serves an event loop asks from a thread. Questions of several threads, as of a page and of a
scrape, are answered one after the other.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import InvalidInput, NotReady, StoreUnavailable
from contracts.statistic import Statistic
from monitor.fleet.view_standing import standing_of_view
from monitor.measures.policy import MonitorPolicy
from monitor.measures.subject import DRIFT_STATISTICS, predicted_in, rows_of
from monitor.pages.metrics import Snapshot
from monitor.pages.queries import StateReader, open_reader
from monitor.pages.question import Question
from monitor.pages.report_content import Content
from monitor.pages.report_gathering import gather
from monitor.pages.standing import OwnPartition, Standing, standing_of
from monitor.pages.windows import windows_of

RECENT_US: Final = 7 * 86_400_000_000
"""How far the `7d` gauges look back from the newest event that is not ahead of its receipt: one event that claims to be of
the next century must not leave them empty.
"""


class Answers:
    """Answers from one file. `path` is a state's, and `spool` its prediction log; or a view's, and there is no spool.
    `now_us` gives the time, `own` the partitions that this worker counts.
    """

    def __init__(
        self,
        path: Path,
        spool: Path | None,
        policy: MonitorPolicy,
        now_us: Callable[[], int],
        own: Callable[[], list[OwnPartition]] = list,
    ) -> None:
        self._path = path
        self._spool = spool
        self._policy = policy
        self._now_us = now_us
        self._own = own
        self._reader: StateReader | None = None
        self._file: tuple[int, int] | None = None
        self._turn = threading.Lock()

    def rows(self, question: Question) -> list[Statistic]:
        """The rows that a question asks for, in the order of models, variants, slices and time."""
        with_drift = question.statistic is None or question.statistic in DRIFT_STATISTICS
        with self._reading() as reader:
            return [row for row in self._rows(reader, question, with_drift=with_drift) if _is_wanted(row, question)]

    def models(self) -> list[tuple[str, int]]:
        """Every model with the number of its predictions."""
        totals: dict[str, int] = {}
        with self._reading() as reader:
            for window in windows_of(reader, Question(slice="")):
                totals[window.key.model] = totals.get(window.key.model, 0) + predicted_in(window.counted)
        return sorted(totals.items())

    def content(self, question: Question) -> Content:
        """Everything that the report on one model says. Raises NotFound where there is nothing of it."""
        with self._reading() as reader:
            return gather(reader, question, self._policy, self._now_us())

    def snapshot(self) -> Snapshot:
        """What the metrics page shows: all event time, with the performance of slices, and the last seven days. Of more
        windows than can be asked for at once the first ones: one slice too many must not take the page away.
        """
        with self._reading() as reader:
            since_us = reader.progress().watermark_us + 1 - RECENT_US
            everything, cut = self._as_many(reader, Question(slice=""))
            sliced, cut_slices = self._as_many(reader, Question(), with_drift=False)
            recent, cut_recent = self._as_many(reader, Question(slice="", from_us=since_us))
            windows = {"all": [*everything, *(row for row in sliced if row.slice)], "7d": recent}
            return Snapshot(self._standing(reader), windows, cut=cut or cut_slices or cut_recent)

    def standing(self) -> Standing:
        """How far the log was read, what was tallied and what was found."""
        with self._reading() as reader:
            return self._standing(reader)

    def close(self) -> None:
        """Let go of the state; another question would open it again."""
        with self._turn:
            self._let_go()

    def _let_go(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _standing(self, reader: StateReader) -> Standing:
        if self._spool is None:
            return msgspec.structs.replace(standing_of_view(reader, self._path), own=self._own())
        return standing_of(reader, self._path, self._spool)

    def _rows(self, reader: StateReader, question: Question, *, with_drift: bool = True) -> Iterator[Statistic]:
        for window in windows_of(reader, question):
            yield from rows_of(window.counted, window.key, self._policy, with_drift=with_drift)

    def _as_many(
        self, reader: StateReader, question: Question, *, with_drift: bool = True
    ) -> tuple[list[Statistic], bool]:
        """The rows of as many windows as can be asked for at once, and whether there are more."""
        rows: list[Statistic] = []
        try:
            for row in self._rows(reader, question, with_drift=with_drift):
                rows.append(row)  # noqa: PERF402  what came before the error is kept
        except InvalidInput:
            return rows, True
        return rows, False

    @contextmanager
    def _reading(self) -> Iterator[StateReader]:
        """The reader, opened where it is not; given up after an error, and where another file took the place of the one
        that it reads, so that the next question opens the file anew.
        """
        with self._turn:
            try:
                file = _file_at(self._path)
                if file != self._file:
                    self._let_go()
                self._file = file
                self._reader = self._reader or open_reader(self._path)
                if self._spool is None and not self._reader.progress().tick:
                    raise NotReady("the summaries are being read for the first time; ask again")
                yield self._reader
            except sqlite3.Error as error:
                self._let_go()
                raise StoreUnavailable(f"monitor state {self._path}: {error}; ask again") from error


def _file_at(path: Path) -> tuple[int, int] | None:
    """Which file has this name now; null where none has."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _is_wanted(row: Statistic, question: Question) -> bool:
    return question.statistic in {None, row.statistic} and question.feature in {None, row.feature}
