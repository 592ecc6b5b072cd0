"""Where one writer lives: a directory and a lock of its own, made when it opens, kept for as long as it lives.

Enters: the spool and the slot. Leaves: a `Home`, or LogUnavailable. Warns of file systems that forget; gives back what
killed predecessors hold.
"""

import logging
from pathlib import Path
from typing import Final, NamedTuple

from prediction_log.spool.disk import Disk, filesystem_of
from prediction_log.spool.places import create_directory
from prediction_log.spool.trimming import trim_orphans

_FORGETFUL: Final = frozenset({"tmpfs", "ramfs", "overlay", "nfs", "nfs4", "9p", "cifs", "smb3"})


class Home(NamedTuple):
    """`log_id` is 16 random bytes; the lock is held while `lock_fd` is open."""

    directory: Path
    log_id: bytes
    lock_fd: int


def move_in(disk: Disk, spool: Path, slot: str, log_id: bytes) -> Home:
    """Make the home of a new log. Blocks on the disk: call it in a thread. Raises LogUnavailable."""
    logger = logging.getLogger(__name__)
    try:
        freed = trim_orphans(disk, spool, slot)
    except OSError as error:
        logger.warning("spool %s: space of former writers stays taken: %s", spool, error)
    else:
        if freed:
            logger.info("spool %s: %d bytes of former writers given back", spool, freed)
    directory, lock_fd = create_directory(disk, spool, slot, log_id.hex())
    kind = filesystem_of(directory.resolve())
    if kind in _FORGETFUL:
        logger.warning(
            "spool %s is on %s: what is written there may not outlive this machine or container", spool, kind
        )
    return Home(directory, log_id, lock_fd)
