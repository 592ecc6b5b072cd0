"""What is live in the topic of summaries, in SQLite: the last value of every key, and a checksum that proves it whole.

Enters: an open connection and messages in the order of the topic. Leaves: rows. Never opens, begins or commits: the caller
owns the transaction.

    live       the last value of each key, as of the last publication that was accepted
    waiting    what came since: rows of a publication whose marker is not there yet, or which cannot be proven yet; a null
               takes back. On a topic that was compacted, older markers prove nothing; waiting goes on to the newest
    part       how far each partition was read, its checksum over live and waiting together, and its last accepted marker

`amiss` is by how much rows and checksum differed from the marker when a partition was accepted that is not whole.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from monitor.fleet.exchange import (
    CHECKSUM_MODULUS,
    DAY,
    MARKER,
    PANE,
    Mark,
    Message,
    hash_of,
    key_of,
    name_of,
    read_as,
    read_content,
)

SCHEMA: Final = (
    "CREATE TABLE live (p INTEGER, key BLOB, hash INTEGER, value BLOB, PRIMARY KEY (p, key)) WITHOUT ROWID",
    "CREATE TABLE waiting (p INTEGER, key BLOB, hash INTEGER, value BLOB, PRIMARY KEY (p, key)) WITHOUT ROWID",
    """CREATE TABLE part (p INTEGER PRIMARY KEY, next_offset INTEGER, row_count INTEGER, checksum TEXT, mark BLOB,
        amiss BLOB)""",
)
ROWS_AT_ONCE: Final = 500


class Amiss(msgspec.Struct, frozen=True):
    """By how much live rows differ from what the marker says of them."""

    rows: int = 0
    checksum: int = 0


class Standing(NamedTuple):
    """How far one partition was read; `mark` is the last accepted marker."""

    next_offset: int
    rows: int
    checksum: int
    mark: Mark | None
    amiss: Amiss


class Change(NamedTuple):
    """What becomes of a key; null is nothing."""

    key: bytes
    old: bytes | None
    new: bytes | None


def standing(connection: sqlite3.Connection, p: int) -> Standing:
    """How far a partition is; the beginning where it was never read."""
    query = "SELECT next_offset, row_count, checksum, mark, amiss FROM part WHERE p = ?"
    row = connection.execute(query, (p,)).fetchone()
    if row is None:
        return Standing(0, 0, 0, None, Amiss())
    next_offset, rows, checksum, mark, amiss = row
    return Standing(
        next_offset,
        rows,
        int(checksum, 16),
        None if mark is None else read_as(Mark, mark),
        msgspec.json.decode(amiss, type=Amiss),
    )


def write_standing(connection: sqlite3.Connection, p: int, now: Standing) -> None:
    """Store how far a partition is."""
    mark = None if now.mark is None else msgspec.json.encode(now.mark)
    row = p, now.next_offset, now.rows, f"{now.checksum:016x}", mark, msgspec.json.encode(now.amiss)
    connection.execute("INSERT OR REPLACE INTO part VALUES (?, ?, ?, ?, ?, ?)", row)


def receive(connection: sqlite3.Connection, p: int, messages: Sequence[Message], next_offset: int) -> None:
    """Let messages of one partition wait, but markers; what is not ours is left out."""
    now = standing(connection, p)
    newest = {message.key: message for message in messages if _is_row(message, p)}
    keys = list(newest)
    rows, checksum = now.rows, now.checksum
    for start in range(0, len(keys), ROWS_AT_ONCE):
        some = [newest[key] for key in keys[start : start + ROWS_AT_ONCE]]
        before = _hashes(connection, p, [message.key for message in some])
        after = {message.key: hash_of(message) for message in some if message.value is not None}
        rows += len(after) - len(before)
        checksum += sum(after.values()) - sum(before.values())
        values = [(p, message.key, _signed(after.get(message.key, 0)), message.value) for message in some]
        connection.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?, ?)", values)
    write_standing(
        connection, p, now._replace(next_offset=next_offset, rows=rows, checksum=checksum % CHECKSUM_MODULUS)
    )


def mark_of(message: Message, p: int) -> Mark | None:
    """The marker that this message is; null where it is none. Raises InvalidRecord."""
    name = name_of(message.key)
    if name is None or name.kind != MARKER or name.p != p or message.value is None:
        return None
    mark: Mark = read_as(Mark, read_content({0: message.value}))
    return mark


def amiss_of(now: Standing, mark: Mark) -> Amiss:
    """By how much the rows read so far differ from this marker."""
    return Amiss(now.rows - mark.rows, (now.checksum - int(mark.checksum, 16)) % CHECKSUM_MODULUS)


def changes(connection: sqlite3.Connection, p: int, kind: str) -> Iterator[list[Change]]:
    """What is waiting of one kind, beside what is live, in the order of keys, a bounded number at a time."""
    first, end = _bounds(p, kind)
    query = (
        "SELECT waiting.key, live.value, waiting.value FROM waiting LEFT JOIN live USING (p, key)"
        " WHERE p = ? AND waiting.key >= ? AND waiting.key < ? ORDER BY waiting.key LIMIT ?"
    )
    while rows := connection.execute(query, (p, first, end, ROWS_AT_ONCE)).fetchall():
        yield [Change(*row) for row in rows]
        first = rows[-1][0] + b"\0"


def accept(connection: sqlite3.Connection, p: int, mark: Mark, amiss: Amiss) -> None:
    """What is waiting becomes live."""
    connection.execute(
        "DELETE FROM live WHERE p = ?1 AND key IN (SELECT key FROM waiting WHERE p = ?1 AND value IS NULL)", (p,)
    )
    connection.execute("INSERT OR REPLACE INTO live SELECT * FROM waiting WHERE p = ? AND value IS NOT NULL", (p,))
    connection.execute("DELETE FROM waiting WHERE p = ?", (p,))
    write_standing(connection, p, standing(connection, p)._replace(mark=mark, amiss=amiss))


def accept_kind(connection: sqlite3.Connection, p: int, kind: str) -> set[tuple[str, ...]]:
    """What is waiting of one kind becomes live before the rest; the names of what changed."""
    names = {name.names for some in changes(connection, p, kind) for one in some if (name := name_of(one.key))}
    bounds = p, *_bounds(p, kind)
    some = "FROM waiting WHERE p = ?1 AND key >= ?2 AND key < ?3 AND value IS"
    connection.execute(f"DELETE FROM live WHERE p = ?1 AND key IN (SELECT key {some} NULL)", bounds)  # noqa: S608
    connection.execute(f"INSERT OR REPLACE INTO live SELECT * {some} NOT NULL", bounds)
    connection.execute("DELETE FROM waiting WHERE p = ?1 AND key >= ?2 AND key < ?3", bounds)
    return names


def begin_again(connection: sqlite3.Connection, p: int) -> None:
    """Read a partition from its beginning: what is live stays until then, and goes where it does not come again."""
    connection.execute("DELETE FROM waiting WHERE p = ?", (p,))
    connection.execute("INSERT INTO waiting SELECT p, key, 0, NULL FROM live WHERE p = ?", (p,))
    write_standing(connection, p, standing(connection, p)._replace(next_offset=0, rows=0, checksum=0))


def forget(connection: sqlite3.Connection, p: int) -> None:
    """Nothing is known of a partition any more."""
    for table in ("live", "waiting", "part"):
        connection.execute(f"DELETE FROM {table} WHERE p = ?", (p,))  # noqa: S608


def rows_of(connection: sqlite3.Connection, p: int, kind: str) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """The live keys of one kind with their values, in the order of keys, a bounded number at a time."""
    first, end = _bounds(p, kind)
    query = "SELECT key, value FROM live WHERE p = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
    while rows := connection.execute(query, (p, first, end, ROWS_AT_ONCE)).fetchall():
        yield rows
        first = rows[-1][0] + b"\0"


def contents_of(connection: sqlite3.Connection, p: int, kind: str) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """The live contents of one kind by their names. Raises InvalidRecord."""
    for rows in rows_of(connection, p, kind):
        for key, _ in rows:
            name = name_of(key)
            if name is not None and not name.piece:
                yield name.names, content_of(connection, p, kind, name.names)


def content_of(connection: sqlite3.Connection, p: int, kind: str, names: Sequence[str]) -> bytes:
    """One live content. Raises InvalidRecord where a piece of it is missing."""
    values: dict[int, bytes] = {}
    while True:
        query = "SELECT value FROM live WHERE p = ? AND key = ?"
        row = connection.execute(query, (p, key_of(p, kind, names, piece=len(values)))).fetchone()
        if row is None or row[0] is None:
            return read_content(values)
        values[len(values)] = row[0]


def is_live(connection: sqlite3.Connection, p: int, kind: str, names: Sequence[str]) -> bool:
    """Whether there is a live content under these names."""
    return has(connection, p, key_of(p, kind, names))


def has(connection: sqlite3.Connection, p: int, key: bytes) -> bool:
    """Whether a key is live."""
    return connection.execute("SELECT 1 FROM live WHERE p = ? AND key = ?", (p, key)).fetchone() is not None


def put(connection: sqlite3.Connection, p: int, messages: Iterable[Message]) -> list[Message]:
    """Make messages live at once, and return those that change anything: what a publisher has to tell. Of panes and days
    only the hashes are kept: their values are in the state.
    """
    now = standing(connection, p)
    newest = {message.key: message for message in messages}
    before = _hashes(connection, p, list(newest))
    after = {key: hash_of(message) for key, message in newest.items() if message.value is not None}
    told = [message for key, message in newest.items() if before.get(key) != after.get(key)]
    kept = [
        (p, message.key, _signed(after[message.key]), None if _is_counts(message.key, p) else message.value)
        for message in told
        if message.value is not None
    ]
    connection.executemany("INSERT OR REPLACE INTO live VALUES (?, ?, ?, ?)", kept)
    gone = [(p, message.key) for message in told if message.value is None]
    connection.executemany("DELETE FROM live WHERE p = ? AND key = ?", gone)
    checksum = (now.checksum + sum(after.values()) - sum(before.values())) % CHECKSUM_MODULUS
    write_standing(connection, p, now._replace(rows=now.rows + len(after) - len(before), checksum=checksum))
    return told


def drop_counts(connection: sqlite3.Connection, p: int) -> None:
    """Keep only the hashes of panes and days."""
    for kind in (PANE, DAY):
        update = "UPDATE live SET value = NULL WHERE p = ? AND key >= ? AND key < ? AND value IS NOT NULL"
        connection.execute(update, (p, *_bounds(p, kind)))


def lacks_counts(connection: sqlite3.Connection, p: int) -> bool:
    """Whether only the hashes of some panes or days are kept."""
    query = "SELECT 1 FROM live WHERE p = ? AND key >= ? AND key < ? AND value IS NULL LIMIT 1"
    return any(connection.execute(query, (p, *_bounds(p, kind))).fetchone() for kind in (PANE, DAY))


def _is_row(message: Message, p: int) -> bool:
    name = name_of(message.key)
    return name is not None and name.p == p and name.kind != MARKER


def _is_counts(key: bytes, p: int) -> bool:
    return key.startswith((_bounds(p, PANE)[0], _bounds(p, DAY)[0]))


def _bounds(p: int, kind: str) -> tuple[bytes, bytes]:
    """All keys of a kind lie in [first, end)."""
    first = f'[{p},"{kind}",'.encode()
    return first, first[:-1] + b"-"


def _hashes(connection: sqlite3.Connection, p: int, keys: Sequence[bytes]) -> dict[bytes, int]:
    """The hashes of keys as live and waiting together have them; without those that are not there."""
    found: dict[bytes, int] = {}
    for start in range(0, len(keys), ROWS_AT_ONCE):
        some = keys[start : start + ROWS_AT_ONCE]
        marks = ",".join("?" * len(some))
        live = f"SELECT key, hash FROM live WHERE p = ? AND key IN ({marks})"  # noqa: S608
        found |= dict(connection.execute(live, (p, *some)))
        waiting = f"SELECT key, hash, value IS NULL FROM waiting WHERE p = ? AND key IN ({marks})"  # noqa: S608
        for key, value, gone in connection.execute(waiting, (p, *some)):
            if gone:
                found.pop(key, None)
            else:
                found[key] = value
    return {key: value % CHECKSUM_MODULUS for key, value in found.items()}


def _signed(value: int) -> int:
    return value - CHECKSUM_MODULUS if value >= CHECKSUM_MODULUS // 2 else value
