"""What lies in the spool, told from names, sizes and heads alone: no record is read, so it is quick at any size.

Enters: the spool. Leaves: one row a segment.
"""

import os
from pathlib import Path
from typing import Literal

import msgspec

from prediction_log.spool.head import is_in_use, read_head
from prediction_log.spool.places import LogDirectory, log_directories, segment_numbers, segment_path, writer_lives
from prediction_log.spool.segment import seed_of

SegmentState = Literal["spare", "writing", "written"]


class SegmentRow(msgspec.Struct, frozen=True, kw_only=True):
    """One segment. `spare` is made ready and not in use yet; `writing` is the newest of a living writer. `last_seq` is the
    last seq acknowledged in it (0: none), `since_us` when it was made, in microseconds since the epoch; null where the
    head is damaged.
    """

    slot: str
    log_id: str
    segment: int
    state: SegmentState
    level: str | None
    bytes: int
    last_seq: int | None
    since_us: int | None


def list_segments(spool: Path) -> list[SegmentRow]:
    """Every segment of every log."""
    return [row for log in log_directories(spool) for row in _rows(log)]


def _rows(log: LogDirectory) -> list[SegmentRow]:
    alive, seed = writer_lives(log.path), seed_of(bytes.fromhex(log.log_id))
    numbers = segment_numbers(log.path)
    used = [number for number in numbers if is_in_use(segment_path(log.path, number), seed)]
    rows = []
    for number in numbers:
        state: SegmentState = "written" if number in used else "spare"
        if alive and used and number == used[-1]:
            state = "writing"
        row = _row(log, number, seed, state)
        if row is not None:
            rows.append(row)
    return rows


def _row(log: LogDirectory, number: int, seed: int, state: SegmentState) -> SegmentRow | None:
    try:
        fd = os.open(segment_path(log.path, number), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a spare that its writer took back as it closed
        return None
    try:
        head, size = read_head(fd, log.log_id, seed), os.fstat(fd).st_size
    finally:
        os.close(fd)
    return SegmentRow(
        slot=log.slot,
        log_id=log.log_id,
        segment=number,
        state=state,
        level=head.header.level if head.header else None,
        bytes=size,
        last_seq=head.witness.seq if head.witness else None,
        since_us=head.header.wall_us if head.header else None,
    )
