"""The embedded store where only files can go wrong: other processes, kill -9, damage, locks, a file that vanishes."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from itertools import pairwise

import pytest

from contracts.errors import StoreUnavailable
from contracts.plan import Change, VersionRef
from gateway.plan_store.sqlite import FORMAT, SqlitePlanStore
from gateway.traffic import shifts

pytestmark = pytest.mark.anyio

WRITER = """
import asyncio, json, sys
from pathlib import Path
from contracts.errors import Conflict
from contracts.plan import Change, VersionRef
from gateway.traffic import shifts
from gateway.plan_store.sqlite import SqlitePlanStore

async def main(path, who, wins_wanted):
    store, wins = SqlitePlanStore(Path(path), busy_timeout_ms=100_000), 0
    while wins < wins_wanted:
        plan = await store.read("m")
        after = shifts.shadow(plan, VersionRef(version="2", digest="d2"), (plan.revision % 90 + 1) / 100)
        try:
            await store.write(
                Change(model="m", revision=after.revision, at_us=1, who=who, verb="x", reason="", before=plan, after=after)
            )
        except Conflict:
            continue
        wins += 1
        print(json.dumps(after.revision), flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "plans.sqlite"


@pytest.fixture
def first():
    plan = shifts.start("m", VersionRef(version="1", digest="d1"), salt="salt")
    return Change(model="m", revision=1, at_us=1, who="ada", verb="start", reason="", before=None, after=plan)


@pytest.fixture
async def store(path):
    opened = SqlitePlanStore(path, busy_timeout_ms=50)
    yield opened
    await opened.aclose()


def writer(path, who, wins_wanted):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), who, str(wins_wanted)], stdout=subprocess.PIPE, text=True, bufsize=1
    )


async def test_writers_in_many_processes_lose_no_change_and_share_no_revision(store, first, path):
    await store.write(first)
    writers = [writer(path, f"process-{n}", 25) for n in range(4)]
    wins = [json.loads(line) for process in writers for line in process.communicate(timeout=200)[0].splitlines()]
    history = await store.history("m", 1000)

    assert [process.returncode for process in writers] == [0] * 4
    assert sorted(wins) == list(range(2, 102))
    assert [change.revision for change in history] == list(range(101, 0, -1))
    assert all(newer.before == older.after for newer, older in pairwise(history))


async def test_kill_9_loses_no_accepted_change_and_leaves_no_half_of_one(store, first, path):
    await store.write(first)
    accepted = [1]
    for n in range(5):
        with writer(path, f"victim-{n}", 10_000) as process:
            for line in process.stdout:
                accepted.append(json.loads(line))
                if len(accepted) % 7 == 0:
                    os.kill(process.pid, signal.SIGKILL)
                    break
            accepted += [json.loads(line) for line in process.stdout if line.endswith("\n")]
        revisions = [change.revision for change in await store.history("m", 100_000)]

        assert set(accepted) <= set(revisions)
        assert revisions == list(range(revisions[0], 0, -1))
        assert (await store.read("m")).revision == revisions[0]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_the_generation_sees_another_process(store, first, path):
    await store.write(first)
    before = await store.generation()
    with writer(path, "someone", 1) as process:
        process.wait(timeout=200)
    assert await store.generation() != before


async def test_many_stores_opened_at_once_make_one_file_and_nothing_else(path, first):
    stores = [SqlitePlanStore(path, busy_timeout_ms=100_000) for _ in range(20)]
    await asyncio.gather(*(store.read("m") for store in stores))
    await stores[0].write(first)

    assert [await store.read("m") for store in stores] == [first.after] * 20
    for store in stores:  # two that close in the same moment each leave the log's files to the other
        await store.aclose()
    assert [file.name for file in path.parent.iterdir()] == ["plans.sqlite"]


async def test_an_opening_that_is_locked_out_leaves_nothing_half_open(store, first, path):
    """A store of an earlier release lacks a table, which the first opening makes."""
    await store.write(first)
    await store.aclose()
    later = SqlitePlanStore(path, busy_timeout_ms=50)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE gates")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await later.read("m")
        other.execute("COMMIT")

        assert await later.read("m") == first.after
        assert await later.gates("m", 1) == []
    await later.aclose()


async def test_a_reader_does_not_wait_for_a_writer(store, first, path):
    await store.write(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        assert await store.read("m") == first.after
        await store.generation()


async def test_a_writer_that_holds_the_lock_for_too_long_makes_the_store_unavailable_until_it_lets_go(
    store, first, path
):
    await store.read("m")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="holds its lock for too long"):
            await store.write(first)
    await store.write(first)

    assert await store.read("m") == first.after


async def test_a_damaged_file_makes_the_store_unavailable_and_says_what_to_do(path, first):
    store = SqlitePlanStore(path)
    await store.write(first)
    await store.aclose()
    path.write_bytes(b"not a database at all" * 500)

    for call in (store.read("m"), store.write(first), store.history(None, 1), store.generation()):
        with pytest.raises(StoreUnavailable, match="restore it from a backup, or move it away"):
            await call


async def test_a_page_full_of_rubbish_makes_the_store_unavailable_not_wrong(path, first):
    store = SqlitePlanStore(path)
    await store.write(first)
    await store.aclose()
    whole = bytearray(path.read_bytes())
    whole[4096 : len(whole)] = b"\xa5" * (len(whole) - 4096)
    path.write_bytes(whole)

    with pytest.raises(StoreUnavailable, match=r"damaged|holds what is no plan"):
        await store.read("m")
    await store.aclose()


async def test_a_row_that_is_no_plan_makes_the_store_unavailable(store, first, path):
    await store.write(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("UPDATE plans SET plan = '{}'")

    with pytest.raises(StoreUnavailable, match="holds what is no plan"):
        await store.read("m")


async def test_a_file_that_vanishes_makes_the_store_unavailable_and_never_comes_back_empty(store, first, path):
    await store.write(first)
    aside = path.with_name("aside")
    path.rename(aside)

    for _ in range(2):
        for call in (store.generation(), store.read("m"), store.write(first)):
            with pytest.raises(StoreUnavailable, match=r"is gone: put it back"):
                await call
    assert not path.exists()
    aside.rename(path)
    assert await store.read("m") == first.after
    await store.generation()


async def test_a_restored_backup_is_opened_and_counts_as_a_change(store, first, path, tmp_path):
    await store.write(first)
    backup = tmp_path / "backup"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    after = shifts.shadow(first.after, VersionRef(version="2", digest="d2"), 0.5)
    await store.write(
        Change(model="m", revision=2, at_us=2, who="ada", verb="shadow", reason="", before=first.after, after=after)
    )
    before = await store.generation()
    for leftover in path.parent.glob("plans.sqlite-*"):
        leftover.unlink()
    backup.replace(path)

    with pytest.raises(StoreUnavailable, match="replaced by another file"):
        await store.generation()
    assert await store.generation() != before
    assert await store.read("m") == first.after


async def test_a_foreign_or_newer_file_is_refused(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StoreUnavailable, match="is not a plan store"):
        await SqlitePlanStore(path).read("m")

    path.unlink()
    store = SqlitePlanStore(path)
    await store.read("m")
    await store.aclose()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {FORMAT + 1}")
    with pytest.raises(StoreUnavailable, match=f"has format {FORMAT + 1}"):
        await store.read("m")


async def test_a_place_where_no_file_can_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreUnavailable, match="file/plans"):
        await SqlitePlanStore(tmp_path / "file" / "plans.sqlite").read("m")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StoreUnavailable, match="check that it is a file"):
        await SqlitePlanStore(tmp_path / "folder.sqlite").read("m")


async def test_history_cannot_be_rewritten(store, first, path):
    await store.write(first)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in ("UPDATE history SET change = '{}'", "DELETE FROM history"):
            with pytest.raises(sqlite3.IntegrityError, match="append only"):
                other.execute(statement)


async def test_commits_reach_the_disk_before_they_are_accepted(store, first):
    await store.write(first)
    journal = await store._in_thread(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0])
    synchronous = await store._in_thread(lambda db: db.execute("PRAGMA synchronous").fetchone()[0])

    assert (journal, synchronous) == ("wal", 2)


async def test_a_store_that_is_older_than_gates_gets_a_place_for_them(store, first, path):
    await store.write(first)
    await store.aclose()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE gates")
    assert await store.gates("m", 10) == []
    assert await store.read("m") == first.after
