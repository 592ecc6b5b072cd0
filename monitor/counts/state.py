"""The monitor's memory: a SQLite file that holds everything a tick knows, and beside it the join's rows, saved as one.

Enters: what a tick made of some entries, with the read positions after them. Leaves, after any crash: the state after
the last tick that was saved whole; reading on from its positions gives the same counts as if nothing had happened. The
commit of the SQLite file is the moment; the join store follows it (`monitor.counts.join_store`). One writer;
`monitor.pages.queries` reads beside it. Never decides what is counted.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import StoreUnavailable
from monitor.counts import summary_store
from monitor.counts.generation import Generation, decode_generation, encode_definition
from monitor.counts.join import Joined, Known, RowKey
from monitor.counts.join_book import Horizon, JoinBook
from monitor.counts.join_record import JoinRecord
from monitor.counts.join_store import JoinMemory, JoinStore, join_memory
from monitor.counts.panes import GROUPS_MAX, pane_of
from monitor.counts.state_schema import prepare
from monitor.counts.summary import Summaries
from prediction_log.intervals import Interval

FILE_NAME: Final = "monitor.sqlite"
JOIN_SUFFIX: Final = ".join"
"""Of the directory beside the file."""
GENERATIONS_KEPT: Final = 512
"""Generations at hand without reading the file; when full, all are read again."""
BUSY_SECONDS: Final = 30.0
FINDINGS_MAX: Final = 10_000
"""Findings that are kept; a log that is damaged further is damaged enough."""

Counters = Counter[tuple[str, str, str, str]]
"""(name, model, version, detail) -> count; the last three are empty where they do not apply."""
Connect = Callable[..., sqlite3.Connection]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the monitor is. Times are microseconds since the epoch. `watermark_us` is the newest event time, where no
    event counts as later than its receipt; `received_us` the newest receipt. Both are stream time: a replay decides the
    same. `caught_up` says that the last tick read the log to its end, at `updated_us`. What is before `forgotten` (of event
    and of receipt) was dropped in tick `swept_tick` or before, all of it where `swept`; rows that waited since before
    `orphaned_us` were.
    """

    tick: int = 0
    watermark_us: int = 0
    received_us: int = 0
    first_event_us: int | None = None
    last_event_us: int | None = None
    updated_us: int = 0
    caught_up: bool = False
    forgotten: tuple[int, int] = (0, 0)
    orphaned_us: int = 0
    swept_tick: int = 0
    swept: bool = True

    def behind_us(self, now_us: int) -> int:
        """How old the newest record is that was counted, while there are more to read; 0 when there are none."""
        return 0 if self.caught_up else max(0, now_us - self.received_us)


class Changes(NamedTuple):
    """What one tick adds: everything is saved, or nothing. `positions` and `findings` are JSON; `known` is what was stored
    of what is `joined`; `forget` says what is past the horizon now, where it is the time to drop it.
    """

    progress: Progress
    positions: Mapping[str, bytes]
    seen: Mapping[str, list[Interval]]
    summaries: Summaries
    records: list[JoinRecord]
    joined: Joined
    known: Known
    counters: Counters
    findings: Iterable[str]
    forget: Horizon | None


class State:
    """One open state. After an error its content in memory is void: close it and open it again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.lineage = ""
        self.progress = Progress()
        self.positions: dict[str, bytes] = {}
        self.seen: dict[str, list[Interval]] = {}
        self._connection = connection
        self._book: JoinBook | None = None
        self._logs: dict[str, int] = {}
        self._groups: dict[tuple[str, str, str, str, str], int] = {}
        self._new_groups: dict[int, tuple[str, Generation]] = {}
        self._counted_by: dict[tuple[str, str, str], str] = {}
        self._switched: dict[tuple[str, str, str], tuple[str, Mapping[str, list[Interval]]]] = {}
        self._generations: dict[int, Generation] = {}

    def load(self) -> None:
        """Read what is saved."""
        connection = self._connection
        self.lineage = connection.execute("SELECT lineage FROM origin").fetchone()[0]
        content = connection.execute("SELECT content FROM progress").fetchone()
        self.progress = msgspec.json.decode(content[0], type=Progress) if content else Progress()
        self.positions = dict(connection.execute("SELECT name, content FROM position"))
        for number, log_id, seen in connection.execute("SELECT number, log_id, seen FROM log"):
            self._logs[log_id] = number
            self.seen[log_id] = msgspec.json.decode(seen, type=list[Interval])
        query = (
            "SELECT model, version, digest, fingerprint, variant, grp.number"
            " FROM grp JOIN generation ON generation.number = grp.generation"
        )
        self._groups = {tuple(key): number for *key, number in connection.execute(query)}
        query = "SELECT model, version, digest, fingerprint FROM switch ORDER BY number"
        self._counted_by = {tuple(key): fingerprint for *key, fingerprint in connection.execute(query)}

    def remember(self, book: JoinBook) -> None:
        """From now on with what the join remembers; the book is closed with the state."""
        self._book = book

    def log_number(self, log_id: str) -> int:
        """A log's number; a new log gets the next one, saved with the next changes."""
        return self._logs.setdefault(log_id, len(self._logs) + 1)

    def group(self, generation: Generation, variant: str) -> int:
        """The number of a generation in a variant; a new one gets the next number, saved with the next changes."""
        version, fingerprint = (generation.model, generation.version, generation.digest), generation.fingerprint
        if self._counted_by.get(version) != fingerprint:
            self._switched[version] = fingerprint, {} if version not in self._counted_by else self.seen
            self._counted_by[version] = fingerprint
        key = *version, fingerprint, variant
        number = self._groups.get(key)
        if number is None:
            number = self._groups[key] = len(self._groups) + 1
            assert number < GROUPS_MAX, "every version in every variant is a group; there cannot be so many"
            self._new_groups[number] = variant, generation
        return number

    def generation(self, group: int) -> Generation:
        """The generation that a group was counted in; kept in the file, whatever the registry still knows."""
        if group in self._new_groups:
            return self._new_groups[group][1]
        if group not in self._generations:
            query = (
                "SELECT model, version, digest, definition FROM grp"
                " JOIN generation ON generation.number = grp.generation WHERE grp.number = ?"
            )
            if len(self._generations) >= GENERATIONS_KEPT:
                self._generations.clear()
            self._generations[group] = decode_generation(*self._connection.execute(query, (group,)).fetchone())
        return self._generations[group]

    def known(self, labels: Collection[RowKey], records: Iterable[bytes]) -> Known:
        """What is stored of the rows of new labels and of the ids of new records."""
        return self._joins().known(labels, records, gone_before(self.progress))

    def save(self, changes: Changes) -> None:
        """Save everything in one transaction. Raises sqlite3.Error or StoreUnavailable where it cannot, also where another
        monitor wrote in between: then nothing was saved, once the state was opened again.
        """
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._check_owner()
            progress = self._write(changes)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self.progress = progress
        self.positions |= changes.positions
        self.seen |= changes.seen
        self._new_groups, self._switched = {}, {}

    def close(self) -> None:
        """Close the files."""
        book, self._book = self._book, None
        try:
            if book is not None:
                book.close()
        finally:
            self._connection.close()

    def _joins(self) -> JoinBook:
        assert self._book is not None, "open_state gives it a book"
        return self._book

    def _write(self, changes: Changes) -> Progress:
        connection, progress, counters = self._connection, changes.progress, Counter(changes.counters)
        self._write_groups()
        self._write_logs(changes)
        summary_store.add_recent(connection, progress.tick, changes.summaries)
        self._joins().write(progress.tick, changes.records, changes.joined, changes.known)
        if changes.forget is not None:
            tally, orphaned_us, done = self._joins().expire(changes.forget)
            progress = msgspec.structs.replace(
                progress, forgotten=changes.forget, orphaned_us=orphaned_us, swept_tick=progress.tick, swept=done
            )
            counters.update({(name, model, "", reason): amount for (name, model, reason), amount in tally.items()})
        self._write_findings(changes.findings)
        self._write_counters(counters)
        ticks, cells = summary_store.recent_size(connection)
        if ticks >= summary_store.SETTLE_TICKS_MAX or cells >= summary_store.SETTLE_CELLS_MAX:
            summary_store.settle(connection, pane_of(progress.watermark_us))
        connection.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (msgspec.json.encode(progress),))
        return progress

    def _check_owner(self) -> None:
        """Two monitors on one state would count twice: the one that comes second has to read what the first one saved."""
        content = self._connection.execute("SELECT content FROM progress").fetchone()
        saved = msgspec.json.decode(content[0], type=Progress).tick if content else 0
        if saved != self.progress.tick:
            raise StoreUnavailable(
                f"another monitor saved tick {saved} after this one read tick {self.progress.tick}: run one per state"
            )

    def _write_findings(self, findings: Iterable[str]) -> None:
        insert = "INSERT OR IGNORE INTO finding SELECT ? WHERE (SELECT count(*) FROM finding) < ?"
        self._connection.executemany(insert, [(finding, FINDINGS_MAX) for finding in findings])

    def _write_groups(self) -> None:
        for number, (variant, generation) in self._new_groups.items():
            names = generation.model, generation.version, generation.digest, generation.fingerprint
            insert = (
                "INSERT OR IGNORE INTO generation (model, version, digest, fingerprint, definition)"
                " VALUES (?, ?, ?, ?, ?)"
            )
            self._connection.execute(insert, (*names, encode_definition(generation)))
            insert = (
                "INSERT INTO grp SELECT ?, number, ? FROM generation"
                " WHERE (model, version, digest, fingerprint) = (?, ?, ?, ?)"
            )
            self._connection.execute(insert, (number, variant, *names))
        insert = "INSERT INTO switch (model, version, digest, fingerprint, seen) VALUES (?, ?, ?, ?, ?)"
        rows = [(*key, fingerprint, msgspec.json.encode(seen)) for key, (fingerprint, seen) in self._switched.items()]
        self._connection.executemany(insert, rows)

    def _write_logs(self, changes: Changes) -> None:
        rows = [(self.log_number(name), name, msgspec.json.encode(seen)) for name, seen in changes.seen.items()]
        self._connection.executemany("INSERT OR REPLACE INTO log VALUES (?, ?, ?)", rows)
        self._connection.executemany("INSERT OR REPLACE INTO position VALUES (?, ?)", changes.positions.items())

    def _write_counters(self, counters: Counters) -> None:
        upsert = "INSERT INTO counter VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
        self._connection.executemany(upsert, [(*key, count) for key, count in counters.items() if count])


def open_state(path: Path, connect: Connect = sqlite3.connect, memory: JoinMemory | None = None) -> State:
    """Open the state, or begin one; `memory` is shared by those of one process. Raises StoreUnavailable where its files
    cannot be used.
    """
    with ExitStack() as on_error:
        state = open_counts(path, connect)
        on_error.callback(state.close)
        store = JoinStore(join_path(path), state.lineage, state.progress.tick)
        store.open(memory or join_memory())
        state.remember(JoinBook(store))
        on_error.pop_all()
    return state


def open_counts(path: Path, connect: Connect = sqlite3.connect) -> State:
    """Open the state, or begin one, without what the join remembers. Raises StoreUnavailable."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            _open_file(connection, path)
            state = State(connection)
            state.load()
            on_error.pop_all()
    except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
        raise StoreUnavailable(
            f"monitor state {path}: {error}; if the file is damaged move it away: it is counted again from the log"
        ) from error
    return state


def join_path(path: Path) -> Path:
    """Where the join store of the state in this file is."""
    return path.with_name(path.name + JOIN_SUFFIX)


def gone_before(progress: Progress) -> bytes | None:
    """Ids of a time before this are past the horizon; null where nothing is yet."""
    milliseconds = progress.forgotten[1] // 1000
    return milliseconds.to_bytes(6, "big") if milliseconds else None


def counted(path: Path) -> dict[str, list[tuple[int, int]]]:
    """Which seqs of which log are counted: closed ranges, ascending; nothing where there is no state yet.

    `path` is the state's file. Only reads. Raises StoreUnavailable where the file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as reading:
            rows: list[Any] = reading.execute("SELECT log_id, seen FROM log").fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"monitor state {path}: {error}") from error
    return {log_id: msgspec.json.decode(seen, type=list[Interval]) for log_id, seen in rows}


def _open_file(connection: sqlite3.Connection, path: Path) -> None:
    """Write-ahead, so that readers never wait; synchronous NORMAL, for what a power cut takes is read again."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("BEGIN IMMEDIATE")
    prepare(connection, path)
    connection.execute("COMMIT")
