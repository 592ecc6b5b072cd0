"""What the monitor counted, for whoever shows or judges it: read beside the one writer, never blocking it.

Enters: the file of a state, or of a view of many states added up, and questions. Leaves: vectors of counts, counters,
progress. Every answer is of one moment: it holds everything of a tick, or nothing. Only reads. One thread at a time may use
a reader.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contracts.errors import InvalidInput, NotFound, StoreUnavailable
from monitor.counts.columns import Ints
from monitor.counts.generation import Generation, decode_generation
from monitor.counts.panes import (
    ALL,
    DAY_PANES,
    PANE_BITS,
    PANE_US,
    SLICE_BITS,
    SLICES_MAX,
    bucket_of,
    pane_of_bucket,
    series_of,
    series_of_bucket,
)
from monitor.counts.state import BUSY_SECONDS, GENERATIONS_KEPT, Counters, Progress
from monitor.counts.summary import Summaries, SummaryKey, added_up, merge, part
from monitor.counts.summary_store import Loose, Row, first_recent, loosened, oldest_kept, read_recent

ROWS_AT_ONCE: Final = 4_096
"""Settled rows in memory at a time."""
VECTORS_MAX: Final = 2_000
"""Vectors that one series may have; more are refused."""


class Group(NamedTuple):
    """One version in one variant under one reference. `slices` are names, `all` first."""

    number: int
    model: str
    version: str
    digest: str
    variant: str
    reference_hash: str
    slices: tuple[str, ...]


class _Span(NamedTuple):
    """A run of settled rows: [first, end) of `pane` or `day`; `unit` panes a row."""

    table: str
    first: int
    end: int
    unit: int


class StateReader:
    """Answers from one open connection. Times are microseconds since the epoch, UTC; from is included, to is not, null is
    open; both are rounded down to panes.
    """

    def __init__(self, connection: sqlite3.Connection, order: str = "number") -> None:
        self._connection = connection
        self._order = order
        self._generations: dict[int, Generation] = {}
        self._recent: dict[int, Summaries] = {}

    def groups(self) -> list[Group]:
        """All groups, in the order in which they were first met."""
        numbers = self._connection.execute(f"SELECT number, variant FROM grp ORDER BY {self._order}").fetchall()  # noqa: S608
        return [self._group(number, variant) for number, variant in numbers]

    def generation(self, group: Group) -> Generation:
        """How a group is counted: its layout, reference, task and slices."""
        return self._generation(group.number)

    def merged(self, group: Group, slice_name: str = ALL, from_us: int | None = None, to_us: int | None = None) -> Ints:
        """The counts of [from_us, to_us), added up: [layout size] int64. NotFound for a slice that is not declared."""
        vectors = self._vectors(group, slice_name, from_us, to_us, None)
        return vectors.get(0, self._generation(group.number).layout.zeros())

    def series(
        self, group: Group, slice_name: str, from_us: int | None, to_us: int | None, bucket_us: int
    ) -> list[tuple[int, Ints]]:
        """(start, counts) of every stretch of `bucket_us` that has any, in order of time; aligned to the epoch.

        `bucket_us` is a multiple of the pane; multiples of a day are fastest. Raises InvalidInput beyond VECTORS_MAX.
        """
        if bucket_us <= 0 or bucket_us % PANE_US:
            raise InvalidInput(f"bucket_us = {bucket_us}: must be a multiple of the pane, {PANE_US}")
        vectors = self._vectors(group, slice_name, from_us, to_us, bucket_us)
        return [(bucket * bucket_us, vectors[bucket]) for bucket in sorted(vectors)]

    def counters(self) -> Counters:
        """Everything that was tallied beside the vectors, by (name, model, version, detail)."""
        columns = "name, model, version, detail"
        rows = self._connection.execute(f"SELECT {columns}, sum(value) FROM counter GROUP BY {columns}")  # noqa: S608
        return Counters({(name, model, version, detail): value for name, model, version, detail, value in rows})

    def progress(self) -> Progress:
        """How far the monitor is."""
        row = self._connection.execute("SELECT content FROM progress").fetchone()
        return msgspec.json.decode(row[0], type=Progress) if row else Progress()

    def findings(self) -> list[str]:
        """What reading the log found beside records, as JSON of `prediction_log.finding.Finding`."""
        query = "SELECT DISTINCT content FROM finding ORDER BY content"
        return [content for (content,) in self._connection.execute(query)]

    def summaries(self) -> Iterator[tuple[SummaryKey, Ints, Ints]]:
        """Every summary that is kept by panes, with its cells and counts; for merging states and for proofs."""
        with self._moment():
            groups = {group.number: group for group in self.groups()}
            rows = self._connection.execute("SELECT bucket, width, cells, counts FROM pane ORDER BY bucket").fetchall()
            total = merge([_settled(rows), *self._recent_now()])
        for place, bucket in enumerate(total.buckets.tolist()):
            one = part(total, place, place + 1)
            series = series_of_bucket(bucket)
            group = groups[series >> SLICE_BITS]
            names = group.model, group.version, group.digest, group.reference_hash, group.variant
            key = SummaryKey(*names, group.slices[series & SLICES_MAX], pane_of_bucket(bucket) * PANE_US)
            yield key, one.cells, one.counts

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _group(self, number: int, variant: str) -> Group:
        made = self._generation(number)
        names = made.model, made.version, made.digest
        return Group(number, *names, variant, made.layout.reference_hash, made.slices)

    def _generation(self, number: int) -> Generation:
        if number not in self._generations:
            if len(self._generations) >= GENERATIONS_KEPT:
                self._generations.clear()
            query = (
                "SELECT model, version, digest, definition FROM grp"
                " JOIN generation ON generation.number = grp.generation WHERE grp.number = ?"
            )
            self._generations[number] = decode_generation(*self._connection.execute(query, (number,)).fetchone())
        return self._generations[number]

    def _vectors(
        self, group: Group, slice_name: str, from_us: int | None, to_us: int | None, bucket_us: int | None
    ) -> dict[int, Ints]:
        """Vectors by bucket, all in bucket 0 where there is no `bucket_us`."""
        series = series_of(group.number, _slice_number(group, slice_name))
        first = 0 if from_us is None else max(0, from_us // PANE_US)
        end = 2**PANE_BITS if to_us is None else min(2**PANE_BITS, max(0, to_us // PANE_US))
        vectors: dict[int, Ints] = {}
        if first >= end:
            return vectors
        size = self._generation(group.number).layout.size
        with self._moment():
            by_day = bucket_us is None or bucket_us % (DAY_PANES * PANE_US) == 0
            for span in _spans(first, end, oldest_kept(self.progress().watermark_us // PANE_US), by_day=by_day):
                for rows in self._pages(series, span):
                    panes = np.array([pane_of_bucket(row[0]) * span.unit for row in rows], np.int64)
                    for loose in loosened(rows):
                        _add(vectors, size, _buckets(panes, bucket_us), loose)
            for recent in self._recent_now():
                panes, loose = _recent_of(recent, series, first, end)
                _add(vectors, size, _buckets(panes, bucket_us), loose)
        return vectors

    def _pages(self, series: int, span: _Span) -> Iterator[list[Row]]:
        first, end = bucket_of(series, span.first), bucket_of(series, 0) + span.end
        query = f"SELECT * FROM {span.table} WHERE bucket >= ? AND bucket < ? ORDER BY bucket LIMIT ?"  # noqa: S608
        while rows := self._connection.execute(query, (first, end, ROWS_AT_ONCE)).fetchall():
            yield rows
            first = rows[-1][0] + 1

    def _recent_now(self) -> list[Summaries]:
        """What is not settled, tick by tick; only ticks that were not read before are read."""
        first = first_recent(self._connection)
        self._recent = {tick: part for tick, part in self._recent.items() if first is not None and tick >= first}
        self._recent |= read_recent(self._connection, after=max(self._recent, default=-1))
        return list(self._recent.values())

    @contextmanager
    def _moment(self) -> Iterator[None]:
        """All reading inside sees the same state."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("COMMIT")


def open_reader(path: Path) -> StateReader:
    """A reader of the state in this file. Raises StoreUnavailable where there is none that can be read."""
    try:
        address = f"{path.resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(
            address, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            connection.execute("PRAGMA cache_size = -65536")
            columns = {column[1] for column in connection.execute("PRAGMA table_info(grp)")}
            connection.execute("SELECT count(*) FROM progress").fetchone()
            on_error.pop_all()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"monitor state {path}: {error}; is the monitor running?") from error
    # A view hears of groups in any order and says when each was first met.
    return StateReader(connection, "met_us, met, number" if "met_us" in columns else "number")


def _slice_number(group: Group, name: str) -> int:
    if name not in group.slices:
        declared = ", ".join(group.slices)
        raise NotFound(f"slice {name!r} of {group.model} version {group.version}: there are {declared}")
    return group.slices.index(name)


def _spans(first: int, end: int, oldest: int, *, by_day: bool) -> list[_Span]:
    """The settled rows that make up [first, end): whole days where that is allowed, panes at both ends. Where panes are
    no longer kept, an end is moved out to its whole day.
    """
    if not by_day:
        return [_Span("pane", first, end, 1)]
    first_day = first // DAY_PANES if first < oldest else -(-first // DAY_PANES)
    end_day = -(-end // DAY_PANES) if end < oldest else end // DAY_PANES
    if first_day > end_day:
        return [_Span("pane", first, end, 1)]
    spans = [
        _Span("pane", first, first_day * DAY_PANES, 1),
        _Span("day", first_day, end_day, DAY_PANES),
        _Span("pane", end_day * DAY_PANES, end, 1),
    ]
    return [span for span in spans if span.first < span.end]


def _buckets(panes: Ints, bucket_us: int | None) -> Ints:
    return np.zeros_like(panes) if bucket_us is None else panes * PANE_US // bucket_us


def _recent_of(recent: Summaries, series: int, first: int, end: int) -> tuple[Ints, Loose]:
    """One series' part of what is not settled: the panes of its buckets, and their counts."""
    low, high = np.searchsorted(recent.buckets, [bucket_of(series, first), bucket_of(series, 0) + end])
    own = part(recent, int(low), int(high))  # none of it where the series is not in this tick
    owners = np.repeat(np.arange(len(own.buckets)), np.diff(own.starts))
    return np.asarray(pane_of_bucket(own.buckets)), Loose(owners, own.cells, own.counts)


def _add(vectors: dict[int, Ints], size: int, buckets: Ints, loose: Loose) -> None:
    """Add loose counts to the vector of their owner's bucket."""
    for bucket in np.unique(buckets).tolist():
        if bucket not in vectors:
            if len(vectors) >= VECTORS_MAX:
                raise InvalidInput(f"more than {VECTORS_MAX} vectors asked for at once: choose a wider bucket")
            vectors[bucket] = np.zeros(size, np.int64)
    if len(vectors) == 1:
        np.add.at(next(iter(vectors.values())), loose.cells, loose.counts)
        return
    of_entry = buckets[loose.owners]
    order = np.argsort(of_entry, kind="stable")
    bounds = np.flatnonzero(np.diff(of_entry[order], prepend=-1))
    for entries in np.split(order, bounds[1:]) if len(order) else ():
        np.add.at(vectors[int(of_entry[entries[0]])], loose.cells[entries], loose.counts[entries])


def _settled(rows: list[Row]) -> Summaries:
    buckets = np.array([row[0] for row in rows], np.int64)
    return merge([added_up(buckets, *loose) for loose in loosened(rows)])
