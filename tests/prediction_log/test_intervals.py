"""Interval sets against Python's own sets."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from prediction_log.intervals import add, difference, overlaps, size, union

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])))


def members(ranges):
    return {number for first, last in ranges for number in range(first, last + 1)}


def is_canonical(intervals):
    return all(first <= last for first, last in intervals) and all(
        left[1] + 1 < right[0] for left, right in pairwise(intervals)
    )


@given(RANGES)
def test_adding_in_any_order_gives_the_set_in_canonical_form(ranges):
    intervals = []
    for first, last in ranges:
        add(intervals, first, last)

    assert members(intervals) == members(ranges)
    assert is_canonical(intervals)
    assert intervals == union(ranges)
    assert size(intervals) == len(members(ranges))


@given(RANGES, RANGES)
def test_the_difference_holds_what_is_only_in_the_left(left, right):
    result = difference(union(left), union(right))

    assert members(result) == members(left) - members(right)
    assert is_canonical(result)


@given(RANGES)
def test_overlaps_are_the_numbers_in_two_ranges_or_more(ranges):
    count = {n: sum(first <= n <= last for first, last in ranges) for n in members(ranges)}

    result = overlaps(ranges)

    assert members(result) == {n for n, times in count.items() if times > 1}
    assert is_canonical(result)
