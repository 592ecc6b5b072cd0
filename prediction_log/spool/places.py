"""Where the log's files lie and who is writing them.

    <spool>/<slot>/<log_id>/00000001.seg    segments, numbered; a hole in the numbers is a file that never came to be
    <spool>/<slot>/<log_id>/lock            flock-ed by its writer for as long as that lives

Enters: paths. Leaves: paths, numbers, and whether a writer still lives. Never reads a record.
"""

import fcntl
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from contracts.errors import LogUnavailable
from prediction_log.spool.disk import Disk, sync_directory

LOCK_NAME: Final = "lock"
_LOG_ID: Final = re.compile(r"[0-9a-f]{32}")
_SEGMENT: Final = re.compile(r"([0-9]{8})\.seg")
_SLOT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class LogDirectory(NamedTuple):
    """One writer incarnation's directory."""

    slot: str
    log_id: str
    path: Path


def segment_path(directory: Path, number: int) -> Path:
    """The file of segment `number`."""
    return directory / f"{number:08d}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments that exist, ascending."""
    try:
        names = os.listdir(directory)  # noqa: PTH208 - asked at every poll; Path objects would be most of the cost
    except FileNotFoundError:
        return []
    return sorted(int(match[1]) for name in names if (match := _SEGMENT.fullmatch(name)))


def log_directories(spool: Path) -> list[LogDirectory]:
    """Every log in the spool, in order of slot and log_id; none where there is no spool yet."""
    try:
        slots = sorted(os.listdir(spool))  # noqa: PTH208 - as above
    except FileNotFoundError:
        return []
    return [log for slot in slots if _SLOT.fullmatch(slot) for log in slot_directories(spool, slot)]


def slot_directories(spool: Path, slot: str) -> list[LogDirectory]:
    """Every log of one slot."""
    try:
        names = sorted(os.listdir(spool / slot))  # noqa: PTH208 - as above
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [LogDirectory(slot, name, spool / slot / name) for name in names if _LOG_ID.fullmatch(name)]


def writer_lives(directory: Path) -> bool:
    """Whether the writer of this log still holds its lock."""
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _locked(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def adopt(directory: Path) -> int | None:
    """Lock a log whose writer is gone; the descriptor to close afterwards, None where somebody else has it."""
    try:
        fd = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if _locked(fd, fcntl.LOCK_EX):
        return fd
    os.close(fd)
    return None


def create_directory(disk: Disk, spool: Path, slot: str, log_id: str) -> tuple[Path, int]:
    """Make and lock the directory of a new log; (path, the lock's descriptor).

    It gets its name only when it is locked: nobody ever sees a new log without a living writer. Raises LogUnavailable.
    """
    assert _SLOT.fullmatch(slot), slot
    final, temporary = spool / slot / log_id, spool / slot / f".{log_id}.tmp"
    fd = -1
    try:
        _make_parents(disk, final.parent)
        disk(os.mkdir, temporary, 0o700)
        fd = disk(os.open, temporary / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        disk(fcntl.flock, fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        disk(os.rename, temporary, final)
        sync_directory(disk, final.parent)
    except OSError as error:
        if fd >= 0:
            os.close(fd)
        raise LogUnavailable(f"cannot make the log directory {final}: {error}; give it space and rights") from error
    return final, fd


def _make_parents(disk: Disk, directory: Path) -> None:
    missing = []
    while not directory.is_dir():
        missing.append(directory)
        directory = directory.parent
    for path in reversed(missing):
        try:
            disk(os.mkdir, path, 0o700)
        except FileExistsError:
            continue  # another worker was faster
        sync_directory(disk, path.parent)


def _locked(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
