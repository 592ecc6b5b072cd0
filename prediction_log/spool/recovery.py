"""Damaged bytes -> where reading is good again, what can still be read of them, and what to call the rest.

Enters: the bytes of a segment from the first bad batch on. Leaves: the next anchor; the records whose own checksums hold;
the name of a tail. Pure: the tail reader gathers the facts and acts.

The rule behind it all: batch k + 1 is written only after batch k was stored, so whatever stands before a valid later
COMMIT or SEAL was stored once and is rot if it cannot be read now; only the last batch may be torn.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from prediction_log.finding import FindingKind
from prediction_log.intervals import Interval
from prediction_log.spool.segment import _PREFIX, RECORDS, Frame, Kind, Level, decode_commit, decode_frame, decode_loss

_KIND_OFFSET: Final = _PREFIX.size - 4
_KIND_FLAGS_SHARED: Final = re.compile(rb"[\x01-\x03\x10-\x13][\x00\x01].[\x00-\x04]", re.DOTALL)
"""What every frame carries at _KIND_OFFSET; JSON never has it, arrays may: then sizes and checksum decide."""


class Anchor(NamedTuple):
    """From `offset` of the region on, reading is good again; everything up to seq `through` was stored before it."""

    offset: int
    through: int


class Rescued(NamedTuple):
    """What a damaged region still holds: (seq, kind, payload) in order of seq, and the ranges that were refused."""

    records: list[tuple[int, int, bytes]]
    refused: list[Interval]


def frames_in(region: bytes, seed: int, beginnings: Collection[bytes] = ()) -> Iterator[Frame]:
    """Every whole frame of this log in `region`, skipping what is none; `beginnings` are those that records may share."""
    at = 0
    while True:
        frame = decode_frame(region, at, seed, beginnings)
        if frame is not None:
            yield frame
            at = frame.end
            continue
        hit = _KIND_FLAGS_SHARED.search(region, at + 1 + _KIND_OFFSET)
        if hit is None:
            return
        at = hit.start() - _KIND_OFFSET


def beginnings_in(segment: bytes, seed: int) -> frozenset[bytes]:
    """What records of this segment share. Batches of one segment mostly share the same, so that a beginning whose frame is
    damaged in one of them is still known from another; which one a record has, its checksum tells.
    """
    return frozenset(frame.payload for frame in frames_in(segment, seed) if frame.kind == Kind.SHARED)


def find_anchor(region: bytes, seed: int) -> Anchor | None:
    """The first later batch or seal in `region`, which starts with a batch that does not hold.

    The COMMIT of that first batch itself is no anchor: it may have reached the disk before its frames.
    """
    for frame in frames_in(region, seed):
        if frame.kind == Kind.SEAL:
            return Anchor(frame.start, frame.seq)
        if frame.kind == Kind.COMMIT:
            commit = decode_commit(frame)
            if frame.start > commit.size:
                return Anchor(frame.start - commit.size, commit.first_seq - 1)
    return None


def first_seq_in(region: bytes, seed: int) -> int | None:
    """The first seq of the damaged batch in `region`, which ends where the next one begins; null where its COMMIT is
    damaged too.
    """
    commits = (decode_commit(frame) for frame in frames_in(region, seed) if frame.kind == Kind.COMMIT)
    return next((commit.first_seq for commit in commits), None)


def rescue(region: bytes, seed: int, after: int, through: int, beginnings: Collection[bytes]) -> Rescued:
    """Of the records after + 1..through, known to have been stored in `region`, those that can still be read, knowing these
    beginnings.
    """
    rescued = Rescued([], [])
    reached = after
    for frame in frames_in(region, seed, beginnings):
        if not reached < frame.seq <= through:
            continue
        if frame.kind in RECORDS:
            rescued.records.append((frame.seq, frame.kind, frame.payload))
            reached = frame.seq
        elif frame.kind == Kind.LOSS:
            first, last = decode_loss(frame.payload)
            rescued.refused.append((max(first, after + 1), last))
            reached = last
    return rescued


def judge_tail(
    *, garbage: bool, witnessed: bool, continued: bool, same_boot: bool, level: Level | None
) -> FindingKind | None:
    """What to call the end of a segment that has no seal and will not grow, read up to its last whole batch.

    `witnessed`: the witness says that this is all that was acknowledged; it is only to be trusted under the boot that
    wrote it. `continued`: the next segment goes on with the next seq, so nothing is missing here, whatever these bytes
    are. Level `process` loses what the kernel had not yet stored when the machine itself goes down.
    """
    if continued:
        return FindingKind.TORN_TAIL if garbage else None
    if garbage:
        return FindingKind.TORN_TAIL if witnessed and same_boot else FindingKind.TAIL_UNKNOWN
    return None if witnessed and (same_boot or level == "power") else FindingKind.TAIL_UNKNOWN
