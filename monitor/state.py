"""The monitor's memory: one SQLite file that holds everything a tick knows, saved in one transaction.

Enters: what a tick made of some entries, with the read positions after them. Leaves, after any crash: the state after the
last tick that was saved whole; reading on from its positions gives the same counts as if nothing had happened. One writer;
`monitor.queries` reads beside it. Never decides what is counted.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import StoreUnavailable
from monitor import join_store, summary_store
from monitor.generation import Generation, decode_generation, encode_definition
from monitor.join import Joined, Known
from monitor.join_record import JoinRecord
from monitor.panes import GROUPS_MAX, pane_of
from monitor.summary import Summaries
from prediction_log.intervals import Interval

FILE_NAME: Final = "monitor.sqlite"
FORMAT: Final = 1
GENERATIONS_KEPT: Final = 512
"""Generations at hand without reading the file; when full, all are read again."""
BUSY_SECONDS: Final = 30.0
FINDINGS_MAX: Final = 10_000
"""Findings that are kept; a log that is damaged further is damaged enough."""

_SCHEMA: Final = (
    "CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), content BLOB)",
    "CREATE TABLE log (number INTEGER PRIMARY KEY, log_id TEXT UNIQUE, position BLOB, seen BLOB)",
    "CREATE TABLE finding (content TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE generation (number INTEGER PRIMARY KEY, model TEXT, version TEXT, digest TEXT, fingerprint TEXT,
        definition BLOB, UNIQUE (model, version, digest, fingerprint))""",
    "CREATE TABLE grp (number INTEGER PRIMARY KEY, generation INTEGER, variant TEXT, UNIQUE (generation, variant))",
    """CREATE TABLE counter (name TEXT, model TEXT, version TEXT, detail TEXT, value INTEGER,
        PRIMARY KEY (name, model, version, detail)) WITHOUT ROWID""",
    *summary_store.SCHEMA,
    *join_store.SCHEMA,
)

Counters = Counter[tuple[str, str, str, str]]
"""(name, model, version, detail) -> count; the last three are empty where they do not apply."""
Connect = Callable[..., sqlite3.Connection]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far the monitor is. Times are microseconds since the epoch. `watermark_us` is the newest event time, where no
    event counts as later than its receipt; `received_us` the newest receipt. Both are stream time: a replay decides the
    same. `caught_up` says that the last tick read the log to its end, at `updated_us`. `expired` is the greatest id that
    was forgotten, in tick `swept_tick` or before.
    """

    tick: int = 0
    watermark_us: int = 0
    received_us: int = 0
    first_event_us: int | None = None
    last_event_us: int | None = None
    updated_us: int = 0
    caught_up: bool = False
    expired: bytes | None = None
    swept_tick: int = 0

    def behind_us(self, now_us: int) -> int:
        """How old the newest record is that was counted, while there are more to read; 0 when there are none."""
        return 0 if self.caught_up else max(0, now_us - self.received_us)


class Changes(NamedTuple):
    """What one tick adds: everything is saved, or nothing. `positions` and `findings` are JSON."""

    progress: Progress
    positions: Mapping[str, bytes]
    seen: Mapping[str, list[Interval]]
    summaries: Summaries
    records: list[JoinRecord]
    joined: Joined
    counters: Counters
    findings: Iterable[str]
    expire_before: tuple[int, int] | None


class State:
    """One open state. After an error its content in memory is void: close it and open it again."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.progress = Progress()
        self.positions: dict[str, bytes] = {}
        self.seen: dict[str, list[Interval]] = {}
        self._connection = connection
        self._logs: dict[str, int] = {}
        self._groups: dict[tuple[str, str, str, str, str], int] = {}
        self._new_groups: dict[int, tuple[str, Generation]] = {}
        self._generations: dict[int, Generation] = {}

    def load(self) -> None:
        """Read what is saved."""
        content = self._connection.execute("SELECT content FROM progress").fetchone()
        self.progress = msgspec.json.decode(content[0], type=Progress) if content else Progress()
        for number, log_id, position, seen in self._connection.execute("SELECT * FROM log"):
            self._logs[log_id] = number
            self.seen[log_id] = msgspec.json.decode(seen, type=list[Interval])
            if position is not None:
                self.positions[log_id] = position
        query = (
            "SELECT model, version, digest, fingerprint, variant, grp.number"
            " FROM grp JOIN generation ON generation.number = grp.generation"
        )
        self._groups = {tuple(key): number for *key, number in self._connection.execute(query)}

    def log_number(self, log_id: str) -> int:
        """A log's number; a new log gets the next one, saved with the next changes."""
        return self._logs.setdefault(log_id, len(self._logs) + 1)

    def group(self, generation: Generation, variant: str) -> int:
        """The number of a generation in a variant; a new one gets the next number, saved with the next changes."""
        key = generation.model, generation.version, generation.digest, generation.fingerprint, variant
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

    def known(self, labels: Iterable[bytes], records: Iterable[bytes]) -> Known:
        """What is stored of the ids of new labels and new records."""
        return join_store.read_known(self._connection, labels, records, self.progress.expired)

    def save(self, changes: Changes) -> None:
        """Save everything in one transaction. Raises sqlite3.Error where it cannot, and StoreUnavailable where another
        monitor wrote in between: then nothing was saved.
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
        self._new_groups = {}

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _write(self, changes: Changes) -> Progress:
        connection, progress, counters = self._connection, changes.progress, Counter(changes.counters)
        self._write_groups()
        self._write_logs(changes)
        summary_store.add_recent(connection, progress.tick, changes.summaries)
        join_store.write_joined(connection, changes.records, changes.joined)
        if changes.expire_before is not None:
            expired, tally = join_store.drop_expired(connection, *changes.expire_before)
            greatest = max((key for key in (progress.expired, expired) if key is not None), default=None)
            progress = msgspec.structs.replace(progress, expired=greatest, swept_tick=progress.tick)
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

    def _write_logs(self, changes: Changes) -> None:
        rows = []
        for log_id in changes.positions.keys() | changes.seen.keys():
            position = changes.positions.get(log_id, self.positions.get(log_id))
            seen = changes.seen.get(log_id, self.seen.get(log_id, []))
            rows.append((self.log_number(log_id), log_id, position, msgspec.json.encode(seen)))
        self._connection.executemany("INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?)", rows)

    def _write_counters(self, counters: Counters) -> None:
        upsert = "INSERT INTO counter VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
        self._connection.executemany(upsert, [(*key, count) for key, count in counters.items() if count])


def open_state(path: Path, connect: Connect = sqlite3.connect) -> State:
    """Open the state, or begin one. Raises StoreUnavailable where the file cannot be used."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        with ExitStack() as on_error:
            on_error.callback(connection.close)
            _prepare(connection, path)
            state = State(connection)
            state.load()
            on_error.pop_all()
    except (sqlite3.Error, OSError, msgspec.MsgspecError) as error:
        raise StoreUnavailable(
            f"monitor state {path}: {error}; if the file is damaged move it away: it is counted again from the log"
        ) from error
    return state


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


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Write-ahead, so that readers never wait; synchronous NORMAL, for what a power cut takes is read again."""
    connection.execute("PRAGMA page_size = 8192")  # join records are many and small: fewer pages to split
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    connection.execute("BEGIN IMMEDIATE")
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in {0, FORMAT}:
        raise StoreUnavailable(
            f"monitor state {path} has format {found}, this version writes {FORMAT}: move it away, it is counted again"
        )
    if not found:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")
