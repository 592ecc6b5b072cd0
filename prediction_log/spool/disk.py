"""Every system call of the writer passes through one seam, so that a test can fail, shorten or record any of them.

Enters: a function of `os` and its arguments. Leaves: its result, or OSError. Reading needs no seam: damage is bytes, and
tests write those themselves. Never decides what to do about an error.
"""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ZEROS: Final = bytes(2**20)
_UNSUPPORTED: Final = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_INODES_MIN: Final = 16


class Disk(Protocol):
    """Performs `operation(*args)`; may raise OSError instead, or write less than it was asked to."""

    def __call__(self, operation: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The operation's result."""
        ...


def direct(operation: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The machine's own disk."""
    return operation(*args, **kwargs)


def write_all(disk: Disk, fd: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, going on after short writes; OSError leaves an unknown part written."""
    written = disk(os.pwrite, fd, data, offset)
    while written < len(data):
        step = disk(os.pwrite, fd, data[written:], offset + written)
        if step <= 0:
            raise OSError(errno.EIO, "the disk took no byte and gave no error")
        written += step


def sync_data(disk: Disk, fd: int) -> None:
    """Return when the file's data is on the disk (fdatasync, where there is one)."""
    disk(getattr(os, "fdatasync", os.fsync), fd)


def sync_directory(disk: Disk, directory: Path) -> None:
    """Return when the names in `directory` are on the disk."""
    fd = disk(os.open, directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk(os.fsync, fd)
    finally:
        disk(os.close, fd)


def allocate(disk: Disk, fd: int, size: int) -> None:
    """Reserve `size` bytes, so that a full disk strikes now and not in the middle of a record.

    File systems without this promise (it is none on copy-on-write ones either) are written without it: there a full disk
    strikes at a write, which is handled too.
    """
    reserve = getattr(os, "posix_fallocate", None)
    if reserve is None:
        return
    try:
        disk(reserve, fd, 0, size)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def demand_free(disk: Disk, directory: Path, bytes_min: int) -> None:
    """Raise OSError(ENOSPC) where fewer than `bytes_min` bytes, or almost no inodes, are free for us."""
    free = disk(os.statvfs, directory)
    free_bytes = free.f_bavail * free.f_frsize
    if free_bytes < bytes_min:
        raise OSError(errno.ENOSPC, f"{free_bytes} bytes free, {bytes_min} needed", str(directory))
    if free.f_files and free.f_favail < _INODES_MIN:
        raise OSError(errno.ENOSPC, f"{free.f_favail} inodes free, {_INODES_MIN} needed", str(directory))


def data_end(fd: int, start: int = 0) -> int:
    """The offset after the last byte at or after `start` that is not zero; `start` where there is none."""
    end = offset = start
    while window := os.pread(fd, len(ZEROS), offset):
        if window != ZEROS[: len(window)]:
            end = offset + len(window.rstrip(b"\0"))
        offset += len(window)
    return end


def boot_of_this_machine() -> int:
    """A number that changes with each boot; 0 where the system tells none."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return 0
    return int(text.replace("-", "")[:16], 16)


def filesystem_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The type of the file system that `path` lies on, such as `ext4`; empty where the system does not tell."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, found = -1, ""
    for line in lines:
        _, point, kind, *_ = line.split(" ")
        if path.is_relative_to(point) and len(point) >= best:
            best, found = len(point), kind
    return found
