"""A state's values at one moment: what changed and nothing else, days where panes are gone, and a new state made of them."""

import numpy as np
import pytest

from contracts.errors import StoreUnavailable
from monitor.counts import summary_store
from monitor.counts.join_store import OutOfStep
from monitor.counts.panes import PANE_US, pane_of, pane_of_bucket
from monitor.counts.rejoin import Rejoin
from monitor.counts.state import FILE_NAME, Progress, open_state
from monitor.counts.state_export import Marker, exported, import_state, standing_of
from monitor.pages.queries import open_reader

NOTHING = Marker(
    lineage="", progress=Progress(), positions={}, seen={}, counters=[], findings=["{}"], groups=[], switches=[]
)


class Counting:
    """One state, fed with one prediction a tick, each in the pane that is asked for."""

    def __init__(self, world, path):
        self.world, self.path, self.entries = world, path, []
        catalogue = world.make_catalogue({("m", "1"): world.make_reference("binary")})
        self.counter = world.make_consumer(path, self.entries, catalogue)

    def predict(self, *panes):
        for pane in panes:
            number, event_us = len(self.entries) + 1, self.world.T0 + pane * PANE_US
            prediction_id = self.world.uuid7(event_us // 1000, number)
            record = self.world.make_prediction(prediction_id, event_us=event_us, features={"x": [9], "c": ["b"]})
            self.entries.append(self.world.entry("a" * 32, number, record))
            self.counter.tick(self.world.T0)


@pytest.fixture
def counting(world, tmp_path):
    made = Counting(world, tmp_path / FILE_NAME)
    yield made
    made.counter.close()


def changed(path, tick):
    """(panes, days, panes that are gone), each from T0, and the tick they are of."""
    with exported(path) as export:
        parts = list(export.changed_since(tick))
        found = [np.concatenate([column(part) for part in parts] or [[]]) for column in COLUMNS]
        return [np.asarray(pane_of_bucket(own.astype(np.int64))).tolist() for own in found], export.marker.progress.tick


COLUMNS = (lambda part: part.panes.buckets, lambda part: part.days.buckets, lambda part: part.gone)


@pytest.mark.parametrize("settle", [1, 2, 3, 128])
def test_only_what_changed_is_told_and_whole(world, counting, monkeypatch, settle):
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", settle)
    first = pane_of(world.T0)
    counting.predict(1, 2, 3, 2)
    (panes, days, gone), tick = changed(counting.path, -1)
    assert ([pane - first for pane in panes], days, gone) == ([1, 2, 3], [], [])

    counting.predict(3, 7)
    (panes, days, gone), _ = changed(counting.path, tick)

    assert ([pane - first for pane in panes], days, gone) == ([3, 7], [], [])
    with exported(counting.path) as export:
        (told,) = export.changed_since(tick)
        layout = world.make_reference("binary")
        assert layout
        assert told.panes.counts.max() == 2  # pane 3 has two rows by now: values are cumulative
        assert list(export.changed_since(export.marker.progress.tick)) == []


def test_who_asks_for_more_than_is_remembered_is_told_everything(world, counting, monkeypatch):
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 2)
    monkeypatch.setattr(summary_store, "TOUCHED_MAX", 2)
    counting.predict(1, 2, 3, 4, 5, 6, 7, 8)

    (panes, _, _), tick = changed(counting.path, 1)
    assert len(panes) == 8
    (panes, _, _), _ = changed(counting.path, tick - 2)
    assert len(panes) == 2


def test_where_panes_are_no_longer_kept_their_days_are_told(world, counting, monkeypatch, tmp_path):
    monkeypatch.setattr(summary_store, "SETTLE_TICKS_MAX", 1)
    monkeypatch.setattr(summary_store, "PANES_KEPT_DAYS", 2)
    counting.predict(1, 2, 300)
    _, tick = changed(counting.path, -1)
    counting.predict(4 * 288)
    (panes, days, gone), _ = changed(counting.path, tick)
    first = pane_of(world.T0)
    assert [pane - first for pane in panes] == [4 * 288]
    assert [day - first // 288 for day in days] == [0, 1]
    assert [pane - first for pane in gone] == [1, 2, 300]

    counting.predict(5, 5)  # long ago: only its day is told
    (panes, days, _), _ = changed(counting.path, tick + 1)
    assert panes == []
    assert [day - first // 288 for day in days] == [0]

    with exported(counting.path) as export:
        import_state(tmp_path / "again.sqlite", export.marker, export.changed_since(-1))
    vectors = []
    for path in (counting.path, tmp_path / "again.sqlite"):
        reader = open_reader(path)
        vectors.append(reader.merged(reader.groups()[0]).tolist())
        reader.close()
    assert vectors[0] == vectors[1]
    assert sum(vectors[0]) > 0


def test_an_export_is_of_one_moment(world, counting):
    counting.predict(1)
    with exported(counting.path) as export:
        counting.predict(1, 2)
        told = list(export.changed_since(-1))
        assert export.marker.progress.tick == 1
        assert len(told) == 1
        assert told[0].panes.counts.max() == 1


def test_many_buckets_are_told_in_bounded_parts(world, counting, monkeypatch):
    monkeypatch.setattr("monitor.counts.state_export.PART_BUCKETS", 3)
    counting.predict(*range(8))

    with exported(counting.path) as export:
        sizes = [len(part.panes.buckets) for part in export.changed_since(-1)]

    assert sizes == [3, 3, 2]


def test_a_state_that_is_imported_is_another_one_and_waits_for_its_join_store(world, counting, tmp_path):
    counting.predict(1, 2)
    path = tmp_path / "other" / FILE_NAME
    with exported(counting.path) as export:
        import_state(path, export.marker, export.changed_since(-1))

    assert standing_of(path)[0] != standing_of(counting.path)[0]
    assert standing_of(path)[1] == standing_of(counting.path)[1] == 2
    with pytest.raises(OutOfStep, match="empty and the state is at tick 2"):
        open_state(path)
    rejoin = Rejoin(path)
    rejoin.open()
    assert rejoin.take(counting.entries) == 2
    assert rejoin.take(counting.entries) == 0
    rejoin.close()
    with pytest.raises(OutOfStep, match="half rebuilt"):
        open_state(path)


def test_an_import_that_dies_leaves_nothing_and_the_next_one_is_whole(world, counting, tmp_path):
    counting.predict(1, 2)
    path = tmp_path / "other" / FILE_NAME

    def dying(parts):
        yield from parts
        raise InterruptedError

    with exported(counting.path) as export:
        with pytest.raises(StoreUnavailable):
            import_state(path, export.marker, dying(export.changed_since(-1)))
        assert standing_of(path) is None
        import_state(path, export.marker, export.changed_since(-1))
        with pytest.raises(StoreUnavailable, match="move it away first"):
            import_state(path, export.marker, ())

    assert world.read_counts(path) == world.read_counts(counting.path)


def test_an_import_of_nothing_counts_from_the_beginning(world, counting, tmp_path):
    counting.predict(1, 2)
    path = tmp_path / "other" / FILE_NAME
    import_state(path, NOTHING, ())
    rejoin = Rejoin(path)
    rejoin.open()
    rejoin.finish()

    catalogue = world.make_catalogue({("m", "1"): world.make_reference("binary")})
    world.run(world.make_consumer(path, counting.entries, catalogue))

    assert world.read_counts(path) == world.read_counts(counting.path)
    reader = open_reader(path)
    assert reader.findings() == ["{}"]
    reader.close()


def test_what_is_no_state_cannot_be_exported(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 500)

    assert standing_of(tmp_path / "none") is None
    with pytest.raises(StoreUnavailable, match="monitor state"):
        standing_of(tmp_path / FILE_NAME)
