"""Records that Kafka cannot take, kept as it would have had them: `<dead>/<slot>.<log_id>.<seq>`.

Enters: a record. Leaves: a file that is on the disk, the same one at every attempt. Never removes anything: that is for the
people who look into it.
"""

import contextlib
import os
from pathlib import Path

from prediction_log.position import Entry
from prediction_log.spool.disk import Disk, sync_data, sync_directory, write_all


def keep_dead(disk: Disk, directory: Path, slot: str, entry: Entry) -> Path:
    """Store the record's payload. Raises OSError; then there is no file, or one that the next attempt replaces."""
    path = directory / f"{slot}.{entry.log_id}.{entry.seq}"
    if path.exists():
        return path
    if not directory.is_dir():
        with contextlib.suppress(FileExistsError):
            disk(os.mkdir, directory, 0o700)
        sync_directory(disk, directory.parent)
    temporary = directory / f".{path.name}.tmp"
    fd = disk(os.open, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(disk, fd, entry.payload, 0)
        sync_data(disk, fd)
    finally:
        disk(os.close, fd)
    disk(os.rename, temporary, path)
    sync_directory(disk, directory)
    return path
