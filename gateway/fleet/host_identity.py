"""The name of this host in a fleet: made once, kept in the state directory.

Enters: the state directory and what the machine calls itself. Leaves: a name that no other state directory has, also where
two machines, or two containers one after the other, are called the same.
"""

import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

FILE_NAME = "host_id"
NAME_MAX = 64


def host_id(state_dir: Path, machine: str, random_hex: Callable[[], str]) -> str:
    """The host's name, made at first use; whichever process is first, all agree. Raises OSError."""
    path = state_dir / FILE_NAME
    kept = _read(path)
    if kept:
        return kept
    state_dir.mkdir(parents=True, exist_ok=True)
    name = f"{re.sub(r'[^A-Za-z0-9.-]', '-', machine)[:NAME_MAX] or 'host'}-{random_hex()}"
    draft = path.with_name(f".{FILE_NAME}.{os.getpid()}")
    draft.touch()
    try:
        _fill(draft, name)
        os.link(draft, path)
    except FileExistsError:
        _fill(path, name)  # another process of this host was first, or the power went before the name was on the disk
    finally:
        draft.unlink()
    return _read(path) or name


def _fill(path: Path, name: str) -> None:
    """Write the name into an empty file, durably; of several at once one does."""
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not file.read().strip():
            file.seek(0)
            file.write(name)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
