"""Removes what Kafka has: segments some hours after all of them was acknowledged, and logs of which nothing is left.

Enters: a log's directory and the cursor as it is on the disk. Leaves: fewer files. The order is the promise: the cursor is
synced past a segment, then the segment is unlinked, then its directory is synced. Never touches a segment that the stored
cursor has not left, never removes a log whose lock is held, never a lock before everything else is gone.

The time of acknowledgement is the segment file's own time of change: it is set when the cursor is about to leave it.
"""

import contextlib
import os
from pathlib import Path

from prediction_log.forward.cursor import CURSOR_NAME, Cursor
from prediction_log.spool.disk import Disk, sync_directory
from prediction_log.spool.places import LOCK_NAME, adopt, segment_numbers, segment_path


def is_done(cursor: Cursor) -> bool:
    """Whether nothing is left to send: the log has ended, and its last segment's seals are out."""
    return cursor.position.ended and cursor.segment == 0


def left_behind(directory: Path, cursor: Cursor) -> list[int]:
    """The segments that `cursor` is past, ascending; all of a log that is done, spare ones included."""
    numbers = segment_numbers(directory)
    if is_done(cursor):
        return numbers
    needed = min(cursor.position.segment, cursor.segment or cursor.position.segment)
    return [number for number in numbers if number < needed]


def mark_acknowledged(disk: Disk, directory: Path, before: Cursor, after: Cursor, now_us: int) -> None:
    """Stamp the segments that `after` is past and `before` was not; raises OSError."""
    earlier = set(left_behind(directory, before))
    for number in left_behind(directory, after):
        if number not in earlier:
            with contextlib.suppress(FileNotFoundError):  # a spare that its writer took back as it closed
                disk(os.utime, segment_path(directory, number), ns=(now_us * 1000, now_us * 1000))


def remove_segments(disk: Disk, directory: Path, stored: Cursor, before_us: int) -> int:
    """Remove the segments that were acknowledged before `before_us`, oldest first; how many. Raises OSError."""
    removed = 0
    for number in left_behind(directory, stored):
        path = segment_path(directory, number)
        with contextlib.suppress(FileNotFoundError):  # likewise
            if path.stat().st_mtime_ns >= before_us * 1000:
                break  # a later one may have an earlier stamp; readers rely on a log losing its beginning only
            disk(os.unlink, path)
            removed += 1
    if removed:
        sync_directory(disk, directory)
    return removed


def remove_log(disk: Disk, directory: Path, stored: Cursor) -> bool:
    """Remove the directory of a log that is done and has no segment left; whether it did. Raises OSError."""
    if not is_done(stored) or segment_numbers(directory):
        return False
    lock = adopt(directory)
    if lock is None and (directory / LOCK_NAME).exists():
        return False
    try:
        for leftover in [*directory.glob("*.tmp"), directory / CURSOR_NAME, directory / LOCK_NAME]:
            with contextlib.suppress(FileNotFoundError):
                disk(os.unlink, leftover)
        disk(os.rmdir, directory)
        sync_directory(disk, directory.parent)
    finally:
        if lock is not None:
            os.close(lock)
    return True
