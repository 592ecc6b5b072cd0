"""The last good plan of each model on local disk: what serves when the plan store is away, and what it may not fall behind.

Enters: plans that were applied. Leaves: the same plans, after a restart or a power cut. A file is a head (format, length,
CRC) and the plan's JSON; it is on the disk before it takes its name, so a reader finds one whole plan; a file that is not
one is as good as none, and is said so. A lower revision never replaces a higher one: the workers of a host write the same
file, and the slowest is not the newest. Blocks on the disk: call `save` in a thread.
"""

import fcntl
import logging
import os
import zlib
from pathlib import Path
from typing import Final

from contracts.errors import InvalidRecord
from contracts.plan import Plan
from contracts.wire import decode, encode
from registry_client.names import is_name

HEAD: Final = b"pointsman-plan 1 %d %08x\n"
SUFFIX: Final = ".plan"


class LastGood:
    """The folder of last good plans, shared by the processes of a host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, plan: Plan) -> None:
        """Keep a plan that was applied, unless a later one is kept already. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            # between the look and the rename another worker of the host could keep a later one
            fcntl.flock(folder, fcntl.LOCK_EX)
            kept = self.load(plan.model)
            if kept is None or (kept.revision <= plan.revision and kept != plan):
                self._replace(plan)
                os.fsync(folder)
        finally:
            os.close(folder)

    def _replace(self, plan: Plan) -> None:
        part = self._folder / f".{plan.model}.{os.getpid()}.part"
        with part.open("wb") as file:
            file.write(framed(encode(plan)))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path(plan.model))

    def load(self, model: str) -> Plan | None:
        """The plan of a model that was applied last, if any."""
        path = self._path(model)
        try:
            plan = decode(Plan, unframed(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, InvalidRecord) as error:
            logging.getLogger("pointsman.gateway").warning("last good plan %s cannot be used: %s", path, error)
            return None
        return plan

    def models(self) -> list[str]:
        """The models that have a last good plan."""
        return sorted(path.stem for path in self._folder.glob(f"*{SUFFIX}") if is_name(path.stem))

    def _path(self, model: str) -> Path:
        return self._folder / f"{model}{SUFFIX}"


def framed(content: bytes) -> bytes:
    """The content behind its head."""
    return HEAD % (len(content), zlib.crc32(content)) + content


def unframed(data: bytes) -> bytes:
    """The content, whole; `InvalidRecord` says what is wrong with it."""
    head, _, content = data.partition(b"\n")
    if not head.startswith(b"pointsman-plan "):
        raise InvalidRecord("it does not begin as a plan file of Pointsman")
    if not head.startswith(b"pointsman-plan 1 "):
        raise InvalidRecord(f"its format is {head.decode(errors='replace')!r}, of another release")
    if data != framed(content):
        raise InvalidRecord(f"its {len(content)} bytes are not those that were written: it is torn or damaged")
    return content
