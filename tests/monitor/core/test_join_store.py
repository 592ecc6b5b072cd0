"""The join's rows never get out of step with the state's file: whatever dies in between, a tick is there whole or not at all."""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest

from contracts.errors import StoreUnavailable
from monitor.counts import consume, join_book, join_keys
from monitor.counts.join_store import STANDING, Edit, JoinStore, OutOfStep, join_memory
from monitor.counts.state import FILE_NAME, counted, join_path, open_state
from monitor.pages.queries import open_reader

HORIZON_PASSED_DAYS = 5
PATIENCE_SECONDS = 60
NOTHING = Edit((), {}, {}, {})


class Crash(Exception):
    """The process dies here."""


class Edge:
    """Everything that makes a tick last: writes of the join store and commits of the file, of which some are survived."""

    def __init__(self, survived, *, after):
        self.left, self.after, self.done = survived, after, 0
        self._write = JoinStore._write

    @contextlib.contextmanager
    def step(self):
        self.done += 1
        dies = self.left is not None and self.done > self.left
        if dies and not self.after:
            raise Crash
        yield
        if dies:
            raise Crash

    def connect(self, *args, **kwargs):
        edge = self

        class Fragile(sqlite3.Connection):
            def execute(self, *args):
                with edge.step() if args[0] == "COMMIT" else contextlib.nullcontext():
                    return super().execute(*args)

        return sqlite3.connect(*args, factory=Fragile, **kwargs)

    def write(self):
        """What takes the place of `JoinStore._write`."""
        edge = self

        def write(store, batch, *, whole):
            with edge.step():
                edge._write(store, batch, whole=whole)

        return write


@pytest.fixture
def history(world):
    """Labels that come early, late, twice and for nobody; enough to expire, in ticks of a few records."""
    dice, entries, far_us = random.Random(5), [], world.T0 + HORIZON_PASSED_DAYS * world.DAY_US
    ids = [world.uuid7(world.T0 // 1000 + i, i) for i in range(8)] + ["caller-made"]
    records = []
    for i, prediction_id in enumerate(ids):
        event_us = far_us if i == 3 else world.T0  # one of them outlives its receipt
        received_us = world.T0 + i
        records += [
            world.make_label(prediction_id, i % 2),
            world.make_prediction(prediction_id, event_us=event_us, received_us=received_us),
            world.make_prediction(
                prediction_id, received_us=received_us, version="2", variant="shadow", answered=False
            ),
            world.make_label(prediction_id, 1, label_version=1),
        ]
    dice.shuffle(records)
    records.append(world.make_label(world.uuid7(world.T0 // 1000, 99), 1))
    end_us = far_us + 3 * world.DAY_US
    later = [world.make_prediction(world.uuid7(far_us // 1000, i), event_us=far_us) for i in range(6)]
    later.append(world.make_label(ids[3], 0, label_version=2))
    later += [world.make_prediction(world.uuid7(end_us // 1000, i), event_us=end_us) for i in range(8)]
    later.append(world.make_label(ids[0], 1, label_version=2))
    entries = [world.entry("a" * 32, seq, record) for seq, record in enumerate([*records, *later], 1)]
    return [part for i, entry in enumerate(entries) for part in ([entry] if i < 36 or i % 2 else [None, entry])]


@pytest.fixture
def references(world):
    return {("m", version): world.make_reference("binary", version) for version in "12"}


def finish(world, path, history, references, edge):
    """Run until it dies or to the end; whether it got there."""
    connect = {} if edge is None else {"connect": edge.connect}
    consumer = world.make_consumer(path, history, world.make_catalogue(references), records_max=6, **connect)
    try:
        with patch.object(JoinStore, "_write", edge.write()) if edge else contextlib.nullcontext():
            for _ in range(26):
                consumer.tick(world.T0)
    except Crash:
        return False
    finally:
        consumer.close()
    return True


def everything(world, path):
    reader = open_reader(path)
    progress = reader.progress()
    reader.close()
    return world.read_counts(path), world.read_counters(path), counted(path), progress, world.read_join_rows(path)


@pytest.fixture
def small(monkeypatch):
    """Expiry that happens, in several steps."""
    monkeypatch.setattr(consume, "EXPIRE_TICKS", 3)
    monkeypatch.setattr(join_book, "DROPPED_AT_ONCE", 4)


def test_a_crash_at_any_write_of_either_store_is_as_if_it_had_not_happened(world, tmp_path, history, references, small):
    whole = Edge(None, after=False)
    assert finish(world, tmp_path / "whole" / FILE_NAME, history, references, whole)
    expected = everything(world, tmp_path / "whole" / FILE_NAME)

    for survived in range(whole.done + 1):
        path = tmp_path / str(survived) / FILE_NAME
        done = finish(world, path, history, references, Edge(survived, after=False))
        assert done == (survived >= whole.done)
        finish(world, path, history, references, Edge(survived % 3, after=True))  # and again, at once
        assert finish(world, path, history, references, None)
        assert everything(world, path) == expected, survived


def test_the_history_of_the_crash_test_writes_and_drops_everything_there_is(
    world, tmp_path, history, references, small
):
    kinds, undone = set(), []
    commit, undo = JoinStore._commit, JoinStore._undo

    def watched(store, edit, *, whole):
        kinds.update((key[:1], value is None) for key, value in edit.changed.items())
        kinds.update((key[:1], False) for key in edit.lists)
        commit(store, edit, whole=whole)

    def watched_undo(store, layers):
        undone.append(len(layers))
        undo(store, layers)

    with patch.object(JoinStore, "_commit", watched), patch.object(JoinStore, "_undo", watched_undo):
        for survived in range(40):
            finish(world, tmp_path / FILE_NAME, history, references, Edge(survived, after=True))

    letters = (join_keys.BALLOT, join_keys.QUEUE, join_keys.HELD, join_keys.WAITING)
    assert kinds == {(letter, gone) for letter in letters for gone in (False, True)} | {(join_keys.RECORD, True)}
    assert set(undone) == {1, 2}
    names = {name for name, *_ in world.read_counters(tmp_path / FILE_NAME)}
    assert {"labels_accepted", "labels_orphaned", "labels_too_late"} <= names


def store_at(tmp_path, tick, lineage="one", name="join"):
    store = JoinStore(tmp_path / name, lineage, tick)
    store.open(join_memory())
    return store


def test_what_the_state_did_not_save_is_undone(tmp_path):
    store = store_at(tmp_path, 0)
    store.write(1, Edit([(b"r1", b"a")], {b"q1": [b"r1"]}, {b"b1": b"x"}, {b"b1": None}))
    before = dict(store.scan(b""))
    store.write(2, Edit([(b"r2", b"b")], {b"q2": [b"r2"]}, {b"b1": b"y", b"b2": b"z"}, {b"b1": b"x", b"b2": None}))
    gone = {b"r1": None, b"q1": None, b"q2": None, b"b1": None}
    store.write_more(Edit((), {}, gone, {b"r1": b"a", b"q1": b"\x91\xc4\x02r1", b"q2": b"\x91\xc4\x02r2", b"b1": b"y"}))
    store.close()

    again = store_at(tmp_path, 1)

    assert {key: value for key, value in again.scan(b"") if key != STANDING} == {
        key: value for key, value in before.items() if key != STANDING
    }
    again.close()
    store_at(tmp_path, 1).close()


@pytest.mark.parametrize(
    ("tick", "lineage", "objection"),
    [
        (1, "one", "at tick 3 and the state is at tick 1"),
        (4, "one", "at tick 3 and the state is at tick 4"),
        (3, "two", "another state"),
    ],
)
def test_a_store_that_is_out_of_step_is_refused_with_what_to_do(tmp_path, tick, lineage, objection):
    store = store_at(tmp_path, 0)
    for number in (1, 2, 3):
        store.write(number, NOTHING)
    store.close()

    with pytest.raises(StoreUnavailable, match=f"{objection}; it has to be rebuilt"):
        store_at(tmp_path, tick, lineage)
    store_at(tmp_path, 3).close()


def test_a_store_that_is_gone_or_half_rebuilt_is_refused(tmp_path):
    with pytest.raises(StoreUnavailable, match="empty and the state is at tick 7"):
        store_at(tmp_path, 7)

    store = JoinStore(tmp_path / "half", "one", 7)
    store.open_empty(join_memory())
    store.fill(Edit([(b"r1", b"a")], {b"q1": [b"r1"]}, {}, {}))
    store.close()
    with pytest.raises(StoreUnavailable, match="half rebuilt"):
        store_at(tmp_path, 7, name="half")

    store.open_empty(join_memory())
    assert list(store.scan(b"r")) == []
    store.finished()
    store.close()
    store_at(tmp_path, 7, name="half").close()


def test_a_state_that_begins_anew_takes_no_rows_of_the_one_before(world, tmp_path, history, references):
    path = tmp_path / FILE_NAME
    finish(world, path, history, references, None)
    rows = world.read_join_rows(path)
    for file in tmp_path.glob(f"{FILE_NAME}*"):
        if file.is_file():
            file.unlink()

    assert finish(world, path, history, references, None)

    assert rows
    assert world.read_counts(path) == world.oracle([entry for entry in history[:-1] if entry], references)


def test_a_power_cut_that_takes_some_writes_and_not_others_is_noticed(world, tmp_path, history, references):
    path = tmp_path / FILE_NAME
    consumer = world.make_consumer(path, history, world.make_catalogue(references), records_max=6)
    consumer.tick(world.T0)
    consumer.close()
    shutil.copytree(join_path(path), tmp_path / "earlier")
    consumer.tick(world.T0)
    consumer.tick(world.T0)
    consumer.close()
    shutil.rmtree(join_path(path))
    shutil.copytree(tmp_path / "earlier", join_path(path))

    with pytest.raises(OutOfStep, match="at tick 1 and the state is at tick 3; it has to be rebuilt"):
        open_state(path)

    assert finish(world, path, history, references, None)
    finish(world, tmp_path / "whole" / FILE_NAME, history, references, None)
    assert everything(world, path)[:3] == everything(world, tmp_path / "whole" / FILE_NAME)[:3]


def test_a_store_has_one_owner(tmp_path):
    store = store_at(tmp_path, 0)
    with pytest.raises(StoreUnavailable, match="another monitor has it open: run one per state"):
        store_at(tmp_path, 0)
    store.close()


def test_a_closed_or_damaged_store_says_so(tmp_path):
    store = store_at(tmp_path, 0)
    store.write(1, NOTHING)
    store._rows.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.read([b"x"])
    for manifest in (tmp_path / "join").glob("MANIFEST-*"):
        manifest.write_bytes(b"not a manifest")
    with pytest.raises(StoreUnavailable, match="move this directory away: it is rebuilt from the log"):
        store_at(tmp_path, 1)


CHILD = """
import sys
import time
from pathlib import Path
from monitor.counts.join_store import Edit, JoinStore, join_memory
store = JoinStore(Path(sys.argv[1]), "one", 0)
store.open(join_memory())
for tick in range(1, 10**6):
    key = tick.to_bytes(4, "big")
    store.write(tick, Edit([(b"r" + key, key * 50)], {b"q" + key: [b"r" + key]}, {}, {}))
    print(tick, flush=True)
"""


def test_a_process_that_is_killed_loses_nothing_it_wrote(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "join")], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as child:
        for _ in range(300):
            last = int(child.stdout.readline())
        os.kill(child.pid, signal.SIGKILL)
        last = int((child.stdout.read().split() or [last])[-1])

    store = store_at(tmp_path, last)  # one more may be there, which it had no time to tell: that is undone
    assert len(list(store.scan(b"r"))) == last
    store.close()


def test_many_stores_share_one_memory(tmp_path):
    memory, stores, dice = join_memory(2**20, 4 * 2**20), [], random.Random(1)
    for number in range(40):
        stores.append(JoinStore(tmp_path / str(number), "one", 0))
        stores[-1].open(memory)
    assert memory.buffers.get_usage() < 40 * 2**17

    for tick in range(1, 21):
        for store in stores:
            store.write(tick, Edit([(b"r" + dice.randbytes(16), bytes(300)) for _ in range(200)], {}, {}, {}))
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while memory.buffers.get_usage() > 24 * 2**20 and time.monotonic() < give_up_at:
        time.sleep(0.02)

    assert memory.buffers.get_usage() <= 24 * 2**20  # of 48 MB that were written; what no store writes, none gives back
    for store in stores:
        assert len(list(store.scan(b"r"))) == 4000
        store.close()
    assert memory.buffers.get_usage() == 0


def test_ids_of_text_that_begin_alike_are_kept_apart(world, tmp_path, references):
    ids = ["a", "ab", "a" * 16, "a" * 17, "", "ÿ", "aÿ"]
    predictions = [world.make_prediction(one, outputs=world.make_output([0.25], 1)) for one in ids]
    labels = [world.make_label(one, 1) for one in ids[::2]]
    entries = [world.entry("a" * 32, seq, record) for seq, record in enumerate(predictions + labels, 1)]

    world.run(world.make_consumer(tmp_path / FILE_NAME, entries, world.make_catalogue(references), records_max=3))

    assert world.read_counts(tmp_path / FILE_NAME) == world.oracle(entries, references)
    assert world.read_counters(tmp_path / FILE_NAME)["labels_accepted", "m", "", ""] == len(labels)
