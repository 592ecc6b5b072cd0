"""Plans in one SQLite file: the embedded store, shared by all processes of one host.

Enters: changes. Leaves: plans and their history. Never decides what a plan should be, never blocks the event loop: reads
and writes run in one thread of their own; only `generation` runs inline, because it costs microseconds.

Four tables: `plans` holds the current plan of each model, `history` every accepted change and is append only (a trigger
refuses anything else), `gates` the latest gate results, `alias_books` what was seen of aliases. The file is in WAL mode, so
readers never wait for a writer, with synchronous=FULL, so an accepted change survives power loss. The history is the audit
trail and grows by two plans a change, some kilobytes; nothing trims it.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar

from contracts.errors import Conflict, InvalidRecord, StoreUnavailable
from contracts.gate import GateResult
from contracts.plan import Change, Plan
from contracts.promotion import AliasBook
from contracts.wire import decode, encode
from gateway.plan_store.store import GATES_MAX, check_number, check_step

T = TypeVar("T")

POLL_TIMEOUT_MS: Final = 10
"""The longest that `generation` holds up the event loop; it waits only while a crashed writer's file is being mended."""
APPLICATION_ID: Final = 0x50545331
FORMAT: Final = 1
GATES: Final = """
CREATE TABLE IF NOT EXISTS gates (
    model TEXT NOT NULL,
    evaluated_us INTEGER NOT NULL,
    gate_id TEXT NOT NULL,
    result TEXT NOT NULL,
    PRIMARY KEY (model, evaluated_us, gate_id)
) STRICT, WITHOUT ROWID
"""
ALIAS_BOOKS: Final = """
CREATE TABLE IF NOT EXISTS alias_books (model TEXT PRIMARY KEY, number INTEGER NOT NULL, book TEXT NOT NULL) STRICT
"""
"""Both are made at opening too: stores that are older have none."""
SCHEMA: Final = f"""
PRAGMA journal_mode = WAL;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FORMAT};
{GATES};
{ALIAS_BOOKS};
CREATE TABLE plans (model TEXT PRIMARY KEY, revision INTEGER NOT NULL, plan TEXT NOT NULL) STRICT;
CREATE TABLE history (
    number INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    revision INTEGER NOT NULL,
    change TEXT NOT NULL,
    UNIQUE (model, revision)
) STRICT;
CREATE TRIGGER history_keeps BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history is append only'); END;
CREATE TRIGGER history_stays BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'history is append only'); END;
"""

_ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "another process holds its lock for too long: try again, and see with `fuser` who it is",
    sqlite3.SQLITE_LOCKED: "another process holds its lock for too long: try again, and see with `fuser` who it is",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: check that it is a file and that this user may write to its directory",
    sqlite3.SQLITE_READONLY: "it cannot be written: check its permissions and those of its directory",
    sqlite3.SQLITE_FULL: "the disk is full: make room, then try again",
    sqlite3.SQLITE_NOTADB: "it is damaged or no plan store: restore it from a backup, or move it away to begin anew",
    sqlite3.SQLITE_CORRUPT: "it is damaged: restore it from a backup, or move it away to begin anew",
}


class SqlitePlanStore:
    """A `PlanStore` in the file `path`, made at first use. `busy_timeout_ms` bounds the wait for another writer."""

    def __init__(self, path: Path, busy_timeout_ms: int = 5_000) -> None:
        self._path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plan-store")
        self._lock = threading.Lock()
        self._records: sqlite3.Connection | None = None
        self._poll: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._lost = False
        self._openings = 0

    async def read(self, model: str) -> Plan | None:
        """The current plan of a model, or None where it never had one."""
        return await self._in_thread(lambda db: _read(db, model))

    async def write(self, change: Change) -> None:
        """Compare-and-set and history in one transaction; `Conflict` where the plan moved on."""
        await self._in_thread(lambda db: _write(db, change))

    async def history(self, model: str | None, limit: int, upto: int | None = None) -> list[Change]:
        """At most `limit` changes, newest first."""
        return await self._in_thread(lambda db: _history(db, model, limit, upto))

    async def keep_gate(self, result: GateResult) -> None:
        """Keep what a gate found, and let go of the oldest beyond GATES_MAX."""
        await self._in_thread(lambda db: _keep_gate(db, result))

    async def gates(self, model: str, limit: int) -> list[GateResult]:
        """At most `limit` gate results, the last evaluated first."""
        return await self._in_thread(lambda db: _gates(db, model, limit))

    async def alias_book(self, model: str) -> AliasBook | None:
        """What was seen of a model's aliases, and its promotions; None before the first look."""
        return await self._in_thread(lambda db: _alias_book(db, model))

    async def write_alias_book(self, book: AliasBook) -> None:
        """Compare-and-set by the number; `Conflict` where another book came first."""
        await self._in_thread(lambda db: _write_alias_book(db, book))

    async def generation(self) -> int:
        """A number that changes with every commit of anyone: a stat and one PRAGMA on a connection that never writes."""
        if self._poll is None or self._lost:
            await self._in_thread(lambda _: None)
        with self._lock, self._told():
            if self._poll is None:
                raise StoreUnavailable(f"plan store {self._path} was closed meanwhile: ask again")
            self._check_file()
            (version,) = self._poll.execute("PRAGMA data_version").fetchone()
            return int(version) + (self._openings << 40)

    async def changed(self, seconds: float) -> None:
        """Return after so many seconds: a file calls nobody."""
        await asyncio.sleep(seconds)

    async def aclose(self) -> None:
        """Close the file; the next call opens it again."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def task() -> T:
            with self._told():
                return work(self._open())

        return await asyncio.get_running_loop().run_in_executor(self._thread, task)

    def _open(self) -> sqlite3.Connection:
        """The connection for plans and history; makes the file at first use, and never again.

        A store that vanishes while plans are routed by it must not come back empty: that would route by nothing.
        """
        with self._lock:
            if self._lost:
                self._drop()
            if self._records is not None:
                self._check_file()
                return self._records
            if self._file is None and not self._path.exists():
                _make(self._path)
            stat = self._path.stat()
            with ExitStack() as on_error:
                records = on_error.enter_context(closing(self._connect(self._busy_timeout_ms)))
                poll = on_error.enter_context(closing(self._connect(POLL_TIMEOUT_MS)))
                records.execute(GATES)
                records.execute(ALIAS_BOOKS)
                on_error.pop_all()
            self._records, self._poll = records, poll
            self._file = (stat.st_dev, stat.st_ino)
            self._openings += 1
            return records

    def _connect(self, busy_timeout_ms: int) -> sqlite3.Connection:
        db = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=busy_timeout_ms / 1000,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA synchronous = FULL")
            _check_kind(db, self._path)
        except BaseException:
            db.close()
            raise
        return db

    def _check_file(self) -> None:
        """The open file must still be the one at the path; SQLite itself would go on with a deleted one, silently."""
        self._lost = True
        stat = os.stat(self._path)  # noqa: PTH116 - asked 100 times a second
        if (stat.st_dev, stat.st_ino) != self._file:
            raise StoreUnavailable(f"plan store {self._path} was replaced by another file: try again to open that one")
        self._lost = False

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong with the file becomes `StoreUnavailable` with advice."""
        try:
            yield
        except FileNotFoundError:
            raise StoreUnavailable(
                f"plan store {self._path} is gone: put it back; restart everything to begin with an empty one"
            ) from None
        except OSError as error:
            raise StoreUnavailable(f"plan store {self._path}: {error.strerror or error}") from error
        except sqlite3.Error as error:
            raise StoreUnavailable(f"plan store {self._path}: {_advice(error)} ({error})") from error
        except InvalidRecord as error:
            raise StoreUnavailable(f"plan store {self._path} holds what is no plan: {error}") from error

    def _drop(self) -> None:
        for connection in (self._records, self._poll):
            if connection is not None:
                connection.close()
        self._records = self._poll = None
        self._lost = False

    def _close(self) -> None:
        with self._lock:
            self._drop()


def _advice(error: sqlite3.Error) -> str:
    # extended codes keep the primary one in the lower byte
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return _ADVICE.get(code, "it cannot be used just now: try again; if it lasts, restore it from a backup")


def _make(path: Path) -> None:
    """Put a complete, empty store at `path` in one step, so that nobody ever opens a half-made one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    draft.unlink(missing_ok=True)
    db = sqlite3.connect(draft, isolation_level=None)
    try:
        db.executescript(SCHEMA)
    finally:
        db.close()
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its store is as good
    finally:
        draft.unlink()


def _check_kind(db: sqlite3.Connection, path: Path) -> None:
    (kind,) = db.execute("PRAGMA application_id").fetchone()
    (written,) = db.execute("PRAGMA user_version").fetchone()
    if kind != APPLICATION_ID:
        raise StoreUnavailable(f"{path} is not a plan store: name another file, or move this one away")
    if written != FORMAT:
        raise StoreUnavailable(
            f"plan store {path} has format {written}, this Pointsman reads {FORMAT}: use its own release"
        )


def _read(db: sqlite3.Connection, model: str) -> Plan | None:
    row = db.execute("SELECT plan FROM plans WHERE model = ?", (model,)).fetchone()
    return None if row is None else decode(Plan, row[0].encode())


def _write(db: sqlite3.Connection, change: Change) -> None:
    expected = change.before.revision if change.before else None
    check_step(change)
    with _transaction(db):
        row = db.execute("SELECT revision FROM plans WHERE model = ?", (change.model,)).fetchone()
        stored = None if row is None else row[0]
        if stored != expected:
            raise Conflict(
                f"the plan of {change.model!r} is at revision {stored or 'none'}, not {expected or 'none'}: "
                "someone else changed it; read it again"
            )
        db.execute(
            "INSERT INTO plans VALUES (?1, ?2, ?3) ON CONFLICT (model) DO UPDATE SET revision = ?2, plan = ?3",
            (change.model, change.revision, encode(change.after).decode()),
        )
        db.execute(
            "INSERT INTO history (model, revision, change) VALUES (?, ?, ?)",
            (change.model, change.revision, encode(change).decode()),
        )


def _history(db: sqlite3.Connection, model: str | None, limit: int, upto: int | None) -> list[Change]:
    if model is None:
        rows = db.execute("SELECT change FROM history ORDER BY number DESC LIMIT ?", (limit,))
    else:
        rows = db.execute(
            "SELECT change FROM history WHERE model = ?1 AND (?2 IS NULL OR revision <= ?2) ORDER BY revision DESC LIMIT ?3",
            (model, upto, limit),
        )
    return [decode(Change, text.encode()) for (text,) in rows]


def _keep_gate(db: sqlite3.Connection, result: GateResult) -> None:
    with _transaction(db):
        db.execute(
            "INSERT OR IGNORE INTO gates VALUES (?, ?, ?, ?)",
            (result.model, result.evaluated_us, result.gate_id, encode(result).decode()),
        )
        db.execute(
            "DELETE FROM gates WHERE model = ?1 AND (evaluated_us, gate_id) NOT IN (SELECT evaluated_us, gate_id "
            "FROM gates WHERE model = ?1 ORDER BY evaluated_us DESC, gate_id DESC LIMIT ?2)",
            (result.model, GATES_MAX),
        )


def _gates(db: sqlite3.Connection, model: str, limit: int) -> list[GateResult]:
    rows = db.execute(
        "SELECT result FROM gates WHERE model = ? ORDER BY evaluated_us DESC, gate_id DESC LIMIT ?", (model, limit)
    )
    return [decode(GateResult, text.encode()) for (text,) in rows]


def _alias_book(db: sqlite3.Connection, model: str) -> AliasBook | None:
    row = db.execute("SELECT book FROM alias_books WHERE model = ?", (model,)).fetchone()
    return None if row is None else decode(AliasBook, row[0].encode())


def _write_alias_book(db: sqlite3.Connection, book: AliasBook) -> None:
    with _transaction(db):
        row = db.execute("SELECT number FROM alias_books WHERE model = ?", (book.model,)).fetchone()
        check_number(book, 0 if row is None else row[0])
        db.execute(
            "INSERT INTO alias_books VALUES (?1, ?2, ?3) ON CONFLICT (model) DO UPDATE SET number = ?2, book = ?3",
            (book.model, book.number, encode(book).decode()),
        )


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
