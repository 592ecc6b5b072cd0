"""Reads a folder that others can write without being led astray: no links, no devices, nothing outside, no surprises.

Enters: an open directory and names. Leaves: facts about regular files, or open descriptors of them. Every path is walked
component by component from an open directory with O_NOFOLLOW, and what was opened is checked, not what was listed: a
file that is swapped in between cannot slip through.
A hard link is refused because onnxruntime would read its content as weights and give it away in its answers.
"""

import errno
import os
import stat
from contextlib import ExitStack
from itertools import islice
from typing import NamedTuple

from contracts.errors import ModelRejected
from registry_client.limits import Limits
from registry_client.names import is_file_name


class FileFacts(NamedTuple):
    """What tells one state of a file from another without reading it; `path` is relative, with `/`."""

    path: str
    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def list_files(folder: int, limits: Limits, *, leave_out: frozenset[str] = frozenset()) -> tuple[FileFacts, ...]:
    """All files below an open folder, sorted by path, without hidden ones and those of its own that are `leave_out`.

    Raises ModelRejected where there is anything but regular files and folders, or more than the limits allow.
    """
    found: list[FileFacts] = []
    folders = [""]
    while folders:
        prefix = folders.pop()
        if prefix.count("/") > limits.depth_max:
            raise ModelRejected(f"{prefix!r} lies more than {limits.depth_max} folders deep")
        for name in _names(folder, prefix, limits.entries_max):
            path = prefix + name
            if path in leave_out or name.startswith("."):
                continue
            facts = _facts(folder, path)
            if facts is None:
                folders.append(path + "/")
            else:
                found.append(facts)
            if len(found) + len(folders) > limits.files_max:
                raise ModelRejected(f"more than {limits.files_max} files in one version")
    return tuple(sorted(found))


def open_folder(path: str | os.PathLike[str], parent: int | None = None) -> int:
    """A descriptor of a folder; with `parent` of its entry `path`, which must not be a link (else ModelRejected)."""
    if parent is None:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:
            raise ModelRejected(
                f"{os.fspath(path)!r} is a link or a file, not a folder: copy the folder itself"
            ) from None
        raise


def open_regular(folder: int, path: str) -> int:
    """A descriptor of the file `path` below an open folder; the caller closes it.

    Raises ModelRejected where it is not a regular file with one name, FileNotFoundError where there is none.
    """
    *parents, name = path.split("/")
    with ExitStack() as opened:
        for parent in parents:
            folder = open_folder(parent, folder)
            opened.callback(os.close, folder)
        try:
            # O_NONBLOCK: opening a named pipe would else wait for a writer
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise ModelRejected(f"{path!r} is not a regular file: copy the file itself") from None
            raise
    try:
        facts_of(descriptor, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def facts_of(descriptor: int, path: str) -> FileFacts:
    """The facts of an open file, called `path`; ModelRejected where it is not a regular file with one name."""
    return _checked_file(path, os.fstat(descriptor))


def read_document(folder: int, path: str, bytes_max: int) -> bytes | None:
    """The content of a small file below an open folder; None where there is none."""
    try:
        descriptor = open_regular(folder, path)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(bytes_max + 1)
    if len(content) > bytes_max:
        raise ModelRejected(f"{path!r} is larger than {bytes_max} bytes")
    return content


def list_names(folder: int, entries_max: int) -> list[str]:
    """The names of all entries of an open folder, sorted; ModelRejected where there are more than `entries_max`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, entries_max + 1)]
    if len(names) > entries_max:
        raise ModelRejected(f"more than {entries_max} entries in one folder")
    return sorted(names)


def _names(folder: int, prefix: str, entries_max: int) -> list[str]:
    with ExitStack() as opened:
        for parent in prefix.split("/")[:-1]:
            folder = open_folder(parent, folder)
            opened.callback(os.close, folder)
        return list_names(folder, entries_max)


def _facts(folder: int, path: str) -> FileFacts | None:
    """The facts of a file, None for a folder."""
    name = path.rpartition("/")[2]
    if not is_file_name(name):
        raise ModelRejected(f"{path!r}: a file's name is 1 to 255 printable ASCII characters without '\\'")
    status = os.stat(path, dir_fd=folder, follow_symlinks=False)
    return None if stat.S_ISDIR(status.st_mode) else _checked_file(path, status)


def _checked_file(path: str, status: os.stat_result) -> FileFacts:
    """The facts of a regular file with one name."""
    if stat.S_ISDIR(status.st_mode):
        raise ModelRejected(f"{path!r} is a folder, not a file")
    if stat.S_ISLNK(status.st_mode):
        raise ModelRejected(f"{path!r} is a symbolic link: copy the file itself")
    if not stat.S_ISREG(status.st_mode):
        raise ModelRejected(f"{path!r} is not a regular file: copy the file itself")
    if status.st_nlink > 1:
        raise ModelRejected(f"{path!r} is a hard link ({status.st_nlink} names for one file): copy the file itself")
    return FileFacts(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
