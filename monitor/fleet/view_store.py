"""All partitions' published counts in one SQLite file, added up: what `monitor.pages.queries` reads.

Enters: messages of the topic, partition by partition. Leaves: totals that are right at any moment: a publication goes in
whole, with the offset after it, or not at all. Where a partition cannot be proven whole it is read again; where that does
not help it is added up as it is, and says so. One writer; readers are never kept waiting. Never asks Kafka anything.

What a partition publishes anew replaces what it published before: the difference is added to the totals. Nothing is
answered before every partition was read to its end once: until then there is no progress in the file.
"""

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from contracts.errors import InvalidRecord, StoreUnavailable
from monitor.counts import summary_store
from monitor.counts.generation import decode_generation
from monitor.counts.panes import pane_of
from monitor.counts.state import Progress
from monitor.counts.summary import Summaries
from monitor.fleet import live_rows
from monitor.fleet.exchange import DAY, PANE, Mark, Message, Met, name_of, read_as, read_definition
from monitor.fleet.live_rows import Amiss, Change
from monitor.fleet.reassembly import Counter, Counts, Log, Numbered, counts_of, summed

FORMAT: Final = 1
VERSION_STEP: Final = 1_000
"""A file's version is its format times this and its number of partitions."""
BUSY_SECONDS: Final = 30.0
FACTS: Final = ("counter", "finding", "log")

_LOG = logging.getLogger("pointsman.monitor")

_SCHEMA: Final = (
    "CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), content BLOB)",
    "CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), tick INTEGER)",
    "INSERT INTO clock VALUES (1, 0)",
    "CREATE TABLE loaded (p INTEGER PRIMARY KEY)",
    """CREATE TABLE generation (number INTEGER PRIMARY KEY, model TEXT, version TEXT, digest TEXT, fingerprint TEXT,
        definition BLOB, UNIQUE (model, version, digest, fingerprint))""",
    """CREATE TABLE grp (number INTEGER PRIMARY KEY, generation INTEGER, variant TEXT, met_us INTEGER, met INTEGER,
        UNIQUE (generation, variant))""",
    """CREATE TABLE counter (p INTEGER, name TEXT, model TEXT, version TEXT, detail TEXT, value INTEGER,
        PRIMARY KEY (p, name, model, version, detail)) WITHOUT ROWID""",
    "CREATE TABLE finding (p INTEGER, name TEXT, content TEXT, PRIMARY KEY (p, name)) WITHOUT ROWID",
    "CREATE TABLE log (p INTEGER, log_id TEXT, seen BLOB, PRIMARY KEY (p, log_id)) WITHOUT ROWID",
    """CREATE TABLE topic_end (topic TEXT, p INTEGER, first_offset INTEGER, end_offset INTEGER,
        PRIMARY KEY (topic, p)) WITHOUT ROWID""",
    *summary_store.SCHEMA,
    *live_rows.SCHEMA,
)


class ViewStore:
    """The open file of a fleet with so many partitions. After an error its content in memory is void: open it again."""

    def __init__(self, connection: sqlite3.Connection, partitions: int) -> None:
        self._connection = connection
        self._partitions = partitions
        self._unproven: dict[int, Mark] = {}
        self._read_again: set[int] = set()
        self._groups: dict[tuple[str, ...], Numbered] = {}

    def offsets(self) -> dict[int, int]:
        """Where to read on, by partition."""
        return {p: live_rows.standing(self._connection, p).next_offset for p in range(self._partitions)}

    def is_loaded(self) -> bool:
        """Whether every partition was read to its end once."""
        count: int = self._connection.execute("SELECT count(*) FROM loaded").fetchone()[0]
        return count == self._partitions

    def receive(self, p: int, arrived: Sequence[tuple[int, Message]], next_offset: int) -> bool:
        """Take in what came of one partition, in its order. True where a publication could not be proven whole: at the end
        of the partition that has to be told.
        """
        with self._transaction():
            some: list[Message] = []
            for offset, message in arrived:
                mark = _mark_of(message, p)
                if mark is None:
                    some.append(message)
                    continue
                live_rows.receive(self._connection, p, some, offset + 1)
                some = []
                self._judge(p, mark)
            live_rows.receive(self._connection, p, some, next_offset)
        return p in self._unproven

    def at_end(self, p: int) -> bool:
        """A partition was read to its end. True where it has to be read again, from offset 0."""
        with self._transaction():
            mark = self._unproven.pop(p, None)
            if mark is not None and p not in self._read_again:
                self._read_again.add(p)
                live_rows.begin_again(self._connection, p)
                return True
            if mark is not None:
                self._read_again.discard(p)
                self._apply(p, mark, live_rows.amiss_of(live_rows.standing(self._connection, p), mark))
            if not self._is_loaded(p):
                self._connection.execute("INSERT INTO loaded VALUES (?)", (p,))
                self._write_progress()
        return False

    def read_anew(self, p: int) -> None:
        """The topic was made anew: a partition is read from its beginning."""
        with self._transaction():
            live_rows.begin_again(self._connection, p)

    def write_ends(self, topic: str, ends: Mapping[int, tuple[int, int]]) -> None:
        """Where a topic of records begins and ends now."""
        with self._transaction():
            rows = [(topic, p, first, end) for p, (first, end) in ends.items()]
            self._connection.executemany("INSERT OR REPLACE INTO topic_end VALUES (?, ?, ?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _judge(self, p: int, mark: Mark) -> None:
        """Apply a publication that is proven whole; one that is not may be an old one of a topic that was compacted."""
        now = live_rows.standing(self._connection, p)
        amiss = live_rows.amiss_of(now, mark)
        if amiss in {Amiss(), now.amiss}:
            self._unproven.pop(p, None)
            self._read_again.discard(p)
            self._apply(p, mark, amiss)
        else:
            self._unproven[p] = mark

    def _apply(self, p: int, mark: Mark, amiss: Amiss) -> None:
        connection = self._connection
        for names in sorted(live_rows.accept_kind(connection, p, "generation")):
            self._write_generation(p, names)
        for names in live_rows.accept_kind(connection, p, "group"):
            self._write_group(p, names)
        for delta in self._deltas(p, PANE):
            summary_store.add_recent(connection, self._tick(), delta)
            self._settle(mark)
        for delta in self._deltas(p, DAY):
            summary_store.add_days(connection, delta)
        for kind in FACTS:
            self._write_facts(p, kind, live_rows.accept_kind(connection, p, kind))
        live_rows.accept(connection, p, mark, amiss)
        self._write_progress()

    def _deltas(self, p: int, kind: str) -> Iterator[Summaries]:
        """By how much the totals change."""
        for some in live_rows.changes(self._connection, p, kind):
            rows: list[Counts] = []
            signs: list[int] = []
            for change, sign, value in _signed(some):
                try:
                    rows.append(counts_of(name_of(change.key), value, self._known(change.key)))
                except InvalidRecord:
                    continue  # it was never added, or never will be: the checksum tells
                signs.append(sign)
            yield summed(rows, signs)

    def _known(self, key: bytes) -> dict[tuple[str, ...], Numbered]:
        name = name_of(key)
        if name is not None and name.names[:5] not in self._groups:
            if len(self._groups) >= summary_store.BUCKETS_AT_ONCE:
                self._groups.clear()
            query = (
                "SELECT grp.number, definition FROM grp JOIN generation ON generation.number = grp.generation"
                " WHERE (model, version, digest, fingerprint, variant) = (?, ?, ?, ?, ?)"
            )
            row = self._connection.execute(query, name.names[:5]).fetchone()
            if row is not None:
                model, version, digest, *_ = name.names
                generation = decode_generation(model, version, digest, row[1])
                self._groups[name.names[:5]] = Numbered(row[0], generation)
        return self._groups

    def _settle(self, mark: Mark) -> None:
        ticks, cells = summary_store.recent_size(self._connection)
        if ticks >= summary_store.SETTLE_TICKS_MAX or cells >= summary_store.SETTLE_CELLS_MAX:
            newest_us = max([mark.progress.watermark_us, *(one.progress.watermark_us for one in self._marks())])
            summary_store.settle(self._connection, pane_of(newest_us))

    def _write_generation(self, p: int, names: tuple[str, ...]) -> None:
        try:
            content = read_definition(live_rows.content_of(self._connection, p, "generation", names))
            model, version, digest, _ = names
            decode_generation(model, version, digest, content)
        except InvalidRecord:
            return  # what is counted by it cannot be read either
        insert = (
            "INSERT OR IGNORE INTO generation (model, version, digest, fingerprint, definition) VALUES (?, ?, ?, ?, ?)"
        )
        self._connection.execute(insert, (*names, content))

    def _write_group(self, p: int, names: tuple[str, ...]) -> None:
        """A group is as old as the first partition says that met it."""
        try:
            met: Met = read_as(Met, live_rows.content_of(self._connection, p, "group", names))
        except InvalidRecord:
            return
        insert = (
            "INSERT INTO grp (generation, variant, met_us, met) SELECT number, ?, ?, ? FROM generation"
            " WHERE (model, version, digest, fingerprint) = (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET met_us = excluded.met_us, met = excluded.met"
            " WHERE (excluded.met_us, excluded.met) < (met_us, met)"
        )
        self._connection.execute(insert, (names[4], met.met_us, met.met, *names[:4]))

    def _write_facts(self, p: int, kind: str, changed: Iterable[tuple[str, ...]]) -> None:
        connection = self._connection
        columns = {"counter": "name, model, version, detail", "finding": "name", "log": "log_id"}[kind]
        for names in changed:
            marks = ", ".join("?" * len(names))
            delete = f"DELETE FROM {kind} WHERE p = ? AND ({columns}) = ({marks})"  # noqa: S608
            connection.execute(delete, (p, *names))
            if live_rows.is_live(connection, p, kind, names):
                try:
                    value = _fact(kind, live_rows.content_of(connection, p, kind, names))
                except InvalidRecord:
                    continue
                connection.execute(f"INSERT INTO {kind} VALUES (?, {marks}, ?)", (p, *names, value))  # noqa: S608

    def _tick(self) -> int:
        tick: int = self._connection.execute("UPDATE clock SET tick = tick + 1 RETURNING tick").fetchone()[0]
        return tick

    def _is_loaded(self, p: int) -> bool:
        return self._connection.execute("SELECT 1 FROM loaded WHERE p = ?", (p,)).fetchone() is not None

    def _marks(self) -> list[Mark]:
        rows = self._connection.execute("SELECT mark FROM part WHERE mark IS NOT NULL").fetchall()
        return [read_as(Mark, mark) for (mark,) in rows]

    def _write_progress(self) -> None:
        if not self.is_loaded():
            return
        progress = added([mark.progress for mark in self._marks()], self._tick())
        self._connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (msgspec.json.encode(progress),))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise


def open_view(path: Path, partitions: int) -> ViewStore:
    """Open the file, or begin it. One that is damaged, of another format or of another number of partitions is begun anew:
    it is but a copy of what Kafka has. Raises StoreUnavailable.
    """
    version = FORMAT * VERSION_STEP + partitions
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = _opened(path, version)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            discard_view(path, error)
            connection = _opened(path, version)
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"view {path}: {error}; see to the disk") from error
    return ViewStore(connection, partitions)


def discard_view(path: Path, error: sqlite3.DatabaseError) -> None:
    """Remove a file that is of no use; the next one is begun anew."""
    _LOG.warning("view %s: %s; it is read again from Kafka", path, error)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _opened(path: Path, version: int) -> sqlite3.Connection:
    """Raises DatabaseError, and none of its kinds, where the file is of no use."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    with ExitStack() as on_error:
        on_error.callback(connection.close)
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in {0, version}:
            raise sqlite3.DatabaseError(f"it has version {found}, not {version}")
        if not found:
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
        on_error.pop_all()
    return connection


def added(parts: Sequence[Progress], tick: int) -> Progress:
    """How far all partitions are together."""
    firsts = [part.first_event_us for part in parts if part.first_event_us is not None]
    lasts = [part.last_event_us for part in parts if part.last_event_us is not None]
    return Progress(
        tick=tick,
        watermark_us=max((part.watermark_us for part in parts), default=0),
        received_us=max((part.received_us for part in parts), default=0),
        first_event_us=min(firsts, default=None),
        last_event_us=max(lasts, default=None),
        updated_us=max((part.updated_us for part in parts), default=0),
        caught_up=all(part.caught_up for part in parts),
    )


def _signed(changes: Iterable[Change]) -> Iterator[tuple[Change, int, bytes]]:
    for change in changes:
        if change.old is not None:
            yield change, -1, change.old
        if change.new is not None:
            yield change, 1, change.new


def _fact(kind: str, content: bytes) -> int | str | bytes:
    if kind == "counter":
        counter: Counter = read_as(Counter, content)
        return counter.value
    return msgspec.json.encode(read_as(Log, content).seen) if kind == "log" else content.decode()


def _mark_of(message: Message, p: int) -> Mark | None:
    try:
        return live_rows.mark_of(message, p)
    except InvalidRecord:
        return None
