"""Gives back the preallocated zeros that killed writers left behind: up to two whole segments each.

Enters: a slot whose former writers are gone. Leaves: their segments, cut after the last byte that is not zero. Never
touches a log whose lock is held, never removes a byte that was written.
"""

import os
from pathlib import Path
from typing import Final

from prediction_log.spool.disk import Disk, data_end
from prediction_log.spool.places import adopt, segment_numbers, segment_path, slot_directories
from prediction_log.spool.segment import DATA_START

_BLOCK: Final = 4096
_ZEROS_KEPT: Final = 4
"""The size that ends a frame may itself end in zeros."""


def trim_orphans(disk: Disk, spool: Path, slot: str) -> int:
    """Trim every orphan of the slot; the number of bytes given back. Raises OSError."""
    freed = 0
    for log in slot_directories(spool, slot):
        lock = adopt(log.path)
        if lock is None:
            continue
        try:
            freed += sum(_trim(disk, segment_path(log.path, number)) for number in segment_numbers(log.path))
            for leftover in log.path.glob("*.tmp"):
                disk(os.unlink, leftover)
        finally:
            os.close(lock)
    return freed


def _trim(disk: Disk, path: Path) -> int:
    fd = disk(os.open, path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        needed = max(data_end(fd) + _ZEROS_KEPT, DATA_START)
        kept = min(-(-needed // _BLOCK) * _BLOCK, size)
        if kept < size:
            disk(os.ftruncate, fd, kept)
        return size - kept
    finally:
        disk(os.close, fd)
