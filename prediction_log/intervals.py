"""Sets of sequence numbers as intervals: what was read, counted, refused or lost.

Enters: closed ranges (first, last), both ends included, in any order. Leaves: the same set as a sorted list of disjoint
ranges that do not touch, and its differences. An interval is a plain tuple, so a set is JSON. Never knows what the
numbers stand for.
"""

from bisect import bisect_left
from collections.abc import Iterable

Interval = tuple[int, int]
"""(first, last), both included; first <= last."""


def add(intervals: list[Interval], first: int, last: int) -> None:
    """Put [first, last] into the set, in place. Numbers that are in it already stay in it once."""
    assert first <= last, (first, last)
    reached = intervals[-1][1] if intervals else first - 2
    if first > reached + 1:
        intervals.append((first, last))
        return
    if first == reached + 1:
        intervals[-1] = (intervals[-1][0], last)
        return
    start = bisect_left(intervals, first - 1, key=lambda interval: interval[1])
    end = start
    while end < len(intervals) and intervals[end][0] <= last + 1:
        first = min(first, intervals[end][0])
        last = max(last, intervals[end][1])
        end += 1
    intervals[start:end] = [(first, last)]


def union(ranges: Iterable[Interval]) -> list[Interval]:
    """The set of all numbers in `ranges`."""
    result: list[Interval] = []
    for first, last in sorted(ranges):
        add(result, first, last)
    return result


def overlaps(ranges: Iterable[Interval]) -> list[Interval]:
    """The numbers that lie in two of the `ranges` or more."""
    result: list[Interval] = []
    reached: int | None = None
    for first, last in sorted(ranges):
        if reached is not None and first <= reached:
            add(result, first, min(last, reached))
        reached = last if reached is None else max(reached, last)
    return result


def difference(left: list[Interval], right: list[Interval]) -> list[Interval]:
    """The numbers of the set `left` that are not in the set `right`."""
    result: list[Interval] = []
    index = 0
    for first, last in left:
        start = first
        while index < len(right) and right[index][1] < start:
            index += 1
        look = index
        while look < len(right) and right[look][0] <= last:
            if right[look][0] > start:
                result.append((start, right[look][0] - 1))
            start = right[look][1] + 1
            look += 1
        if start <= last:
            result.append((start, last))
    return result


def overlap(left: list[Interval], right: list[Interval]) -> list[Interval]:
    """The numbers that are in both sets."""
    return difference(left, difference(left, right))


def size(intervals: Iterable[Interval]) -> int:
    """How many numbers the set holds."""
    return sum(last - first + 1 for first, last in intervals)
