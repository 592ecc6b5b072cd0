"""The join's memory in SQLite: what predictions left behind, the labels of every row, and who waits for whom.

Enters: an open connection. Leaves: rows written, or records and ballots read. Never opens, begins or commits: the caller
owns the transaction.

    record     one a scored prediction, by id: as ids are UUIDv7, new ones go to the end of the table, and the oldest
               are at its start
    ballot     the labels of one row of one id
    waiting    rows that have labels and no prediction yet
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec

from monitor.ballot import Ballot
from monitor.join import Joined, Known, Tally
from monitor.join_record import JoinRecord, Scorable, scorable

SCHEMA: Final = (
    "CREATE TABLE record (id BLOB, log INTEGER, seq INTEGER, body BLOB, PRIMARY KEY (id, log, seq)) WITHOUT ROWID",
    'CREATE TABLE ballot (id BLOB, "row" INTEGER, labels BLOB, PRIMARY KEY (id, "row")) WITHOUT ROWID',
    'CREATE TABLE waiting (id BLOB, "row" INTEGER, received_us INTEGER, PRIMARY KEY (id, "row")) WITHOUT ROWID',
)
IDS_AT_ONCE: Final = 5_000
DROPPED_AT_ONCE: Final = 20_000
"""Records, and waiting rows, that one `drop_expired` takes away at most; the next one goes on."""

_TEXT_IDS: Final = b"\xff"


class Expired(NamedTuple):
    """What was dropped: the greatest time-sorted id among it, and the labels that never met their prediction."""

    expired: bytes | None
    tally: Tally


def read_known(
    connection: sqlite3.Connection, labels: Iterable[bytes], records: Iterable[bytes], expired: bytes | None
) -> Known:
    """What is stored of the ids of new labels and of new records."""
    wanted = set(labels)
    newest = connection.execute("SELECT max(id) FROM ballot").fetchone()[0]
    asked = wanted | {key for key in records if newest is not None and key <= newest}
    ballots = _read_ballots(connection, sorted(asked))
    wanted |= {key for key, _ in ballots}
    oldest = connection.execute("SELECT min(id) FROM record").fetchone()[0]
    return Known(_read_records(connection, sorted(wanted)), ballots, oldest, expired)


def write_joined(connection: sqlite3.Connection, records: Iterable[JoinRecord], joined: Joined) -> None:
    """Store new records, changed ballots and who waits."""
    connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?)", records)
    encode = msgspec.msgpack.Encoder().encode
    ballots = [(key, row, encode(ballot)) for (key, row), ballot in sorted(joined.ballots.items())]
    connection.executemany("INSERT OR REPLACE INTO ballot VALUES (?, ?, ?)", ballots)
    waiting = [(*key, received_us) for key, received_us in joined.waiting.items()]
    connection.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?, ?)", waiting)
    connection.executemany('DELETE FROM waiting WHERE id = ? AND "row" = ?', joined.arrived)


def drop_expired(connection: sqlite3.Connection, event_us: int, received_us: int) -> Expired:
    """Drop records that are older than both times, with their labels, and labels that waited since before `received_us`."""
    expired = _drop_records(connection, event_us, received_us)
    query = 'SELECT id, "row" FROM waiting WHERE received_us < ? LIMIT ?'
    lost = connection.execute(query, (received_us, DROPPED_AT_ONCE)).fetchall()
    ballots = _read_ballots(connection, sorted({key for key, _ in lost}))
    tally: Tally = Counter()
    for key in lost:
        count = sum(event.copies for event in ballots[key].events) + ballots[key].dropped
        tally["labels_pending", "", ""] -= count
        tally["labels_orphaned", "", ""] += count
    connection.executemany('DELETE FROM ballot WHERE id = ? AND "row" = ?', lost)
    connection.executemany('DELETE FROM waiting WHERE id = ? AND "row" = ?', lost)
    return Expired(expired, tally)


def _drop_records(connection: sqlite3.Connection, event_us: int, received_us: int) -> bytes | None:
    """Time-sorted ids are found by their time, at the start of the table; the others by looking at each of them."""
    before = max(0, received_us // 1000).to_bytes(6, "big")
    old: list[tuple[bytes, int, int]] = []
    for first, end in ((b"", before), (_TEXT_IDS, _TEXT_IDS * 2)):
        rows = connection.execute("SELECT * FROM record WHERE id >= ? AND id < ?", (first, end))
        records = (JoinRecord(*row) for row in rows)
        expired = (record[:3] for record in records if _is_older(scorable(record), event_us, received_us))
        old += islice(expired, DROPPED_AT_ONCE)
    connection.executemany("DELETE FROM record WHERE id = ? AND log = ? AND seq = ?", old)
    delete = "DELETE FROM ballot WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM record WHERE id = ?1)"
    connection.executemany(delete, [(key,) for key in dict.fromkeys(key for key, _, _ in old)])
    return max((key for key, _, _ in old if key < _TEXT_IDS), default=None)


def _is_older(record: Scorable, event_us: int, received_us: int) -> bool:
    return record.event_us < event_us and record.received_us < received_us


def _read_records(connection: sqlite3.Connection, ids: Sequence[bytes]) -> Mapping[bytes, Sequence[Scorable]]:
    found: dict[bytes, list[Scorable]] = {}
    for row in _read(connection, "SELECT * FROM record WHERE id IN", ids):
        found.setdefault(row[0], []).append(scorable(JoinRecord(*row)))
    return found


def _read_ballots(connection: sqlite3.Connection, ids: Sequence[bytes]) -> dict[tuple[bytes, int], Ballot]:
    rows = _read(connection, "SELECT * FROM ballot WHERE id IN", ids)
    decode = msgspec.msgpack.Decoder(Ballot).decode
    return {(key, row): decode(labels) for key, row, labels in rows}


def _read(connection: sqlite3.Connection, query: str, ids: Sequence[bytes]) -> Iterable[tuple[Any, ...]]:
    remaining = iter(ids)
    while chunk := list(islice(remaining, IDS_AT_ONCE)):
        yield from connection.execute(f"{query} ({','.join('?' * len(chunk))})", chunk)
