"""Range arithmetic: taking buckets from free space and giving them back.

Enters: half-open ranges [start, end) in [0, BUCKETS), in the order in which they were taken. Leaves: new ranges in that
order. Never moves a bucket that was not asked for, and never reads a plan.

A challenger grows to the right from where it last took. One that starts beside another begins in the middle of the
widest gap, so that both have room to grow in one piece and the plan stays a handful of ranges.
"""

from collections.abc import Iterable

from contracts.errors import InvalidInput
from contracts.plan import BUCKETS
from gateway.traffic.shares import share_text

Range = tuple[int, int]
Ranges = tuple[Range, ...]

RANGES_MAX = 256
"""The most pieces one challenger's share may fall into; beyond it taking is refused: remove it and add it again."""


def width(ranges: Iterable[Range]) -> int:
    """How many buckets the ranges hold together."""
    return sum(end - start for start, end in ranges)


def gaps(owned: Iterable[Range]) -> list[Range]:
    """What disjoint ranges leave of [0, BUCKETS), from left to right."""
    free: list[Range] = []
    last = 0
    for start, end in sorted(owned):
        assert last <= start < end <= BUCKETS, f"[{start}, {end}) overlaps or leaves the space"
        if last < start:
            free.append((last, start))
        last = end
    if last < BUCKETS:
        free.append((last, BUCKETS))
    return free


def resized(ranges: Ranges, buckets: int, others: Iterable[Range]) -> Ranges:
    """The ranges made `buckets` wide: taken from what `others` leave, or given back, the last taken first.

    Raises `InvalidInput` where there is not enough room, saying how much is free.
    """
    missing = buckets - width(ranges)
    return take(ranges, missing, others) if missing > 0 else give_back(ranges, -missing)


def take(ranges: Ranges, buckets: int, others: Iterable[Range]) -> Ranges:
    """The ranges and `buckets` more; raises `InvalidInput` where that many are not free."""
    owned = [*ranges, *others]
    free = BUCKETS - width(owned)
    if buckets > free:
        raise InvalidInput(
            f"{share_text(buckets / BUCKETS)} more do not fit: the champion has {share_text(free / BUCKETS)} to give; "
            f"ask for at most {share_text((width(ranges) + free) / BUCKETS)}, or lower another challenger first"
        )
    taken = list(ranges)
    while buckets:
        start, end = _next_piece(taken, buckets, gaps(owned))
        if taken and taken[-1][1] == start:
            taken[-1] = (taken[-1][0], end)
        else:
            taken.append((start, end))
        owned.append((start, end))
        buckets -= end - start
    if len(taken) > RANGES_MAX:
        raise InvalidInput(
            f"{len(taken)} pieces of share, at most {RANGES_MAX} may be: remove the challenger and add it again"
        )
    return tuple(taken)


def give_back(ranges: Ranges, buckets: int) -> Ranges:
    """The ranges without the `buckets` that were taken last."""
    assert 0 <= buckets <= width(ranges), f"{buckets} buckets cannot be given back"
    kept = list(ranges)
    while buckets:
        start, end = kept.pop()
        given = min(buckets, end - start)
        buckets -= given
        if start < end - given:
            kept.append((start, end - given))
    return tuple(kept)


def _next_piece(taken: list[Range], buckets: int, free: list[Range]) -> Range:
    """The next piece to take: on the right of the last one, else from the widest gap."""
    for start, end in free:
        if taken and taken[-1][1] == start:
            return start, min(end, start + buckets)
    start, end = max(free, key=lambda gap: gap[1] - gap[0])
    if start > 0:
        # the left neighbour grows into this gap: leave it half, or as much as this piece can spare
        start = max(start, min((start + end) // 2, end - buckets))
    return start, min(end, start + buckets)
