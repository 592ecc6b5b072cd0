"""Which stretches of a stream have come in: the ranges (after, seq] that its messages name, added up.

Enters: for each message its seq and `after`, the seq before it in the same stream. Leaves: whether it is new, and what is
missing. Every message vouches that the stream holds nothing between `after` and seq, so the ranges of a whole stream meet
end to end: a hole is a message that was lost, a seq that is covered already is one that came twice. Pure; a set is a
sorted list of closed intervals, as in `intervals`. Bound: one interval for the stream and one for each hole in it.

>>> seen = []
>>> [cover(seen, 0, 3), cover(seen, 7, 9), cover(seen, 7, 9)], seen, missing(seen, 10)
([True, True, False], [(1, 3), (8, 9)], [(4, 7), (10, 10)])
"""

from bisect import bisect_left
from collections.abc import Sequence
from operator import itemgetter

from prediction_log.intervals import Interval, add, difference

_LAST = itemgetter(1)


def cover(intervals: list[Interval], after: int, seq: int) -> bool:
    """Add (after, seq] to the set, in place; False where seq is in it already: then it is a duplicate."""
    if intervals and intervals[-1][1] == after:  # nearly always: the stream in its order
        intervals[-1] = (intervals[-1][0], seq)
        return True
    if is_covered(intervals, seq):
        return False
    add(intervals, after + 1, seq)
    return True


def is_covered(intervals: Sequence[Interval], seq: int) -> bool:
    """Whether seq is in the set."""
    place = bisect_left(intervals, seq, key=_LAST)
    return place < len(intervals) and intervals[place][0] <= seq


def missing(intervals: Sequence[Interval], last: int, first: int = 1) -> list[Interval]:
    """What of first..last is not in the set."""
    return difference([(first, last)], list(intervals)) if first <= last else []
