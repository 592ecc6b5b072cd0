"""Whatever is repeated, reordered or sent again: each record is taken once, and what is missing is named exactly."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prediction_log.certificate.seq_set import CHUNK_SEQS, SeqSet
from prediction_log.intervals import difference, union
from prediction_log.kafka.coverage import cover, is_covered, missing

SEQS = st.lists(st.integers(1, 300), unique=True, max_size=60).map(sorted)
"""The seqs of a log that lie in one partition."""


def linked(seqs):
    """The messages of one sending: (after, seq)."""
    return list(zip([0, *seqs], seqs, strict=False))


def taken(messages):
    """What a reader takes of them, and what it has covered then."""
    intervals = []
    return [seq for after, seq in messages if cover(intervals, after, seq)], intervals


@given(SEQS, st.data())
def test_any_order_and_any_repetition_of_a_sending_gives_each_record_once(seqs, data):
    messages = linked(seqs)
    again = data.draw(st.lists(st.sampled_from(messages), max_size=60)) if messages else []

    found, intervals = taken(data.draw(st.permutations(messages + again)))

    assert sorted(found) == seqs
    assert intervals == ([(1, seqs[-1])] if seqs else [])


@given(SEQS, st.data())
def test_a_second_sending_without_records_that_were_damaged_meanwhile_adds_nothing_and_tears_no_hole(seqs, data):
    left = [seq for seq in seqs if data.draw(st.booleans())]
    begun = data.draw(st.integers(0, len(seqs)))

    found, intervals = taken(linked(seqs)[:begun] + linked(left))

    assert len(found) == len(set(found)), "none is taken twice"
    assert set(found) == set(seqs[:begun]) | set(left)
    assert intervals == ([(1, max(found))] if found else [])


@given(SEQS, st.data())
def test_what_never_came_is_missing_and_nothing_else(seqs, data):
    lost = {seq for seq in seqs if data.draw(st.booleans())}
    come = [message for message in linked(seqs) if message[1] not in lost]

    _, intervals = taken(data.draw(st.permutations(come)))

    last = seqs[-1] if seqs else 0
    assert missing(intervals, last) == union((after + 1, seq) for after, seq in linked(seqs) if seq in lost)


def test_a_late_message_is_no_duplicate_of_what_is_behind_it():
    """A reader that goes by the highest seq alone would drop it: a filter against duplicates that loses data."""
    found, intervals = taken([(0, 1), (4, 6), (1, 4)])

    assert (found, intervals) == ([1, 6, 4], [(1, 6)])


def test_the_missing_can_be_asked_for_from_a_seq_on():
    assert missing([(5, 7)], 9, 5) == [(8, 9)]
    assert missing([(5, 7)], 9, 10) == []
    assert missing([], 0) == []


@given(st.lists(st.tuples(st.integers(1, 90), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair)))))
def test_a_seq_is_covered_where_an_interval_holds_it(ranges):
    intervals = union(ranges)

    assert [is_covered(intervals, seq) for seq in range(1, 102)] == [
        any(first <= seq <= last for first, last in ranges) for seq in range(1, 102)
    ]


@given(st.lists(st.lists(st.integers(1, 3 * CHUNK_SEQS), max_size=20), max_size=10), st.integers(0, 4 * CHUNK_SEQS))
def test_a_set_of_seqs_says_what_is_new_and_what_was_never_met(batches, last):
    seqs, met = SeqSet(), set()
    for batch in batches:
        new = seqs.add(np.array(batch, np.int64)).tolist()

        assert new == [seq not in met and seq not in batch[:place] for place, seq in enumerate(batch)]
        met |= set(batch)
        assert seqs.last == max(met, default=0)
    assert seqs.missing(last) == difference([(1, last)] if last else [], union((seq, seq) for seq in met))


@pytest.mark.parametrize("partitions", [1, 3, 12])
def test_a_set_of_seqs_is_small_once_all_partitions_are_read(partitions):
    count = 3 * CHUNK_SEQS - 1
    order = list(range(partitions))
    random.Random(7).shuffle(order)
    seqs = SeqSet()
    for partition in order:
        assert seqs.add(np.arange(1 + partition, count + 1, partitions)).all()
        assert not seqs.add(np.arange(1 + partition, count + 1, partitions)).any()

    assert seqs.missing(count) == []
    assert all(chunk is None for chunk in seqs._chunks.values())


def test_a_seq_that_somebody_forged_costs_one_chunk():
    seqs = SeqSet()
    seqs.add(np.array([1, 2**62], np.int64))

    assert seqs.missing(2**62 + 1) == [(2, 2**62 - 1), (2**62 + 1, 2**62 + 1)]
    assert len(seqs._chunks) == 2
