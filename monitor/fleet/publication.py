"""One publication: what a state counted since the last one, as messages that change what is live in the topic.

Enters: a partition's directory, with the state and, in `FILE_NAME`, what is live in the topic. Leaves: messages in bounded
chunks, the marker last; `commit` after Kafka has committed them, `close` without it where it has not. Never sends.

    where the state goes on from the marker     the buckets that changed since its tick, and all else that changed
    where it was begun in the marker's stead    everything; what is live and not in the state is taken back

A state that does neither must not be published: someone else counted on, and this one has to be restored first.
"""

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import Conflict, StoreUnavailable
from monitor.counts.generation import Generation, decode_generation
from monitor.counts.panes import DAY_PANES, PANE_US, SLICE_BITS, SLICES_MAX, pane_of_bucket, series_of_bucket
from monitor.counts.state import FILE_NAME as STATE_FILE_NAME
from monitor.counts.state_export import Export, MarkedGroup, Marker, exported
from monitor.counts.summary import Summaries
from monitor.fleet import live_rows
from monitor.fleet.exchange import (
    DAY,
    MARKER,
    NAMES,
    PANE,
    Mark,
    Message,
    Met,
    checksum_text,
    content_messages,
    counts_messages,
    finding_name,
    fingerprint_of,
    generation_content,
    key_of,
    name_of,
)

FILE_NAME: Final = "published.sqlite"
BUSY_SECONDS: Final = 30.0
MESSAGES_AT_ONCE: Final = 1_000
BYTES_AT_ONCE: Final = 4 * 2**20
GENERATIONS_KEPT: Final = 512
WHOLE: Final = -1

_SCHEMA: Final = (
    *live_rows.SCHEMA,
    "CREATE TABLE claim (p INTEGER PRIMARY KEY, lineage TEXT, from_lineage TEXT, from_tick INTEGER, whole INTEGER)",
)


class Claim(NamedTuple):
    """The state of this lineage goes on from the marker (`from_lineage`, `from_tick`), which are null where there is none;
    `whole`: it was counted anew, and takes the place of all that is live.
    """

    lineage: str
    from_lineage: str | None
    from_tick: int | None
    whole: bool


class _Group(NamedTuple):
    names: tuple[str, ...]
    generation: Generation


class Live:
    """What is live of one partition, in a file of its own; a connection that one thread uses."""

    def __init__(self, connection: sqlite3.Connection, p: int) -> None:
        self.connection = connection
        self.p = p
        self.generations: dict[tuple[str, ...], Generation] = {}
        self.told: dict[tuple[str, ...], Any] = {}
        self.groups: dict[str, list[_Group]] = {}

    def standing(self) -> live_rows.Standing:
        """How far it was read."""
        return live_rows.standing(self.connection, self.p)

    def claim(self) -> Claim | None:
        """What was claimed last."""
        query = "SELECT lineage, from_lineage, from_tick, whole FROM claim WHERE p = ?"
        row = self.connection.execute(query, (self.p,)).fetchone()
        return None if row is None else Claim(row[0], row[1], row[2], bool(row[3]))

    def write_claim(self, claim: Claim) -> None:
        """Claim that a state goes on from the marker."""
        self.connection.execute("INSERT OR REPLACE INTO claim VALUES (?, ?, ?, ?, ?)", (self.p, *claim))

    def close(self) -> None:
        """Close the file; what was not committed is undone."""
        self.connection.close()


def open_live(path: Path, p: int) -> Live:
    """Open the file, or begin it. Raises StoreUnavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            if not connection.execute("PRAGMA user_version").fetchone()[0]:
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute("PRAGMA user_version = 1")
            connection.execute("COMMIT")
            on_error.pop_all()
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(
            f"{path}: {error}; move it away if it is damaged: it is read again from Kafka"
        ) from error
    return Live(connection, p)


class Publication:
    """What has to be told of one state, once. `owner` and `now_us` go into the marker."""

    def __init__(self, live: Live, directory: Path, owner: str, now_us: int) -> None:
        self._live = live
        self._path = directory / STATE_FILE_NAME
        self._owner = owner
        self._now_us = now_us
        self._mark: Mark | None = None

    def chunks(self) -> Generator[list[Message], None, None]:
        """Messages, until the marker; nothing where there is nothing new. Raises Conflict where this state does not go on
        from what is published, and StoreUnavailable.
        """
        with exported(self._path) as export:
            since = self._since(export.marker)
            if since == export.marker.progress.tick:
                return
            connection = self._live.connection
            connection.execute("BEGIN IMMEDIATE")
            if since == WHOLE:
                connection.execute("CREATE TEMP TABLE IF NOT EXISTS visited (key BLOB PRIMARY KEY) WITHOUT ROWID")
                connection.execute("DELETE FROM visited")
            for chunk in _chunked(self._messages(export, since)):
                if since == WHOLE:
                    visited = [(message.key,) for message in chunk if message.value is not None]
                    connection.executemany("INSERT OR IGNORE INTO visited VALUES (?)", visited)
                yield live_rows.put(connection, self._live.p, chunk)
            if since == WHOLE:
                for chunk in _chunked(self._unvisited()):
                    yield live_rows.put(connection, self._live.p, chunk)
            self._mark = self._marked(export.marker)
            yield content_messages(self._live.p, MARKER, (), msgspec.json.encode(self._mark))

    def commit(self, next_offset: int) -> None:
        """Kafka has it; what follows begins at this offset."""
        connection, p = self._live.connection, self._live.p
        assert self._mark is not None, "there was nothing to commit"
        now = live_rows.standing(connection, p)
        live_rows.write_standing(
            connection, p, now._replace(next_offset=next_offset, mark=self._mark, amiss=live_rows.Amiss())
        )
        connection.execute("DELETE FROM claim WHERE p = ?", (p,))
        connection.execute("COMMIT")

    def _since(self, marker: Marker) -> int:
        """The tick up to which everything is published."""
        published, claim = self._live.standing(), self._live.claim()
        mark = published.mark
        if mark is None:
            return WHOLE
        goes_on = mark.lineage == marker.lineage and mark.progress.tick <= marker.progress.tick
        claimed = claim is not None and claim[:3] == (marker.lineage, mark.lineage, mark.progress.tick)
        if not goes_on and not claimed:
            raise Conflict(
                f"partition {self._live.p}: {mark.owner} published tick {mark.progress.tick} of another count since this"
                " state was read: it has to be restored before it counts on"
            )
        is_whole = published.amiss == live_rows.Amiss()
        anew = claim is not None and claimed and claim.whole
        return mark.progress.tick if is_whole and not anew else WHOLE

    def _messages(self, export: Export, since: int) -> Iterator[Message]:
        groups = self._groups(export.marker)
        yield from self._group_messages(export.marker, groups, whole=since == WHOLE)
        yield from self._facts(export.marker, whole=since == WHOLE)
        p = self._live.p
        for part in export.changed_since(since):
            yield from _bucket_messages(p, PANE, part.panes, groups, PANE_US)
            for message in _bucket_messages(p, DAY, part.days, groups, DAY_PANES * PANE_US):
                yield from self._instead_of_panes(message)
                yield message
            for bucket in part.gone.tolist():
                names, generation, start_us = _named(groups, bucket, PANE_US)
                yield from counts_messages(
                    p, PANE, names, start_us, "", (part.gone[:0], part.gone[:0]), generation.layout.size
                )

    def _instead_of_panes(self, day: Message) -> Iterator[Message]:
        """A day that is told for the first time stands for its panes: those that are still live are taken back."""
        name = name_of(day.key)
        if name is None or live_rows.has(self._live.connection, self._live.p, day.key):
            return
        for pane in range(DAY_PANES):
            start_us = name.start_us + pane * PANE_US
            yield Message(key_of(self._live.p, PANE, name.names, start_us, name.piece), None)

    def _group_messages(self, marker: Marker, groups: list[_Group], *, whole: bool) -> Iterator[Message]:
        """Groups and generations. They never change, so that those that are live need no second look."""
        p, connection = self._live.p, self._live.connection
        for number, (group, marked) in enumerate(zip(groups, marker.groups, strict=True)):
            if whole or not live_rows.is_live(connection, p, "group", group.names):
                met = msgspec.json.encode(Met(marker.progress.received_us, number))
                yield from content_messages(p, "group", group.names, met)
            if whole or not live_rows.is_live(connection, p, "generation", group.names[:4]):
                content = generation_content(group.generation, marked.definition)
                yield from content_messages(p, "generation", group.names[:4], content)

    def _facts(self, marker: Marker, *, whole: bool) -> Iterator[Message]:
        """What was tallied, found and seen. Values that were told by this process before are not even encoded."""
        facts: Iterator[tuple[str, tuple[str, ...], Any]] = chain(
            (("log", (log_id,), {"seen": seen}) for log_id, seen in marker.seen.items()),
            (("counter", tuple(names), {"value": value}) for *names, value in marker.counters),
            (("finding", (finding_name(found.encode()),), msgspec.Raw(found.encode())) for found in marker.findings),
            (("switch", (str(number),), switch) for number, switch in enumerate(marker.switches)),
        )
        told = self._live.told
        for kind, names, value in facts:
            if whole or told.get((kind, *names)) != value:
                told[kind, *names] = value
                yield from content_messages(self._live.p, kind, names, msgspec.json.encode(value))

    def _unvisited(self) -> Iterator[Message]:
        """What is live and not in this state."""
        connection = self._live.connection
        for kind in NAMES:
            for rows in live_rows.rows_of(connection, self._live.p, kind):
                for key, _ in rows:
                    if connection.execute("SELECT 1 FROM visited WHERE key = ?", (key,)).fetchone() is None:
                        yield Message(key, None)

    def _marked(self, marker: Marker) -> Mark:
        now = self._live.standing()
        return Mark(
            lineage=marker.lineage,
            progress=marker.progress,
            positions=marker.positions,
            rows=now.rows,
            checksum=checksum_text(now.checksum),
            owner=self._owner,
            published_us=self._now_us,
        )

    def _groups(self, marker: Marker) -> list[_Group]:
        """A state's groups; it only ever adds to them."""
        known = self._live.groups.get(marker.lineage, [])
        self._live.groups = {marker.lineage: [*known, *(self._group(group) for group in marker.groups[len(known) :])]}
        return self._live.groups[marker.lineage]

    def _group(self, marked: MarkedGroup) -> _Group:
        fingerprint = fingerprint_of(marked.definition)
        key = marked.model, marked.version, marked.digest, fingerprint
        kept = self._live.generations
        if key not in kept:
            if len(kept) >= GENERATIONS_KEPT:
                kept.clear()
            kept[key] = decode_generation(*key[:3], marked.definition.encode())
        return _Group((*key, marked.variant), kept[key])


def _bucket_messages(p: int, kind: str, summaries: Summaries, groups: list[_Group], unit_us: int) -> Iterator[Message]:
    starts = summaries.starts.tolist()
    for place, bucket in enumerate(summaries.buckets.tolist()):
        names, generation, start_us = _named(groups, bucket, unit_us)
        cells = slice(starts[place], starts[place + 1])
        vector = summaries.cells[cells], summaries.counts[cells]
        layout = generation.layout
        yield from counts_messages(p, kind, names, start_us, layout.reference_hash, vector, layout.size)


def _named(groups: list[_Group], bucket: int, unit_us: int) -> tuple[tuple[str, ...], Generation, int]:
    series = series_of_bucket(bucket)
    group = groups[(series >> SLICE_BITS) - 1]
    slice_name = group.generation.slices[series & SLICES_MAX]
    return (*group.names, slice_name), group.generation, pane_of_bucket(bucket) * unit_us


def _chunked(messages: Iterable[Message]) -> Iterator[list[Message]]:
    chunk: list[Message] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += len(message.key) + len(message.value or b"")
        if len(chunk) >= MESSAGES_AT_ONCE or size >= BYTES_AT_ONCE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
