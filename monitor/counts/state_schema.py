"""The tables of the monitor's SQLite file.

Enters: a connection in a transaction. Leaves: the tables there, of the one format that this version writes. A new file gets
a lineage, a name that no other has: of two states that were begun apart none goes on from the other.
"""

import sqlite3
from pathlib import Path
from typing import Final

from contracts.errors import StoreUnavailable
from monitor.counts import summary_store

FORMAT: Final = 2
SCHEMA: Final = (
    "CREATE TABLE origin (one INTEGER PRIMARY KEY CHECK (one = 1), lineage TEXT)",
    "CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), content BLOB)",
    "CREATE TABLE position (name TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID",
    "CREATE TABLE log (number INTEGER PRIMARY KEY, log_id TEXT UNIQUE, seen BLOB)",
    "CREATE TABLE finding (content TEXT PRIMARY KEY) WITHOUT ROWID",
    """CREATE TABLE generation (number INTEGER PRIMARY KEY, model TEXT, version TEXT, digest TEXT, fingerprint TEXT,
        definition BLOB, UNIQUE (model, version, digest, fingerprint))""",
    "CREATE TABLE grp (number INTEGER PRIMARY KEY, generation INTEGER, variant TEXT, UNIQUE (generation, variant))",
    """CREATE TABLE switch (number INTEGER PRIMARY KEY, model TEXT, version TEXT, digest TEXT, fingerprint TEXT,
        seen BLOB)""",
    """CREATE TABLE counter (name TEXT, model TEXT, version TEXT, detail TEXT, value INTEGER,
        PRIMARY KEY (name, model, version, detail)) WITHOUT ROWID""",
    *summary_store.SCHEMA,
)


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables of a new state, inside the caller's transaction. Raises StoreUnavailable for another format."""
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in {0, FORMAT}:
        raise StoreUnavailable(
            f"monitor state {path} has format {found}, this version writes {FORMAT}: move it away, it is counted again"
        )
    if not found:
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute("INSERT INTO origin VALUES (1, lower(hex(randomblob(16))))")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
