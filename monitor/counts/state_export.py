"""A state as plain values: what changed since a tick, and everything else that another owner needs to go on from there.

Enters: a state's file, which its owner may be writing; or a marker and the counts that belong to it. Leaves: a `Marker` and
`Part`s, all of one moment; or a new state that goes on where the marker stands. Never joins and never counts.

    with exported(path) as export:                  publish
        for part in export.changed_since(tick): ...
        export.marker

    import_state(path, marker, parts)               restore: then the join store is rebuilt by `monitor.counts.rejoin.Rejoin`

Buckets are numbers of this state: group n is `marker.groups[n - 1]`, see `monitor.counts.panes`. Values are cumulative.
A day's value stands for all of its panes: wherever a day is told, its panes are no longer kept.

Bound: a part holds PART_BUCKETS buckets.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from contracts.errors import StoreUnavailable
from monitor.counts import summary_store
from monitor.counts.columns import Ints
from monitor.counts.generation import decode_generation
from monitor.counts.panes import DAY_PANES, day_of_bucket, pane_of, pane_of_bucket
from monitor.counts.state import BUSY_SECONDS, Progress
from monitor.counts.state_schema import prepare
from monitor.counts.summary import Summaries, merge
from prediction_log.intervals import Interval

PART_BUCKETS: Final = 256
BEGUN_SUFFIX: Final = ".begun"
"""Of a state that is being imported; after a crash the next import begins it again."""


class MarkedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group by its names; `definition` is the JSON from which `generation.decode_generation` makes its generation."""

    model: str
    version: str
    digest: str
    variant: str
    definition: str


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """From here on a version was counted by another definition: records that are not in `seen` came later."""

    model: str
    version: str
    digest: str
    fingerprint: str
    seen: dict[str, list[Interval]]


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a state but its buckets and its join store. `lineage` names this state: two that were begun apart have
    different ones; `progress.tick` says how far it is. `positions` is JSON text by name, `seen` the counted seqs by log.
    """

    lineage: str
    progress: Progress
    positions: dict[str, str]
    seen: dict[str, list[Interval]]
    counters: list[tuple[str, str, str, str, int]]
    findings: list[str]
    groups: list[MarkedGroup]
    switches: list[Switch]


class Part(NamedTuple):
    """Some buckets with their cumulative counts. `panes` are buckets of panes. `days` are buckets of whole days, only of
    days whose panes are no longer kept. `gone` are the buckets of panes that are no longer kept, or hold nothing any more.
    """

    panes: Summaries
    days: Summaries
    gone: Ints


class Export:
    """One moment of a state."""

    def __init__(self, connection: sqlite3.Connection, marker: Marker) -> None:
        self.marker = marker
        self._connection = connection

    def changed_since(self, tick: int) -> Iterator[Part]:
        """All buckets that may have changed after this tick, in bounded parts; all there are for -1."""
        connection = self._connection
        if tick == self.marker.progress.tick:
            return
        oldest = summary_store.oldest_kept(pane_of(self.marker.progress.watermark_us))
        recent = merge(list(summary_store.read_recent(connection).values()))
        by_day = summary_store.days_of(recent)
        touched = summary_store.touched_since(connection, tick)
        whole = touched is None
        if touched is None:
            touched = np.union1d(summary_store.buckets_of(connection, "pane"), recent.buckets)
        is_old = np.asarray(pane_of_bucket(touched)) < oldest
        for some in _chunked(touched[~is_old]):
            panes = summary_store.cumulative(connection, "pane", recent, some)
            yield Part(panes, _NONE, np.setdiff1d(some, panes.buckets))
        days = np.unique(day_of_bucket(touched[is_old]))
        if whole:
            stored = summary_store.buckets_of(connection, "day")
            days = np.union1d(days, stored[np.asarray(pane_of_bucket(stored)) < oldest // DAY_PANES])
        for some in _chunked(days):
            yield Part(_NONE, summary_store.cumulative(connection, "day", by_day, some), some[:0])
        for some in _chunked(touched[is_old]):
            yield Part(_NONE, _NONE, some)


_NONE: Final = merge([])


@contextmanager
def exported(path: Path) -> Iterator[Export]:
    """One moment of the state in this file, read beside its writer. Raises StoreUnavailable."""
    with ExitStack() as opened:
        try:
            address = f"{path.resolve().as_uri()}?mode=ro"
            connection = opened.enter_context(
                closing(sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None))
            )
            connection.execute("BEGIN")
            export = Export(connection, _marker(connection))
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StoreUnavailable(f"monitor state {path}: {error}") from error
        yield export


def standing_of(path: Path) -> tuple[str, int] | None:
    """(lineage, tick) of the state in this file; null where there is none. Raises StoreUnavailable."""
    if not path.exists():
        return None
    with exported(path) as export:
        return export.marker.lineage, export.marker.progress.tick


def import_state(path: Path, marker: Marker, parts: Iterable[Part]) -> None:
    """Begin a new state at `path` (where none may be) with a lineage of its own, which has counted what these say. Its join
    store is still to be rebuilt. Raises StoreUnavailable.
    """
    if path.exists():
        raise StoreUnavailable(f"monitor state {path}: there is a state already; move it away first")
    begun = path.with_name(path.name + BEGUN_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        begun.unlink(missing_ok=True)
        with closing(sqlite3.connect(begun, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")  # a power cut leaves a file that is not yet named so
            connection.execute("BEGIN")
            prepare(connection, begun)
            _write_marker(connection, marker)
            for part in parts:
                summary_store.put_panes(connection, part.panes)
                summary_store.put_days(connection, part.days)
            connection.execute("COMMIT")
        begun.rename(path)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"monitor state {path}: {error}; it is restored again at the next try") from error


def _marker(connection: sqlite3.Connection) -> Marker:
    def rows(query: str) -> list[Any]:
        return connection.execute(query).fetchall()

    content = rows("SELECT content FROM progress")
    groups = rows(
        "SELECT model, version, digest, variant, CAST(definition AS TEXT) FROM grp"
        " JOIN generation ON generation.number = grp.generation ORDER BY grp.number"
    )
    switches = rows("SELECT model, version, digest, fingerprint, seen FROM switch ORDER BY number")
    names = "model", "version", "digest"
    return Marker(
        lineage=rows("SELECT lineage FROM origin")[0][0],
        progress=msgspec.json.decode(content[0][0], type=Progress) if content else Progress(),
        positions={name: position.decode() for name, position in rows("SELECT name, content FROM position")},
        seen={log_id: _decode_seen(seen) for log_id, seen in rows("SELECT log_id, seen FROM log ORDER BY number")},
        counters=rows("SELECT name, model, version, detail, value FROM counter"),
        findings=[finding for (finding,) in rows("SELECT content FROM finding")],
        groups=[MarkedGroup(**dict(zip((*names, "variant", "definition"), group, strict=True))) for group in groups],
        switches=[
            Switch(
                **dict(zip((*names, "fingerprint"), switch, strict=True)),
                seen=msgspec.json.decode(seen, type=dict[str, list[Interval]]),
            )
            for *switch, seen in switches
        ],
    )


def _write_marker(connection: sqlite3.Connection, marker: Marker) -> None:
    encode, many = msgspec.json.encode, connection.executemany
    connection.execute("INSERT INTO progress VALUES (1, ?)", (encode(marker.progress),))
    many("INSERT INTO position VALUES (?, ?)", [(name, at.encode()) for name, at in marker.positions.items()])
    logs = [(number, log_id, encode(seen)) for number, (log_id, seen) in enumerate(marker.seen.items(), 1)]
    many("INSERT INTO log VALUES (?, ?, ?)", logs)
    many("INSERT INTO counter VALUES (?, ?, ?, ?, ?)", marker.counters)
    many("INSERT OR IGNORE INTO finding VALUES (?)", [(finding,) for finding in marker.findings])
    for number, group in enumerate(marker.groups, 1):
        definition = group.definition.encode()
        names = group.model, group.version, group.digest
        key = *names, decode_generation(*names, definition).fingerprint
        insert = (
            "INSERT OR IGNORE INTO generation (model, version, digest, fingerprint, definition) VALUES (?, ?, ?, ?, ?)"
        )
        connection.execute(insert, (*key, definition))
        insert = (
            "INSERT INTO grp SELECT ?, number, ? FROM generation"
            " WHERE (model, version, digest, fingerprint) = (?, ?, ?, ?)"
        )
        connection.execute(insert, (number, group.variant, *key))
    insert = "INSERT INTO switch (model, version, digest, fingerprint, seen) VALUES (?, ?, ?, ?, ?)"
    many(insert, [(s.model, s.version, s.digest, s.fingerprint, encode(s.seen)) for s in marker.switches])


def _decode_seen(seen: bytes) -> list[Interval]:
    return msgspec.json.decode(seen, type=list[Interval])


def _chunked(buckets: Ints) -> Iterator[Ints]:
    for start in range(0, len(buckets), PART_BUCKETS):
        yield buckets[start : start + PART_BUCKETS]
