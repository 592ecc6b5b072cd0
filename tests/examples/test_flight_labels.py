"""Labels come when the flight has landed; some late, some corrected, some twice, of cancelled flights never."""

from collections import defaultdict

import pytest

from examples.flights.labels import SHARE_CORRECTED, SHARE_LATE, SHARE_TWICE, planned_labels
from examples.flights.sampling import Flight, spread

DAY_US = 86_400 * 10**6


@pytest.fixture(scope="module")
def flights(table) -> list[Flight]:
    return spread(table, 10_000, seed=5)


@pytest.fixture(scope="module")
def told(flights):
    labels = defaultdict(list)
    for label in planned_labels(flights, seed=5):
        labels[label.flight].append(label)
    return labels


def test_labels_are_in_the_order_in_which_they_are_due(flights):
    due = [label.due_us for label in planned_labels(flights, seed=5)]
    assert due == sorted(due)


def test_a_flight_that_never_landed_as_planned_has_no_label(flights, told):
    for number, flight in enumerate(flights):
        assert (number in told) == (flight.late is not None)


def test_no_label_is_told_before_the_flight_has_landed(flights, told):
    for number, labels in told.items():
        landed = flights[number].landed_us
        assert all(label.due_us >= landed and label.observed_us >= landed for label in labels)


def test_the_last_word_on_every_flight_is_the_truth(flights, told):
    for number, labels in told.items():
        last = max(labels, key=lambda label: (label.label_version, label.observed_us))
        assert last.label == flights[number].late


def test_a_correction_contradicts_what_was_told_before_with_a_higher_version(told):
    corrected = [labels for labels in told.values() if labels[-1].label_version == 1]
    assert corrected
    for first, second in corrected:
        assert (first.label_version, second.label_version) == (0, 1)
        assert first.label == 1 - second.label
        assert first.due_us < second.due_us


def test_a_duplicate_is_the_same_label_again(told):
    twice = [labels for labels in told.values() if len(labels) == 2 and labels[-1].label_version == 0]
    assert twice
    for first, second in twice:
        assert first._replace(due_us=0) == second._replace(due_us=0)


def test_each_kind_has_its_share(flights, told):
    landed = len(told)
    late = sum(labels[0].due_us > flights[number].landed_us + DAY_US for number, labels in told.items())
    corrected = sum(labels[-1].label_version == 1 for labels in told.values())
    twice = sum(len(labels) == 2 for labels in told.values()) - corrected
    for count, share in ((late, SHARE_LATE), (corrected, SHARE_CORRECTED), (twice, SHARE_TWICE)):
        assert count / landed == pytest.approx(share, abs=0.01)


def test_the_seed_decides(flights):
    assert planned_labels(flights, seed=5) == planned_labels(flights, seed=5)
    assert planned_labels(flights, seed=5) != planned_labels(flights, seed=6)
