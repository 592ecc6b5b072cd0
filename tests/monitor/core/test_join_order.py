"""Any order, duplication or split of predictions and labels gives the counts of a single pass over the distinct records."""

import random
from collections import Counter
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.counts import summary_store
from prediction_log.spool.segment import Kind

NUMBERS = [
    0.1,
    0.10000000149011612,
    -1.5,
    -9,
    0,
    True,
    2.5,
    3,
    1,
    1.0,
    1e6,
    2e6,
    None,
    "Infinity",
    "-Infinity",
    "1.5",
    [1],
]
CATEGORIES = ["a", "b", "rare", "new", "", 7, 7.0, True, False, None, "true", {"k": 1}, "NaN"]
SCORES = [0.0, 0.25, 0.5, 1 / 3, 1.0, 0.999] * 3 + ["NaN", "Infinity", None]
LABELS = {
    "binary": [0, 1, True, False, 1.0] * 3 + ["1", 2, "blue"],
    "multiclass": ["red", "green", 3, 3.0] * 3 + ["3", "blue", True],
    "regression": [0, 1.5, -2e9, 10**18, 0.1] * 3 + ["x", True],
}
WIDTHS = {"binary": [1, 2], "multiclass": [3], "regression": [1]}


class History:
    """A history drawn from one seed: the entries of two logs, of which one is ahead of the other."""

    def __init__(self, world, kind, seed):
        self.world, self.kind, self.dice = world, kind, random.Random(seed)
        self.ids = [world.uuid7(world.T0 // 1000 + i, i) for i in range(8)]
        self.references = {("m", version): world.make_reference(kind, version) for version in "12"}
        records = [self.prediction() for _ in range(self.dice.randrange(1, 16))]
        records += [self.label() for _ in range(self.dice.randrange(30))]
        self.dice.shuffle(records)
        seqs, self.entries = Counter(), []
        for record in records:
            log_id = self.dice.choice("ab") * 32
            seqs[log_id] += 1
            self.entries.append(world.entry(log_id, seqs[log_id], record))

    def prediction(self):
        pick, number = self.dice.choice, self.dice.randrange(6)
        rows = pick([1, 1, 1, 2, 3, 0])
        width = pick(WIDTHS[self.kind])
        columns = {name: [pick(pool) for _ in range(rows)] for name, pool in (("x", NUMBERS), ("c", CATEGORIES))}
        spoiled = pick([""] * 8 + ["x", "c", "short"])
        columns.pop(spoiled, None)
        if spoiled == "short":
            columns["x"] = columns["x"][:-1]
        good = self.world.make_output([pick(SCORES) for _ in range(rows * width)], width)
        shadow = pick([True, False])
        event_us = self.world.T0 + number * 200_000_000
        return self.world.make_prediction(
            self.ids[number],
            event_us=event_us,
            received_us=event_us + 5,
            version="2" if shadow else "1",
            variant="shadow-2" if shadow else "champion",
            role="shadow" if shadow else "champion",
            answered=not shadow,
            rows=rows,
            features=columns,
            outputs=pick([good] * 12 + [{}, self.world.make_output([0.5] * 7, 1)]),
            status=pick(["ok"] * 9 + ["error", "skipped"]),
            fallback_from=pick([None, None, None, "canary"]),
        )

    def label(self):
        pick, day_us = self.dice.choice, self.world.DAY_US
        observed_us = self.world.T0 + pick([-5, 3_600_000_000, 3_600_000_001, day_us, day_us + 1, 3 * day_us])
        op = pick(["upsert"] * 7 + ["retract"])
        return self.world.make_label(
            pick(self.ids) + pick(["", "", "", "#0", "#1", "#9"]),
            None if op == "retract" else pick(LABELS[self.kind]),
            observed_us=observed_us,
            received_us=observed_us + pick([0, 0, 7, 5 * day_us]),
            label_version=pick([0, 0, 1]),
            op=op,
        )

    def shuffled(self):
        """All entries in any order, some of them more than once."""
        again = [self.dice.choice(self.entries) for _ in range(5)]
        return self.dice.sample(self.entries + again, len(self.entries) + 5)

    def halves(self):
        """The entries as two co-partitioned topics would hold them: everything of an id on one side."""
        even = [int(e.payload.split(b'"prediction_id":"')[1][35:36], 16) % 2 == 0 for e in self.entries]
        return [[e for e, is_even in zip(self.entries, even, strict=True) if is_even is side] for side in (True, False)]


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(sorted(LABELS)), seed=st.integers(0, 2**32))
def test_any_order_duplication_or_split_counts_as_a_single_pass(world, tmp_path_factory, kind, seed):
    history = History(world, kind, seed)
    folder, catalogue = tmp_path_factory.mktemp("order"), world.make_catalogue(history.references)

    def count(name, entries, records_max):
        path = folder / name / "monitor.sqlite"
        with patch.object(summary_store, "SETTLE_TICKS_MAX", history.dice.choice([1, 3, 128])):
            world.run(world.make_consumer(path, entries, catalogue, records_max))
        return path

    expected = world.oracle(history.entries, history.references)
    plain = count("plain", history.entries, 1000)
    shuffled = count("shuffled", history.shuffled(), history.dice.randrange(2, 9))
    halves = [count(f"half-{side}", entries, 7) for side, entries in enumerate(history.halves())]

    assert world.read_counts(plain) == expected
    assert world.read_counts(shuffled) == expected
    assert world.read_counts(*halves) == expected
    assert world.read_counters(plain) == world.read_counters(shuffled) == world.read_counters(*halves)
    assert_every_label_is_in_one_place(world.read_counters(plain), history.entries)


def assert_every_label_is_in_one_place(counters, entries):
    places = Counter()
    for (name, *_), amount in counters.items():
        assert amount > 0
        places[name] += amount
    labels = sum(entry.kind == Kind.LABEL for entry in entries)
    assert places["labels_received"] == labels
    assert sum(amount for name, amount in places.items() if name.startswith("labels_")) == 2 * labels
