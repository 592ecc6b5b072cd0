"""What the monitors say they counted, held against what lies in the topics.

Enters: the topics as they were read, and what the owner of each partition number published. Leaves: for each log what is
not counted, and what is counted and not there; how far the monitors are behind. Pure. A monitor counts each stretch of
its coverage once, so equal coverage is the proof that every record was counted exactly once; what it has not read yet, or
read after us, is neither missing nor unknown.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from prediction_log.certificate.kafka_tally import Lane, LogTally, Tally
from prediction_log.intervals import Interval, difference, overlap, union
from prediction_log.kafka.coverage import is_covered
from prediction_log.kafka.decoding import EXTERNAL_LABELS

_COUNTED: str = "pl"
"""The letters of the lanes that monitors count; audit records are nobody's numbers."""


class Published(NamedTuple):
    """What the owner of one partition number published: which seqs of which stream are counted, and the next offsets."""

    seen: Mapping[str, Sequence[Interval]]
    positions: Mapping[str, int]


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """Seqs within which one lane lacks at least one record, as its links and seals say; `messages` where only their number
    is known.
    """

    lane: Lane
    ranges: list[Interval]
    messages: int = 0


class TopicsRead(NamedTuple):
    """The topics: what lay there up to offset `ends`, by lane; `topics` are the names of a lane's letter."""

    tally: Tally
    ends: Mapping[Lane, int]
    topics: Mapping[str, str]


class CountedLog(NamedTuple):
    """One log: how many records lie in lanes that are counted to their end; the lanes' differences."""

    records: int
    missing: list[Hole]
    unknown: list[Hole]


def held_against(published: Mapping[int, Published], read: TopicsRead, log_id: str, log: LogTally) -> CountedLog:
    """How the count of a log compares with what is there."""
    records, missing, unknown = 0, [], []
    for name, lane in sorted(log.lanes.items()):
        if name[0] not in _COUNTED or not lane.covered:
            continue
        at_end, seen = _counted(published, read, name, f"{name[0]}:{log_id}")
        newest, last = seen[-1][1] if seen else 0, lane.covered[-1][1]
        lacks = difference(lane.covered, seen)
        if not at_end:
            lacks = overlap(lacks, [(1, newest)] if newest else [])
        first = lane.covered[0][0] if name in read.tally.cut else 1
        more = overlap(difference(seen, lane.covered), [(first, last)])
        records += lane.records if at_end and not lacks else 0
        missing += [Hole(lane=name, ranges=lacks)] if lacks else []
        unknown += [Hole(lane=name, ranges=more)] if more else []
    return CountedLog(records, missing, unknown)


def messages_behind(published: Mapping[int, Published], read: TopicsRead) -> int:
    """How many messages the monitors have not read yet."""
    behind = 0
    for lane, end in read.ends.items():
        if lane[0] in _COUNTED:
            one = published.get(int(lane[1:]))
            behind += max(0, end - (one.positions.get(read.topics[lane[0]], 0) if one else 0))
    return behind


def counts_external(published: Mapping[int, Published], read: TopicsRead) -> bool:
    """Whether the labels from outside are counted, as far as they were read."""
    for lane, (_, last) in read.tally.external.items():
        at_end, seen = _counted(published, read, lane, EXTERNAL_LABELS)
        if at_end and not is_covered(seen, last):
            return False
    return True


def _counted(
    published: Mapping[int, Published], read: TopicsRead, lane: Lane, stream: str
) -> tuple[bool, list[Interval]]:
    """Whether a monitor has read all of a lane that we have, and what it counted of a stream there."""
    one = published.get(int(lane[1:]))
    if one is None:
        return False, []
    at_end = one.positions.get(read.topics[lane[0]], 0) >= read.ends.get(lane, 0)
    return at_end, union((first, last) for first, last in one.seen.get(stream, ()))
