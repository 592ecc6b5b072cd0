"""How far the workers of a fleet are together: told from the view, partition by partition.

Enters: a reader of the view and its file. Leaves: the same plain value as of a single monitor. Only reads.

Bound: of the logs, `LOGS_MAX` are named, and only such of which something is missing.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import StoreUnavailable
from monitor.counts.state import BUSY_SECONDS
from monitor.fleet.exchange import Mark, read_as
from monitor.fleet.live_rows import Amiss
from monitor.pages.queries import StateReader
from monitor.pages.standing import Counted, LogStanding, PartitionStanding, Standing, moment_of, standing_with
from prediction_log.intervals import Interval, difference, union

LOGS_MAX: Final = 1_000


def standing_of_view(reader: StateReader, path: Path) -> Standing:
    """How far the fleet is now, as far as this worker knows. Raises StoreUnavailable where the view cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as view:
            return standing_with(reader, _counted(view))
    except sqlite3.Error as error:
        raise StoreUnavailable(f"view {path}: {error}; ask again") from error


def _counted(view: sqlite3.Connection) -> Counted:
    ends: dict[tuple[str, int], tuple[int, int]] = {
        (topic, p): (first, end) for topic, p, first, end in view.execute("SELECT * FROM topic_end")
    }
    marks = {p: (mark, amiss) for p, mark, amiss in view.execute("SELECT p, mark, amiss FROM part")}
    partitions, records = [], 0
    for p in sorted({p for _, p in ends} | marks.keys()):
        mark = read_as(Mark, marks[p][0]) if p in marks and marks[p][0] is not None else None
        positions = {topic: int(at) for topic, at in mark.positions.items()} if mark else {}
        lag = sum(
            max(0, end - max(first, positions.get(topic, 0))) for (topic, q), (first, end) in ends.items() if q == p
        )
        records += sum(at for topic, at in positions.items() if (topic, p) in ends)
        partitions.append(
            PartitionStanding(
                number=p,
                owner=mark.owner if mark else "",
                updated=moment_of(mark.progress.updated_us) if mark else None,
                ticks=mark.progress.tick if mark else 0,
                caught_up=mark.progress.caught_up if mark else not lag,
                lag_records=lag,
                whole=p not in marks or msgspec.json.decode(marks[p][1], type=Amiss) == Amiss(),
            )
        )
    return Counted(records, sum(one.lag_records for one in partitions), list(_damaged(view)), partitions)


def _damaged(view: sqlite3.Connection) -> Iterator[LogStanding]:
    """Logs with holes. A log's records stand in many partitions, and each knows the holes among its own."""
    several = "SELECT log_id FROM log WHERE CAST(seen AS TEXT) LIKE '%],[%'"
    held: dict[str, list[list[Interval]]] = {}
    rows = view.execute(f"SELECT log_id, seen FROM log WHERE log_id IN ({several}) ORDER BY log_id")  # noqa: S608
    for log_id, seen in rows:
        if log_id not in held and len(held) >= LOGS_MAX:
            break
        held.setdefault(log_id, []).append(msgspec.json.decode(seen, type=list[Interval]))
    for log_id, parts in held.items():
        last = max(part[-1][1] for part in parts if part)
        counted = difference([(1, last)], union(hole for part in parts for hole in _holes(part)))
        yield LogStanding(slot="", log_id=log_id, written_seq=last, counted=counted, lag_records=0)


def _holes(intervals: Iterable[Interval]) -> Iterator[Interval]:
    previous: int | None = None
    for first, last in intervals:
        if previous is not None:
            yield previous + 1, first - 1
        previous = last
