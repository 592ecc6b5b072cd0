"""Moves a state that cannot be opened out of the way: the next one is restored from what was published.

Enters: the state's directory and the error. Leaves: the directory renamed, for people to look at, where the error is the
state's own fault; untouched where the disk is full or the file is held, which pass. Bound: one broken state is kept of each
partition; the next one replaces it.
"""

import logging
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from contracts.errors import StoreUnavailable

BROKEN: Final = ".broken"

_LOG = logging.getLogger("pointsman.monitor")


def set_aside(directory: Path, error: StoreUnavailable) -> bool:
    """Whether the state was moved away."""
    cause = error.__cause__
    passes = isinstance(cause, OSError | sqlite3.OperationalError) and not _is_damage(cause)
    if passes or not directory.exists():
        return False
    broken = directory.with_name(directory.name + BROKEN)
    shutil.rmtree(broken, ignore_errors=True)
    directory.rename(broken)
    _LOG.error("%s; it is now %s, and restored from what was published", error, broken)
    return True


def _is_damage(cause: Exception) -> bool:
    """SQLite says some kinds of damage as it says that it is busy."""
    return any(word in str(cause) for word in ("no such table", "no such column", "malformed", "not a database"))
