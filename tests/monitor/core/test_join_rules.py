"""What becomes of each label: joined, waiting, late, twice, corrected, taken back, or refused with a reason."""

import pytest

from contracts.label import Label
from monitor.counts import ballot, join, join_keys
from monitor.pages.queries import open_reader

HOUR_US = 3_600_000_000


class Bench:
    """One state of a binary model, fed tick by tick."""

    def __init__(self, world, path, kind="binary"):
        self.world, self.path, self.entries = world, path, []
        references = {("m", version): world.make_reference(kind, version) for version in "12"}
        self.consumer = world.make_consumer(path, self.entries, world.make_catalogue(references))

    def feed(self, *records):
        """One tick with these records."""
        start = len(self.entries) + 1
        self.entries.extend(self.world.entry("a" * 32, seq, record) for seq, record in enumerate(records, start))
        self.consumer.tick(self.world.T0)

    def idle(self, ticks, at_us):
        """Ticks that move stream time to `at_us` with predictions that nobody labels."""
        for i in range(ticks):
            number = self.world.uuid7(at_us // 1000, 10**6 + i)
            self.feed(self.world.make_prediction(number, event_us=at_us, version="2", variant="clock"))

    def labels(self):
        """The label counters, without the model and without zeros."""
        reader = open_reader(self.path)
        counters = reader.counters()
        reader.close()
        return {
            name.removeprefix("labels_") + (f":{detail}" if detail else ""): amount
            for (name, _, _, detail), amount in counters.items()
            if name.startswith("labels_") and amount
        }

    def section(self, name, variant="champion"):
        reader = open_reader(self.path)
        group = next(group for group in reader.groups() if group.variant == variant)
        counts = reader.merged(group)[reader.generation(group).layout.sections[name].cells]
        reader.close()
        return counts

    def truths(self, variant="champion"):
        """(negatives, positives) that are counted."""
        return int(self.section("negatives", variant).sum()), int(self.section("positives", variant).sum())


@pytest.fixture
def bench(world, tmp_path):
    made = Bench(world, tmp_path / "monitor.sqlite")
    yield made
    made.consumer.close()


@pytest.fixture
def id1(world):
    return world.uuid7(world.T0 // 1000, 1)


def test_a_label_counts_in_the_pane_of_its_prediction(world, bench, id1):
    bench.feed(world.make_prediction(id1, event_us=world.T0 + 700_000_000))
    bench.feed(world.make_label(id1, 1))

    reader = open_reader(bench.path)
    group = reader.groups()[0]
    pane = reader.merged(group, from_us=world.T0 + 600_000_000, to_us=world.T0 + 900_000_000)
    reader.close()
    assert pane[reader.generation(group).layout.sections["labelled"].start] == 1
    assert bench.labels() == {"received": 1, "accepted": 1}


def test_every_version_that_was_asked_gets_the_label(world, bench, id1):
    shadow = {"version": "2", "variant": "shadow-2", "role": "shadow", "answered": False}
    bench.feed(world.make_prediction(id1), world.make_prediction(id1, **shadow))
    bench.feed(world.make_label(id1, 0))
    bench.feed(world.make_prediction(id1, **(shadow | {"variant": "late-shadow"})))

    assert bench.truths() == bench.truths("shadow-2") == bench.truths("late-shadow") == (1, 0)
    assert bench.labels() == {"received": 1, "accepted": 1}


def test_a_label_before_its_prediction_waits_for_it(world, bench, id1):
    bench.feed(world.make_label(id1, 1))
    assert bench.labels() == {"received": 1, "pending": 1}

    bench.feed(world.make_prediction(id1))
    assert bench.labels() == {"received": 1, "accepted": 1}
    assert bench.truths() == (0, 1)


def test_the_same_label_twice_is_a_duplicate(world, bench, id1):
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1))
    bench.feed(world.make_label(id1, 1, received_us=world.T0 + 5 * HOUR_US))

    assert bench.truths() == (0, 1)
    assert bench.labels() == {"received": 2, "accepted": 1, "duplicate": 1}


@pytest.mark.parametrize("newer_first", [True, False])
def test_a_corrected_label_replaces_the_old_one_whichever_comes_first(world, bench, id1, newer_first):
    labels = [world.make_label(id1, 0), world.make_label(id1, 1, label_version=1)]
    bench.feed(world.make_prediction(id1))
    for label in reversed(labels) if newer_first else labels:
        bench.feed(label)

    assert bench.truths() == (0, 1)
    assert bench.labels() == {"received": 2, "accepted": 1, "corrected": 1}
    assert bench.section("calibration_n").sum() == bench.section("labelled").sum() == 1


def test_a_retracted_label_leaves_nothing_behind(world, bench, id1):
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1))
    bench.feed(world.make_label(id1, None, op="retract", observed_us=world.T0 + 2 * HOUR_US))

    for name in ("labelled", "positives", "negatives", "calibration_n", "calibration_p", "log_loss", "brier"):
        assert not bench.section(name).any()
    assert bench.labels() == {"received": 2, "retracted": 1, "corrected": 1}


def test_an_older_retraction_takes_nothing_back(world, bench, id1):
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1))
    bench.feed(world.make_label(id1, None, op="retract", observed_us=world.T0 + HOUR_US // 2))

    assert bench.truths() == (0, 1)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ({"label": "late"}, "not_a_class"),
        ({"label": "1"}, "not_a_class"),
        ({"label": 2}, "not_a_class"),
        ({"label": 0.5}, "not_a_class"),
        ({"label": None}, "no_value"),
        ({"label": "x" * 257}, "too_long"),
        ({"label": 2**70}, "out_of_range"),
        ({"label": 1, "observed_us": 2**70}, "out_of_range"),
        ({"label": 1, "label_version": -(2**64)}, "out_of_range"),
        ({"label": 1, "received_us": 2**53}, "out_of_range"),
    ],
)
def test_a_label_that_is_none_is_counted_by_reason_and_changes_nothing(world, bench, id1, label, reason):
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1))
    bench.feed(world.make_label(id1, **({"observed_us": world.T0 + 2 * HOUR_US} | label)))

    assert bench.truths() == (0, 1)
    assert bench.labels() == {"received": 2, "accepted": 1, f"invalid:{reason}": 1}


@pytest.mark.parametrize("suffix", ["#1", "#x", "#", "#-1", "#65536", "#99999999999999999999", "#0#0"])
def test_a_label_of_a_row_that_is_not_there_is_invalid(world, bench, id1, suffix):
    bench.feed(world.make_prediction(id1), world.make_label(id1 + suffix, 1))

    assert bench.labels() == {"received": 1, "invalid:row": 1}


def test_a_label_with_an_endless_id_is_invalid(world, bench):
    bench.feed(world.make_label("i" * 100_000, 1))

    assert bench.labels() == {"received": 1, "invalid:id": 1}


@pytest.mark.parametrize(("label", "reason"), [("3", "not_a_number"), (True, "not_a_number")])
def test_a_regression_takes_numbers_only(world, tmp_path, id1, label, reason):
    bench = Bench(world, tmp_path / "monitor.sqlite", kind="regression")
    bench.feed(world.make_prediction(id1), world.make_label(id1, label))
    bench.consumer.close()

    assert bench.labels() == {"received": 1, f"invalid:{reason}": 1}


def test_rows_are_labelled_one_by_one(world, bench, id1):
    outputs = world.make_output([0.1, 0.2, 0.9], 1)
    bench.feed(world.make_prediction(id1, rows=3, features={"x": [1] * 3, "c": ["a"] * 3}, outputs=outputs))
    bench.feed(world.make_label(f"{id1}#2", 1), world.make_label(f"{id1}#0", 0), world.make_label(id1, 0))

    assert bench.truths() == (1, 1)
    assert bench.section("positives")[world.oracle_cell(world.make_reference("binary").prediction, 0.9)] == 1
    assert bench.labels() == {"received": 3, "accepted": 2, "duplicate": 1}


def test_the_label_of_an_answer_that_failed_has_nothing_to_score(world, bench, id1):
    bench.feed(world.make_prediction(id1, status="error", outputs={}), world.make_label(id1, 1))

    assert bench.labels() == {"received": 1, "unscored": 1}
    assert not bench.section("labelled").any()


def test_a_labelled_row_without_a_usable_prediction_is_labelled_and_not_scored(world, bench, id1):
    bench.feed(world.make_prediction(id1, outputs=world.make_output(["NaN"], 1)), world.make_label(id1, 1))

    assert bench.section("labelled").tolist() == [1]
    assert bench.section("calibration_n").sum() == 0


@pytest.mark.parametrize(("delay_us", "outcome"), [(0, "accepted"), (1, "too_late")])
def test_a_label_observed_after_the_horizon_is_too_late(world, bench, id1, delay_us, outcome):
    observed_us = world.T0 + int(world.HORIZON_DAYS * world.DAY_US) + delay_us
    label = world.make_label(id1, 1, observed_us=observed_us, received_us=observed_us + 5)
    bench.feed(world.make_prediction(id1), label)

    assert bench.labels() == {"received": 1, outcome: 1}


def test_a_replay_without_times_of_its_own_is_judged_by_receipt(world, bench, id1):
    received_us = world.T0 + 400 * world.DAY_US
    bench.feed(world.make_prediction(id1, received_us=received_us))
    bench.feed(world.make_label(id1, 1, observed_us=received_us + 9, received_us=received_us + 9))

    assert bench.labels() == {"received": 1, "accepted": 1}


def test_a_label_after_its_prediction_was_forgotten_is_too_late_and_changes_nothing(world, bench, id1):
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1))
    bench.idle(64, world.T0 + 3 * world.DAY_US)
    before = bench.truths()
    bench.feed(world.make_label(id1, 0, label_version=7))

    assert bench.labels() == {"received": 2, "accepted": 1, "too_late": 1}
    assert bench.truths() == before == (0, 1)


def test_a_label_that_never_meets_a_prediction_is_orphaned_after_the_horizon(world, bench, id1):
    bench.feed(world.make_label(id1, 1), world.make_label(id1, 0))
    bench.idle(64, world.T0 + 3 * world.DAY_US)

    assert bench.labels() == {"received": 2, "orphaned": 2}


def test_what_is_past_the_horizon_is_forgotten_and_nothing_else(world, bench, id1):
    young = world.uuid7(world.T0 // 1000 + 2 * 86_400_000, 2)
    bench.feed(world.make_prediction(id1), world.make_label(id1, 1), world.make_prediction("caller-made"))
    bench.feed(world.make_prediction(young, event_us=world.T0 + 2 * world.DAY_US))
    bench.idle(64, world.T0 + 3 * world.DAY_US)

    bench.consumer.close()
    stored = list(world.read_join_rows(bench.path))
    ids = {join_keys.place_of(key)[0] for key in stored if key.startswith(join_keys.RECORD)}
    assert bytes.fromhex(young.replace("-", "")) in ids
    assert bytes.fromhex(id1.replace("-", "")) not in ids
    assert not any(key.startswith(b"\xff") for key in ids)
    assert not any(key.startswith(join_keys.BALLOT) for key in stored)


def test_a_replay_of_months_in_minutes_forgets_nothing_while_it_runs(world, bench, id1):
    bench.feed(world.make_prediction(id1, received_us=world.T0 + 300 * world.DAY_US))
    for month in range(1, 70):
        number = world.uuid7(world.T0 // 1000 + month, month)
        times = {"event_us": world.T0 + month * world.DAY_US, "received_us": world.T0 + 300 * world.DAY_US + month}
        bench.feed(world.make_prediction(number, **times))
    bench.feed(world.make_label(id1, 1))

    assert bench.labels() == {"received": 1, "accepted": 1}


def test_an_event_from_the_future_hurries_nobody(world, bench, id1):
    bench.feed(world.make_prediction(id1))
    far = world.T0 + 1000 * world.DAY_US
    for i in range(70):
        bench.feed(world.make_prediction(world.uuid7(world.T0 // 1000, 9 + i), event_us=far, received_us=world.T0))
    bench.feed(world.make_label(id1, 1))

    assert bench.labels() == {"received": 1, "accepted": 1}


@pytest.mark.parametrize(
    ("gone_ms", "outcome"), [(None, "labels_pending"), (5, "labels_pending"), (6, "labels_too_late")]
)
def test_only_a_label_of_a_time_past_the_horizon_belongs_to_something_forgotten(world, gone_ms, outcome):
    label = ballot.label_of(world.make_label(world.uuid7(5, 0), 1))
    gone = None if gone_ms is None else gone_ms.to_bytes(6, "big")

    joined = join.join(join.Known({}, {}, gone), [], [label], lambda _group: None, 0)

    assert {name: amount for (name, _, _), amount in joined.tally.items() if amount} == {outcome: 1}
    assert bool(joined.waiting) is bool(joined.ballots) is (outcome == "labels_pending")


def test_a_million_labels_of_one_row_keep_a_bounded_memory(world, id1):
    labels = [world.make_label(id1, 1, label_version=version) for version in range(100)]
    kept = ballot.Ballot()
    for label in labels[::-1] + labels:
        kept = ballot.with_label(kept, ballot.label_of(label))

    assert len(kept.events) == ballot.EVENTS_MAX
    assert kept.events[-1].label_version == 99
    assert sum(event.copies for event in kept.events) + kept.dropped == 200


def test_ids_of_any_case_or_kind_are_found_again(world):
    canonical = world.uuid7(5, 7)
    ids = [canonical, canonical.upper(), "order-17", canonical[:-1], canonical.replace("-", "_"), "x" * 36, ""]

    keys = ballot.id_key(canonical), ballot.id_key(canonical.upper())

    assert keys[0] == keys[1]
    assert len({ballot.id_key(one) for one in ids}) == len(ids) - 1
    assert sorted(ids[2:], key=ballot.id_key)[0] != canonical


def test_the_tie_of_two_labels_is_broken_as_the_contract_says(world, id1):
    one, other = (Label(prediction_id=f"{id1}{end}", label=1, observed_us=1, received_us=1) for end in ("", "#0"))
    for first, second in ((one, other), (other, one)):
        both = ballot.Ballot()
        for label in (first, second):
            both = ballot.with_label(both, ballot.label_of(label))

        assert both.events[-1].named


@pytest.mark.parametrize("received_us", [2**53, 2**63 - 1])
def test_a_label_of_no_time_at_all_stops_nobody_for_ever(world, bench, id1, received_us):
    bench.feed(world.make_prediction(id1), world.make_label(world.uuid7(1, 7), 1, received_us=received_us))
    bench.idle(64, world.T0 + world.DAY_US)
    bench.feed(world.make_label(id1, 1))

    assert bench.labels() == {"received": 2, "accepted": 1, "invalid:out_of_range": 1}
