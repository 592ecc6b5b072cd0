"""Summaries in SQLite: what recent ticks added, and under it the settled counts of every pane and of every day.

Enters: an open connection and summaries. Leaves: rows written, or vectors read. Never opens, begins or commits: the caller
owns the transaction.

    recent    one row a tick: everything it added. Writing it costs as much as what came in, not as what is stored
    pane      settled counts, one row a bucket; kept for PANES_KEPT_DAYS of event time before the newest, then dropped
    day       the same counts by whole UTC days; kept for good: one row a series and day

    touched   which buckets of panes each settled tick added to, for as long as TOUCHED_MAX allows

From time to time `settle` adds `recent` into both and empties it. A count is in `recent` or settled, never in both. Cells
and counts are little-endian integers of the least width that holds a row; `width` says which: bytes a cell times 16 plus
bytes a count.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from monitor.counts.columns import Ints
from monitor.counts.panes import DAY_PANES, bucket_of, day_of_bucket, series_of_bucket
from monitor.counts.summary import Summaries, added_up, merge, part, subtract

SCHEMA: Final = (
    "CREATE TABLE recent (tick INTEGER PRIMARY KEY, width INTEGER, buckets BLOB, starts BLOB, cells BLOB, counts BLOB)",
    "CREATE TABLE pane (bucket INTEGER PRIMARY KEY, width INTEGER, cells BLOB, counts BLOB)",
    "CREATE TABLE day (bucket INTEGER PRIMARY KEY, width INTEGER, cells BLOB, counts BLOB)",
    "CREATE TABLE touched (tick INTEGER PRIMARY KEY, buckets BLOB)",
)
PANES_KEPT_DAYS: Final = 400
SETTLE_TICKS_MAX: Final = 128
SETTLE_CELLS_MAX: Final = 1_000_000
"""`recent` is settled when it holds this many ticks or cells: what a reader has to add up at most."""
TOUCHED_MAX: Final = 500_000
"""Buckets that are remembered as touched; who asks for more is told that everything may have changed."""
BUCKETS_AT_ONCE: Final = 2_000
_CELLS_AT_ONCE: Final = 2_000_000

Row = tuple[int, int, bytes, bytes]


class Loose(NamedTuple):
    """Counts as they come from rows: counts[i] belongs to cells[i] of the row owners[i]."""

    owners: Ints
    cells: Ints
    counts: Ints


def add_recent(connection: sqlite3.Connection, tick: int, summaries: Summaries) -> None:
    """Store what a tick added."""
    width = _width(int(np.abs(summaries.counts).max(initial=0)))
    values = (
        summaries.buckets.astype("<i8").tobytes(),
        summaries.starts.astype("<i8").tobytes(),
        summaries.cells.astype("<u4").tobytes(),
        summaries.counts.astype(f"<i{width}").tobytes(),
    )
    connection.execute("INSERT INTO recent VALUES (?, ?, ?, ?, ?, ?)", (tick, width, *values))


def add_days(connection: sqlite3.Connection, summaries: Summaries) -> None:
    """Add to whole days whose panes are no longer kept; the buckets are of days."""
    _add(connection, "day", summaries)


def read_recent(connection: sqlite3.Connection, after: int = -1) -> dict[int, Summaries]:
    """What is not settled yet, by tick; only ticks after the given one."""
    rows = connection.execute("SELECT tick, width, buckets, starts, cells, counts FROM recent WHERE tick > ?", (after,))
    return {tick: _decoded_recent(*row) for tick, *row in rows}


def first_recent(connection: sqlite3.Connection) -> int | None:
    """The first tick that is not settled yet."""
    first: int | None = connection.execute("SELECT min(tick) FROM recent").fetchone()[0]
    return first


def recent_size(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many ticks and how many cells wait to be settled."""
    ticks, size = connection.execute("SELECT count(*), coalesce(sum(length(cells)), 0) FROM recent").fetchone()
    return ticks, size // 4


def settle(connection: sqlite3.Connection, newest_pane: int) -> None:
    """Add `recent` into panes and days. Panes too old to be kept are dropped; their days stay."""
    summaries = merge(list(read_recent(connection).values()))
    bounds = _dropped(summaries, oldest_kept(newest_pane))
    _write_touched(connection, bounds)
    _add(connection, "pane", summaries)
    _add(connection, "day", days_of(summaries))
    connection.executemany("DELETE FROM pane WHERE bucket >= ? AND bucket < ?", bounds)
    connection.execute("DELETE FROM recent")


def days_of(summaries: Summaries) -> Summaries:
    """The same counts by whole days."""
    days, owners = np.unique(day_of_bucket(summaries.buckets), return_inverse=True)
    loose = np.repeat(owners, np.diff(summaries.starts))
    return added_up(days, loose, summaries.cells, summaries.counts)


def touched_since(connection: sqlite3.Connection, tick: int) -> Ints | None:
    """The buckets of panes that ticks after this one added to, or dropped; null where that is no longer known."""
    rows = connection.execute("SELECT tick, buckets FROM touched WHERE tick > ?", (tick,)).fetchall()
    rows += connection.execute("SELECT tick, buckets FROM recent WHERE tick > ?", (tick,)).fetchall()
    if not rows or min(one for one, _ in rows) > tick + 1:
        return None
    return np.unique(np.frombuffer(b"".join(buckets for _, buckets in rows), "<i8").astype(np.int64))


def buckets_of(connection: sqlite3.Connection, table: str) -> Ints:
    """All settled buckets, ascending; `table` is pane or day."""
    rows = connection.execute(f"SELECT bucket FROM {table} ORDER BY bucket")  # noqa: S608
    return np.fromiter((bucket for (bucket,) in rows), np.int64)


def cumulative(connection: sqlite3.Connection, table: str, recent: Summaries, buckets: Ints) -> Summaries:
    """The counts of these buckets, at most BUCKETS_AT_ONCE, with what of them is `recent`."""
    wanted = np.isin(recent.buckets, buckets)
    owners = np.repeat(np.arange(len(recent.buckets)), np.diff(recent.starts))
    cells = wanted[owners]
    places = np.searchsorted(buckets, recent.buckets[owners[cells]])
    new = added_up(buckets, places, recent.cells[cells], recent.counts[cells])
    return _sum(_rows_of(connection, table, buckets), buckets, new)


def put_panes(connection: sqlite3.Connection, panes: Summaries) -> None:
    """Make these the settled counts of their buckets, and let their days follow."""
    for some in _bounded(panes):
        before = cumulative(connection, "pane", merge([]), some.buckets)
        difference = subtract(some, before)
        _add(connection, "pane", difference)
        _add(connection, "day", days_of(difference))


def put_days(connection: sqlite3.Connection, days: Summaries) -> None:
    """Make these the settled counts of their days, of which no pane is kept."""
    for some in _bounded(days):
        _add(connection, "day", subtract(some, cumulative(connection, "day", merge([]), some.buckets)))


def oldest_kept(newest_pane: int) -> int:
    """The first pane that is still kept as such: the start of a day."""
    return max(0, newest_pane // DAY_PANES - PANES_KEPT_DAYS) * DAY_PANES


def read_rows(connection: sqlite3.Connection, table: str, first: int, end: int) -> list[Row]:
    """The settled rows of [first, end), ascending; `table` is pane or day."""
    query = f"SELECT bucket, width, cells, counts FROM {table} WHERE bucket >= ? AND bucket < ? ORDER BY bucket"  # noqa: S608
    return connection.execute(query, (first, end)).fetchall()


def loosened(rows: Sequence[Row]) -> Iterable[Loose]:
    """The counts of rows, those of one width at a time; the owners are indices into `rows`."""
    by_width: dict[int, list[int]] = {}
    for index, row in enumerate(rows):
        by_width.setdefault(row[1], []).append(index)
    for width, indices in by_width.items():
        cell_bytes, count_bytes = divmod(width, 16)
        lengths = np.array([len(rows[i][3]) // count_bytes for i in indices], np.int64)
        cells = np.frombuffer(b"".join([rows[i][2] for i in indices]), f"<u{cell_bytes}").astype(np.int64)
        counts = np.frombuffer(b"".join([rows[i][3] for i in indices]), f"<i{count_bytes}").astype(np.int64)
        yield Loose(np.repeat(np.array(indices, np.int64), lengths), cells, counts)


def _decoded_recent(width: int, buckets: bytes, starts: bytes, cells: bytes, counts: bytes) -> Summaries:
    return Summaries(
        np.frombuffer(buckets, "<i8").astype(np.int64),
        np.frombuffer(starts, "<i8").astype(np.int64),
        np.frombuffer(cells, "<u4").astype(np.int64),
        np.frombuffer(counts, f"<i{width}").astype(np.int64),
    )


def _dropped(summaries: Summaries, oldest: int) -> list[tuple[int, int]]:
    """The ranges of buckets that are dropped, of the series that these counts are of."""
    series = np.unique(series_of_bucket(summaries.buckets)).tolist()
    return [(bucket_of(one, 0), bucket_of(one, oldest)) for one in series]


def _write_touched(connection: sqlite3.Connection, dropped: Sequence[tuple[int, int]]) -> None:
    """Of what is recent the buckets stay known for a while; what is dropped now, changes with the last tick."""
    connection.execute("INSERT INTO touched SELECT tick, buckets FROM recent")
    old = np.array([bucket for bounds in dropped for bucket in _buckets_between(connection, bounds)], "<i8").tobytes()
    tick, buckets = connection.execute("SELECT tick, buckets FROM touched ORDER BY tick DESC LIMIT 1").fetchone()
    connection.execute("UPDATE touched SET buckets = ? WHERE tick = ?", (buckets + old, tick))
    sizes = "SELECT tick, sum(length(buckets)) OVER (ORDER BY tick DESC) AS newer FROM touched"
    last = connection.execute(f"SELECT max(tick) FROM ({sizes}) WHERE newer > ?", (8 * TOUCHED_MAX,)).fetchone()[0]  # noqa: S608
    connection.execute("DELETE FROM touched WHERE tick <= ?", (-1 if last is None else last,))


def _buckets_between(connection: sqlite3.Connection, bounds: tuple[int, int]) -> Iterable[int]:
    for (bucket,) in connection.execute("SELECT bucket FROM pane WHERE bucket >= ? AND bucket < ?", bounds):
        yield bucket


def _add(connection: sqlite3.Connection, table: str, summaries: Summaries) -> None:
    """Add summaries into a table of settled rows, a bounded number of buckets and cells at a time."""
    for new in _bounded(summaries):
        rows = _rows_of(connection, table, new.buckets)
        total = _sum(rows, new.buckets, new)
        replace = f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?)"  # noqa: S608
        connection.executemany(replace, _rows(total))
        gone = np.setdiff1d(np.array([row[0] for row in rows], np.int64), total.buckets)
        delete = f"DELETE FROM {table} WHERE bucket = ?"  # noqa: S608
        connection.executemany(delete, [(bucket,) for bucket in gone.tolist()])


def _bounded(summaries: Summaries) -> Iterator[Summaries]:
    start = 0
    while start < len(summaries.buckets):
        reach = int(np.searchsorted(summaries.starts, summaries.starts[start] + _CELLS_AT_ONCE, side="right")) - 1
        end = min(start + BUCKETS_AT_ONCE, max(reach, start + 1))
        yield part(summaries, start, end)
        start = end


def _rows_of(connection: sqlite3.Connection, table: str, buckets: Ints) -> list[Row]:
    marks = ",".join("?" * len(buckets))
    query = f"SELECT bucket, width, cells, counts FROM {table} WHERE bucket IN ({marks})"  # noqa: S608
    return connection.execute(query, buckets.tolist()).fetchall()


def _sum(rows: Sequence[Row], buckets: Ints, new: Summaries) -> Summaries:
    """Settled rows and new counts, all of some of these buckets."""
    places = np.searchsorted(buckets, np.array([row[0] for row in rows], np.int64))
    owners = np.repeat(np.searchsorted(buckets, new.buckets), np.diff(new.starts))
    parts = [Loose(owners, new.cells, new.counts)]
    parts += [loose._replace(owners=places[loose.owners]) for loose in loosened(rows)]
    return added_up(buckets, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def _rows(summaries: Summaries) -> Iterable[Row]:
    if not len(summaries.buckets):
        return
    starts = summaries.starts.tolist()
    highest = summaries.cells[summaries.starts[1:] - 1].tolist()
    largest = np.maximum.reduceat(np.abs(summaries.counts), summaries.starts[:-1]).tolist()
    cells = {size: summaries.cells.astype(f"<u{size}").tobytes() for size in (2, 4)}
    counts = {size: summaries.counts.astype(f"<i{size}").tobytes() for size in (1, 2, 4, 8)}
    for i, bucket in enumerate(summaries.buckets.tolist()):
        a, b = (2 if highest[i] < 2**16 else 4), _width(largest[i])
        start, end = starts[i], starts[i + 1]
        yield bucket, a * 16 + b, cells[a][start * a : end * a], counts[b][start * b : end * b]


def _width(largest: int) -> int:
    return next(size for size in (1, 2, 4, 8) if largest < 2 ** (8 * size - 1))
