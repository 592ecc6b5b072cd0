"""Gives back the preallocated zeros that killed writers left behind: up to two whole segments each.

Enters: a slot whose former writers are gone. Leaves: their segments, cut after the last byte that is not zero. Never
touches a log whose lock is held, never removes a byte that was written.
"""

import contextlib
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
            for number in segment_numbers(log.path):
                with contextlib.suppress(FileNotFoundError):  # the forwarder removes what Kafka has meanwhile
                    freed += _trim(disk, segment_path(log.path, number))
            for leftover in log.path.glob("*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    disk(os.unlink, leftover)
        finally:
            os.close(lock)
    return freed


def _trim(disk: Disk, path: Path) -> int:
    fd = disk(os.open, path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        size = os.fstat(fd).st_size
        last = _BLOCK + _ZEROS_KEPT
        if any(os.pread(fd, last, max(size - last, 0))):
            return 0  # sealed, or trimmed before; else every start would read all that was ever logged
        needed = max(data_end(fd) + _ZEROS_KEPT, DATA_START)
        kept = min(-(-needed // _BLOCK) * _BLOCK, size)
        if kept < size:
            disk(os.ftruncate, fd, kept)
        return size - kept
    finally:
        disk(os.close, fd)
