"""How far a log was handed to Kafka, kept beside its segments in a file that a crash cannot take back.

Enters: a log's directory and what is acknowledged. Leaves: the newest state that was stored whole, or none. Never knows
whether the state is true: whoever saves it has seen the acknowledgements.

    0        slot, SLOT_BYTES: magic, size, generation, crc, content (JSON), zeros
    32768    the other slot

Slots are written in turn, each followed by fdatasync, so that a torn write leaves the one before it. `crc` starts from the
log's id: a cursor that was copied from another log does not pass. The file gets its name only when it is on the disk, and
the name is synced too: later a segment's removal may be durable, and then the cursor has to be.
"""

import contextlib
import os
import struct
from enum import Enum
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from prediction_log.position import Position
from prediction_log.spool.disk import Disk, sync_data, sync_directory, write_all

CURSOR_NAME: Final = "cursor"
SLOT_BYTES: Final = 32 * 2**10
"""Two lanes for each of 256 partitions and one for the audit topic, at 40 bytes each, and as much again."""

_MAGIC: Final = b"GLPC"
_PREFIX: Final = struct.Struct("<4sIQI")
CONTENT_BYTES_MAX: Final = SLOT_BYTES - _PREFIX.size

Lane = str
"""A topic-partition as a cursor names it: the topic's letter and the partition, such as `p3`, `l0`, `a0`."""


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Everything up to `position` is acknowledged. `segment` is the one whose messages are being counted (0: its seals
    are out, or none was begun), sent under the law of `partitions`. `lanes` hold, for each topic-partition that this log
    ever wrote to, the seq of its last record there and how many of `segment` are there.
    """

    position: Position = Position()
    segment: int = 0
    partitions: int = 0
    lanes: dict[Lane, tuple[int, int]] = {}


class CursorState(Enum):
    """What the file was like. DAMAGED: it is there, and neither slot holds."""

    NONE = "none"
    WHOLE = "whole"
    DAMAGED = "damaged"


class Loaded(NamedTuple):
    """The newest cursor; a fresh one where there is none."""

    cursor: Cursor
    generation: int
    state: CursorState


class CursorFile:
    """One log's cursor. One forwarder writes it; anybody may read it."""

    def __init__(self, disk: Disk, directory: Path, log_id: str) -> None:
        self._disk = disk
        self._directory = directory
        self._path = directory / CURSOR_NAME
        self._seed = crc32(bytes.fromhex(log_id))
        self._generation = 0
        self._made = False

    def load(self) -> Loaded:
        """What is stored. Raises OSError where the disk refuses."""
        loaded = read_cursor(self._path, self._seed)
        self._generation = loaded.generation
        self._made = loaded.state is CursorState.WHOLE
        return loaded

    def save(self, cursor: Cursor) -> None:
        """Return when `cursor` is on the disk. Raises OSError; what was stored before is then still there."""
        generation = self._generation + 1
        slot = _encode(cursor, generation, self._seed)
        if self._made:
            self._write(self._path, os.O_WRONLY, slot, SLOT_BYTES * (generation % 2))
        else:
            self._make(slot, generation)
        self._generation = generation

    def _make(self, slot: bytes, generation: int) -> None:
        temporary = self._path.with_suffix(".tmp")
        whole = bytes(SLOT_BYTES) + slot if generation % 2 else slot + bytes(SLOT_BYTES)
        self._write(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, whole, 0)
        self._disk(os.rename, temporary, self._path)
        sync_directory(self._disk, self._directory)
        self._made = True

    def _write(self, path: Path, flags: int, data: bytes, offset: int) -> None:
        fd = self._disk(os.open, path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            write_all(self._disk, fd, data, offset)
            sync_data(self._disk, fd)
        finally:
            with contextlib.suppress(OSError):  # synced already, or the write's error is the one to tell
                self._disk(os.close, fd)


def cursor_of(directory: Path, log_id: str) -> Cursor | None:
    """What a log's cursor says to somebody who only looks; None where it says nothing."""
    try:
        loaded = read_cursor(directory / CURSOR_NAME, crc32(bytes.fromhex(log_id)))
    except OSError:
        return None
    return loaded.cursor if loaded.state is CursorState.WHOLE else None


def read_cursor(path: Path, seed: int) -> Loaded:
    """The newest slot that holds. Raises OSError where the disk refuses."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Loaded(Cursor(), 0, CursorState.NONE)
    slots = [_decode(data[start : start + SLOT_BYTES], seed) for start in (0, SLOT_BYTES)]
    whole = [slot for slot in slots if slot is not None]
    if not whole:
        return Loaded(Cursor(), 0, CursorState.DAMAGED)
    return max(whole, key=lambda loaded: loaded.generation)


def _encode(cursor: Cursor, generation: int, seed: int) -> bytes:
    content = msgspec.json.encode(cursor)
    assert len(content) <= CONTENT_BYTES_MAX, len(content)
    crc = crc32(content, crc32(struct.pack("<IQ", len(content), generation), seed))
    return (_PREFIX.pack(_MAGIC, len(content), generation, crc) + content).ljust(SLOT_BYTES, b"\0")


def _decode(slot: bytes, seed: int) -> Loaded | None:
    if len(slot) < _PREFIX.size:
        return None
    magic, size, generation, crc = _PREFIX.unpack_from(slot)
    content = slot[_PREFIX.size : _PREFIX.size + size]
    if magic != _MAGIC or size > CONTENT_BYTES_MAX or len(content) != size:
        return None
    if crc32(content, crc32(struct.pack("<IQ", size, generation), seed)) != crc:
        return None
    try:
        cursor = msgspec.json.decode(content, type=Cursor)
    except msgspec.MsgspecError:  # another version's cursor: as good as none, so everything is sent once more
        return None
    return Loaded(cursor, generation, CursorState.WHOLE)
