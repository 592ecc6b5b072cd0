"""A state that is published, restored elsewhere and goes on there counts as if it had never moved."""

import random
from unittest.mock import patch

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.counts import consume, summary_store
from monitor.counts.rejoin import Rejoin
from monitor.counts.state import FILE_NAME, counted
from monitor.counts.state_export import Marker, Part, exported, import_state, standing_of
from monitor.counts.summary import merge, part
from monitor.pages.queries import open_reader

HOUR_US = 3_600_000_000


class Topic:
    """What is published of one state: the last value of every bucket, and the last marker."""

    def __init__(self):
        self.panes, self.days, self.marker, self.tick = {}, {}, None, -1

    def publish(self, path):
        with exported(path) as export:
            for some in export.changed_since(self.tick):
                self.panes |= by_bucket(some.panes)
                self.days |= by_bucket(some.days)
                for bucket in some.gone.tolist():
                    self.panes.pop(bucket, None)
            self.marker, self.tick = export.marker, export.marker.progress.tick

    def restore(self, path):
        """A new state, as another owner would begin it: the marker has been through JSON."""
        marker = msgspec.json.decode(msgspec.json.encode(self.marker), type=Marker)
        none = merge([])
        parts = [Part(merge(list(some)), none, none.buckets) for some in halves(self.panes)]
        parts += [Part(none, merge(list(some)), none.buckets) for some in halves(self.days)]
        import_state(path, marker, parts)


def halves(buckets):
    values = list(buckets.values())
    return [half for half in (values[::2], values[1::2]) if half]


def by_bucket(summaries):
    return {bucket: part(summaries, i, i + 1) for i, bucket in enumerate(summaries.buckets.tolist())}


class Registry:
    """Versions whose references are built again while they are counted."""

    def __init__(self, world):
        self.world, self.generation = world, 0

    def reference_of(self, _model, version):
        changed = self.generation if version == "1" else 0
        return self.world.make_reference("binary", version, reference_hash=f"r{changed}")


class Life:
    """A log drawn from one seed, in about the order of time: days pass, labels come early, late, twice, or for nobody."""

    def __init__(self, world, seed):
        self.world, self.dice = world, random.Random(seed)
        self.now_us, self.ids, self.entries, self.seqs = world.T0, [], [], {}
        for _ in range(self.dice.randrange(20, 120)):
            self.now_us += self.dice.choice([1_000, 1_000, HOUR_US, 8 * HOUR_US])
            self.append(self.dice.choice([self.prediction, self.prediction, self.label, self.label, self.again]))

    def append(self, make):
        record = make()
        if record is None:
            self.entries.append(self.dice.choice([None, *self.entries[-20:]]) if self.dice.random() < 0.5 else None)
            return
        log_id = self.dice.choice("abc") * 32
        seq = self.seqs.get(log_id, 0) + self.dice.choice([1, 1, 1, 3])
        after = self.seqs.get(log_id, 0)
        self.seqs[log_id] = seq
        self.entries.append(self.world.entry(log_id, seq, record)._replace(after=after))

    def again(self):
        """An entry once more, or nothing more for one reading."""

    def id(self, age_us):
        """A new one, or an old one, at most of this age: nobody answers under an id that was made long ago."""
        old = [made for made, since_us in self.ids if self.now_us - since_us <= age_us]
        if old and self.dice.random() < 0.5:
            return self.dice.choice(old)
        self.ids.append((self.world.uuid7(self.now_us // 1000, len(self.ids)), self.now_us))
        return self.ids[-1][0]

    def prediction(self):
        shadow = self.dice.random() < 0.3
        return self.world.make_prediction(
            self.id(10 * HOUR_US),
            event_us=self.now_us - self.dice.choice([0, 0, HOUR_US]),
            received_us=self.now_us,
            version="2" if shadow else "1",
            variant="shadow" if shadow else "champion",
            answered=not shadow,
            features={"x": [self.dice.choice([0.1, 2.5, None])], "c": [self.dice.choice(["a", "b"])]},
            outputs=self.world.make_output([self.dice.random()], 1),
            status=self.dice.choice(["ok"] * 8 + ["error"]),
        )

    def label(self):
        op = self.dice.choice(["upsert"] * 6 + ["retract"])
        return self.world.make_label(
            self.id(5 * self.world.DAY_US),
            None if op == "retract" else self.dice.choice([0, 1, 1, "blue"]),
            observed_us=self.now_us - self.dice.choice([0, 0, 5_000_000]),
            received_us=self.now_us,
            label_version=self.dice.choice([0, 0, 1]),
            op=op,
        )


def run(world, life, folder, moves, seed):
    """Count it all; after these ticks the state goes to another directory. The registry changes by ticks alone."""
    registry, dice = Registry(world), random.Random(seed)
    catalogue = consume.Catalogue(registry.reference_of, lambda *_: None, refresh_us=0)
    path, topic = folder / "0" / FILE_NAME, Topic()
    counter = world.make_consumer(path, life.entries, catalogue, records_max=4)
    for tick in range(len(life.entries)):
        registry.generation = tick // 7
        counter.tick(world.T0)
        if dice.random() < 0.3:
            topic.publish(path)
        if tick in moves:
            topic.publish(path)
            counter.close()
            path = folder / str(tick + 1) / FILE_NAME
            topic.restore(path)
            rejoin_all(path, life.entries, dice)
            topic.tick = standing_of(path)[1]
            counter = world.make_consumer(path, life.entries, catalogue, records_max=4)
    counter.close()
    return path


def rejoin_all(path, entries, dice):
    """Everything that is retained, in no order, some of it twice, also what was not counted yet."""
    again = [entry for entry in entries if entry is not None]
    again = dice.sample(again, len(again)) + dice.choices(again, k=3)
    rejoin = Rejoin(path)
    rejoin.open()
    while again:
        size = dice.randrange(1, 30)
        rejoin.take(again[:size])
        again = again[size:]
    rejoin.finish()


def by_day(path):
    """What is read where whole days are, by group; a group's number may be another one after a move."""
    reader = open_reader(path)
    found = {group[1:]: reader.merged(group).tolist() for group in reader.groups()}
    reader.close()
    return found


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), moves=st.sets(st.integers(0, 25), max_size=3), settle=st.sampled_from([2, 5, 128]))
def test_a_state_that_moves_counts_as_one_that_never_moved(world, tmp_path_factory, seed, moves, settle):
    life, folder = Life(world, seed), tmp_path_factory.mktemp("moves")
    with patch.object(summary_store, "SETTLE_TICKS_MAX", settle), patch.object(consume, "EXPIRE_TICKS", 3):
        moved = run(world, life, folder / "moved", moves, seed)
        stayed = run(world, life, folder / "stayed", set(), seed)

    assert world.read_counts(moved) == world.read_counts(stayed)
    assert world.read_counters(moved) == world.read_counters(stayed)
    assert by_day(moved) == by_day(stayed)
    assert counted(moved) == counted(stayed)
    assert set(world.read_join_rows(moved)) >= {
        key for key in world.read_join_rows(stayed) if key.startswith((b"b", b"r", b"w"))
    }
