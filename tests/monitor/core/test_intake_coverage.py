"""What counts as counted: each record of a stream once, and the stretches that the stream says are empty."""

import random

from hypothesis import given
from hypothesis import strategies as st

from monitor.counts.intake import covers, fresh
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind


def entry(seq, after=None, log_id="a"):
    return Entry(log_id, seq, Kind.PREDICTION, b"", 1, after)


def test_without_links_every_seq_stands_for_itself():
    found = fresh([entry(3), entry(4), entry(7)], {"a": [(1, 2)]})

    assert [one.seq for one in found.entries] == [3, 4, 7]
    assert found.seen == {"a": [(1, 4), (7, 7)]}


def test_a_link_covers_what_the_stream_left_out():
    found = fresh([entry(2, 0), entry(5, 2), entry(9, 5)], {})

    assert found.seen == {"a": [(1, 9)]}
    assert found.duplicates == 0


def test_a_gap_between_links_stays_a_gap():
    found = fresh([entry(2, 0), entry(9, 7)], {})

    assert found.seen == {"a": [(1, 2), (8, 9)]}


def test_what_was_sent_again_is_a_duplicate_even_after_records_before_it_vanished():
    found = fresh([entry(4, 1), entry(6, 4), entry(8, 6)], {"a": [(1, 6)]})

    assert [one.seq for one in found.entries] == [8]
    assert found.duplicates == 2
    assert found.seen == {"a": [(1, 8)]}


def test_a_record_that_arrives_below_the_newest_is_counted_once():
    found = fresh([entry(5, 3), entry(5, 3), entry(6, 5)], {"a": [(1, 3), (8, 9)]})

    assert [one.seq for one in found.entries] == [5, 6]
    assert found.seen == {"a": [(1, 6), (8, 9)]}


def test_labels_of_others_cover_everything_before_them():
    found = fresh([entry(5, 0, "x:labels"), entry(9, 0, "x:labels")], {})

    assert [one.seq for one in found.entries] == [5, 9]
    assert found.seen == {"x:labels": [(1, 9)]}


def test_a_link_that_points_forward_covers_nothing_but_its_record():
    assert fresh([entry(5, 17)], {}).seen == {"a": [(5, 5)]}


@given(seed=st.integers(0, 2**32), size=st.integers(1, 60), parts=st.integers(1, 9))
def test_any_resending_in_any_parts_counts_each_once_and_ends_with_the_same_coverage(seed, size, parts):
    dice = random.Random(seed)
    streams = {}
    for log_id in "abc":
        seqs = sorted(dice.sample(range(1, 200), size))
        streams[log_id] = [entry(seq, after, log_id) for after, seq in zip([0, *seqs], seqs, strict=False)]
    sent = []
    while any(streams.values()):  # the logs interleave; now and then one is sent again from somewhere before
        log_id = dice.choice([log_id for log_id, left in streams.items() if left])
        sent.append(streams[log_id].pop(0))
        if dice.random() < 0.1:
            again = [one for one in sent if one.log_id == log_id]
            sent += again[dice.randrange(len(again)) :]

    seen, counted, step = {}, [], -(-len(sent) // parts)
    for start in range(0, len(sent), step):
        found = fresh(sent[start : start + step], seen)
        seen |= found.seen
        counted += found.entries
        assert len(found.entries) + found.duplicates == len(sent[start : start + step])

    assert sorted(counted) == sorted(set(sent))
    assert seen == {log_id: [(1, max(one.seq for one in sent if one.log_id == log_id))] for log_id in seen}
    assert all(covers(seen[one.log_id], one.seq) for one in sent)
    assert not covers(seen["a"], 0)
    assert not covers((), 1)
