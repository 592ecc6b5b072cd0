"""Summaries add up: in any order and grouping, and what was added can be taken back to the bit."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.counts import summary
from monitor.counts.panes import bucket_of, pane_of_bucket, series_of, series_of_bucket
from monitor.counts.summary import Marks, dense, empty, merge, part, sparse, subtract, update

SIZE = 40
rows = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(-(2**40), 2**40)), min_size=3, max_size=3),
        st.integers(0, 3),
        st.integers(0, 7) | st.just(2**62),
    ),
    max_size=12,
)


def marks_of(rows, *, weighted):
    cells = np.array([[cell for cell, _ in row[0]] for row in rows], np.int64).reshape(-1, 3).T
    weights = np.array([[weight for _, weight in row[0]] for row in rows], np.int64).reshape(-1, 3).T
    panes = np.array([row[1] for row in rows], np.int64)
    return Marks(cells, weights if weighted else None, panes, np.array([row[2] for row in rows], np.uint64))


def counted(rows, *, weighted=True, group=5):
    return update(empty(), group, SIZE, marks_of(rows, weighted=weighted))


def as_dict(summaries):
    owners = np.repeat(summaries.buckets, np.diff(summaries.starts)).tolist()
    return dict(zip(zip(owners, summaries.cells.tolist(), strict=True), summaries.counts.tolist(), strict=True))


def naive(rows, *, weighted=True, group=5):
    total = Counter()
    for cells, pane, mask in rows:
        slices = [0] + [bit + 1 for bit in range(63) if mask >> bit & 1]
        for number in slices:
            for cell, weight in cells:
                total[bucket_of(series_of(group, number), pane), cell] += weight if weighted else 1
    return {key: count for key, count in total.items() if count}


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(rows, st.booleans())
def test_update_adds_every_row_to_its_pane_in_all_its_slices(rows, weighted):
    assert as_dict(counted(rows, weighted=weighted)) == naive(rows, weighted=weighted)


@given(rows, rows)
def test_merge_is_commutative(one, other):
    assert same(merge([counted(one), counted(other)]), merge([counted(other), counted(one)]))


@given(rows, rows, rows)
def test_merge_is_associative(a, b, c):
    a, b, c = counted(a), counted(b, group=6), counted(c)

    assert same(merge([merge([a, b]), c]), merge([a, merge([b, c])]))
    assert same(merge([a, b, c]), merge([a, merge([b, c])]))


@given(rows, rows)
def test_subtract_undoes_merge_to_the_bit(one, other):
    assert same(subtract(merge([counted(one), counted(other)]), counted(other)), counted(one))


@given(rows)
def test_nothing_is_left_when_everything_is_taken_back(rows):
    assert same(subtract(counted(rows), counted(rows)), empty())


@given(rows)
def test_many_rows_at_once_count_as_rows_one_by_one(rows):
    one_by_one = empty()
    for row in rows:
        one_by_one = update(one_by_one, 5, SIZE, marks_of([row], weighted=True))

    assert same(one_by_one, counted(rows))


@settings(max_examples=20)
@given(rows)
def test_blocks_of_any_size_count_the_same(rows):
    whole = counted(rows, weighted=False)
    keep, summary.ROWS_AT_ONCE = summary.ROWS_AT_ONCE, 2
    try:
        assert same(counted(rows, weighted=False), whole)
    finally:
        summary.ROWS_AT_ONCE = keep


@given(rows)
def test_parts_by_bucket_make_the_whole(rows):
    whole = counted(rows)
    parts = [part(whole, i, i + 1) for i in range(len(whole.buckets))]

    assert same(merge(parts), whole)
    assert np.array_equal(sum((dense(one, SIZE) for one in parts), np.zeros(SIZE, np.int64)), dense(whole, SIZE))


@given(st.lists(st.integers(-5, 5), min_size=SIZE, max_size=SIZE))
def test_a_dense_vector_and_its_sparse_form_are_the_same_counts(counts):
    vector = np.array(counts, np.int64)

    assert np.array_equal(dense(sparse(7, vector), SIZE), vector)
    assert same(merge([sparse(7, vector)]), sparse(7, vector))


@given(st.integers(0, 2**31), st.integers(0, 63), st.integers(0, 2**25 - 1))
def test_a_bucket_says_its_series_and_pane(group, slice_number, pane):
    bucket = bucket_of(series_of(group, slice_number), pane)

    assert bucket < 2**63
    assert (series_of_bucket(bucket), pane_of_bucket(bucket)) == (series_of(group, slice_number), pane)
