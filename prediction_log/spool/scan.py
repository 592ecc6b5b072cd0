"""The next batch in a stretch of segment bytes, or why there is none.

Enters: a buffer and the offset of a batch boundary. Leaves: a whole batch whose hash holds, a seal, or a `Stop`. Never
reads a file, never skips a byte: what to do about damage is `recovery`'s question.
"""

from enum import Enum
from typing import Final, NamedTuple

from prediction_log.spool.segment import (
    _PREFIX,
    BATCH_BYTES_MAX,
    FINAL,
    FRAME_BYTES_MAX,
    FRAME_OVERHEAD,
    Commit,
    Kind,
    decode_commit,
    decode_frame,
    link,
)

WHOLE_BATCH_BYTES_MAX: Final = BATCH_BYTES_MAX + 2 * FRAME_BYTES_MAX
"""No batch is larger: at most one record carries it beyond BATCH_BYTES_MAX, and a COMMIT follows."""


class Stop(Enum):
    """Why there is no batch here."""

    CLEAN = "nothing was written here yet"
    SHORT = "the buffer ends inside a frame or a batch"
    BAD = "these bytes are no batch"


class Batch(NamedTuple):
    """A batch whose hash holds. `records` are (seq, kind, payload), the LOSS frame among them; it ends before `end`."""

    commit: Commit
    records: list[tuple[int, int, bytes]]
    end: int


class Seal(NamedTuple):
    """The end of a segment after `seq`; `final`: of the log."""

    seq: int
    chain: bytes
    final: bool
    end: int


def next_batch(buffer: bytes, start: int, seed: int) -> Batch | Seal | Stop:
    """What stands at `start`, a batch boundary.

    The walk trusts the frames' sizes only as far as the COMMIT; there the hash over the whole batch proves them all, so
    the frames' own checksums are not computed a second time.
    """
    records: list[tuple[int, int, bytes]] = []
    beginnings = [b""]
    at, unpack, prefix_bytes, room = start, _PREFIX.unpack_from, _PREFIX.size, len(buffer) - FRAME_OVERHEAD
    while at <= room:
        size, _, seq, _, kind, _, shared = unpack(buffer, at)
        if size == 0 and at == start:
            return Stop.CLEAN
        unknown = kind != Kind.SHARED and shared >= len(beginnings)
        if unknown or not FRAME_OVERHEAD <= size <= FRAME_BYTES_MAX or at - start > WHOLE_BATCH_BYTES_MAX:
            return Stop.BAD
        end = at + size
        if end > len(buffer):
            return Stop.SHORT
        if 1 <= kind <= 3 or kind == Kind.LOSS:
            records.append((seq, kind, beginnings[shared] + buffer[at + prefix_bytes : end - 4]))
        elif kind == Kind.SHARED:
            beginnings.append(buffer[at + prefix_bytes : end - 4])
        elif kind == Kind.COMMIT:
            return _committed(buffer, start, at, seed, records)
        else:
            return _sealed(buffer, start, at, seed)
        at = end
    return Stop.SHORT


def _committed(buffer: bytes, start: int, at: int, seed: int, records: list[tuple[int, int, bytes]]) -> Batch | Stop:
    frame = decode_frame(buffer, at, seed)
    if frame is None:
        return Stop.BAD
    commit = decode_commit(frame)
    if commit.size != at - start or link(commit.previous, buffer[start:at]) != commit.chain:
        return Stop.BAD
    return Batch(commit, records, frame.end)


def _sealed(buffer: bytes, start: int, at: int, seed: int) -> Seal | Stop:
    frame = decode_frame(buffer, at, seed)
    if frame is None or frame.kind != Kind.SEAL or at != start:
        return Stop.BAD
    return Seal(frame.seq, frame.payload, bool(frame.flags & FINAL), frame.end)
