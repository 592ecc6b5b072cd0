"""The bytes of one segment file: header, witness, frames, batches, seal. All numbers are little-endian.

Enters: records and sequence numbers, or bytes. Leaves: bytes, or records whose checksums hold. Never touches a file.

    0    header, 64 bytes: magic, version, byte order, log_id, boot, wall_us, mono_ns, number, schema, key, level, crc
    64   witness, two slots of 32 bytes written in turn: the last seq acknowledged in this segment, where it ends, crc
    128  frames, then zeros up to the preallocated size

    frame    size u32 | crc u32 | seq u64 | mono_ns u64 | kind u8 | flags u8 | shared u16 | payload | size u32

`size` is the whole frame's. `crc` is the CRC-32 of everything after itself and starts from the log_id, so that a frame of
another log or of a recycled file never passes. Records are numbered 1, 2, 3... per log. A batch is some records and the
COMMIT that makes them count; COMMIT, SEAL and SHARED carry the last seq and use up none. COMMIT holds the first seq it
covers and BLAKE2b(previous chain + the batch's frames): a chain over the whole log. LOSS covers seqs that were refused:
handed out, never acknowledged, and perhaps never written.

A SHARED frame holds what payloads of its batch begin with, so that it is written once; `shared` is its number, from 1, in
itself and in those records, and 0 in all others. The `crc` of such a record goes on from the CRC-32 of what it shares: a
record never passes behind another beginning than its own. Version 1 is the same without SHARED.

The witness tells what the tail alone cannot: without it a batch that was acknowledged and then rotted looks like one that
was never finished. It is written after the batch (level `power`: after the sync) and before anybody hears of it.
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from hashlib import blake2b
from typing import Final, Literal, NamedTuple
from zlib import crc32

from contracts.errors import CorruptLog

Level = Literal["process", "power"]

MAGIC: Final = b"GLPS"
FORMAT_VERSION: Final = 2
READABLE_VERSIONS: Final = frozenset({1, FORMAT_VERSION})
BYTE_ORDER: Final = 0xFEFF
LEVELS: Final[tuple[Level, ...]] = ("process", "power")
HEADER_BYTES: Final = 64
WITNESS_BYTES: Final = 32
DATA_START: Final = HEADER_BYTES + 2 * WITNESS_BYTES
LOG_ID_BYTES: Final = 16
CHAIN_BYTES: Final = 32

_HEADER: Final = struct.Struct("<4sHH16sQqqIHHB3x")
_WITNESS: Final = struct.Struct("<QQ12x")
_LEAD: Final = struct.Struct("<II")
_BODY: Final = struct.Struct("<QQBBH")
_SIZE: Final = struct.Struct("<I")
_PREFIX: Final = struct.Struct("<IIQQBBH")
_COMMIT: Final = struct.Struct("<QII32s32s")
_LOSS: Final = struct.Struct("<QQ")

FRAME_OVERHEAD: Final = _PREFIX.size + _SIZE.size
FRAME_BYTES_MAX: Final = 16 * 2**20
"""The largest frame; a size beyond it is damage, never trusted."""
PAYLOAD_BYTES_MAX: Final = FRAME_BYTES_MAX - FRAME_OVERHEAD
BATCH_RECORDS_MAX: Final = 1024
BATCH_BYTES_MAX: Final = 4 * 2**20
"""A batch takes no further record from here on; one record may carry it beyond."""
COMMIT_BYTES: Final = FRAME_OVERHEAD + _COMMIT.size
SEAL_BYTES: Final = FRAME_OVERHEAD + CHAIN_BYTES
FINAL: Final = 1
"""Flag of the SEAL that ends the log, not only the segment."""


class Kind(IntEnum):
    """What a frame holds. The first three are records; the others belong to the log itself."""

    PREDICTION = 1
    LABEL = 2
    AUDIT = 3
    COMMIT = 16
    LOSS = 17
    SEAL = 18
    SHARED = 19


Record = tuple[int, bytes, bytes]
"""A record's kind, what it has in common with others of its batch, if anything, and the rest: its payload is both."""
RECORDS: Final = {int(kind): kind for kind in (Kind.PREDICTION, Kind.LABEL, Kind.AUDIT)}


class Header(NamedTuple):
    """How a segment came to be. `boot` names the boot of the machine (0: unknown), `number` the place in the log."""

    log_id: bytes
    boot: int
    wall_us: int
    mono_ns: int
    number: int
    level: Level


class Witness(NamedTuple):
    """Everything up to `seq` was acknowledged or refused, and what this segment holds of it ends at offset `end`."""

    seq: int
    end: int


class Frame(NamedTuple):
    """One frame whose checksum holds; it stood at [start, end) of the buffer. The payload is whole."""

    seq: int
    kind: int
    flags: int
    payload: bytes
    start: int
    end: int


class Commit(NamedTuple):
    """The end of a batch: it covers first_seq..last_seq with `records` records in the `size` bytes before it."""

    first_seq: int
    last_seq: int
    records: int
    size: int
    previous: bytes
    chain: bytes


class Encoded(NamedTuple):
    """A batch ready to be written, anywhere: no byte of it depends on where it lands."""

    data: bytes
    first_seq: int
    last_seq: int
    chain: bytes


def seed_of(log_id: bytes) -> int:
    """Where the checksums of this log start."""
    return crc32(log_id)


def root_of(log_id: bytes) -> bytes:
    """Where the hash chain of this log starts."""
    return blake2b(log_id, digest_size=CHAIN_BYTES).digest()


def link(previous: bytes, frames: bytes) -> bytes:
    """The chain after a batch with these frames."""
    chain = blake2b(previous, digest_size=CHAIN_BYTES)
    chain.update(frames)
    return chain.digest()


def encode_header(header: Header) -> bytes:
    """The first 64 bytes of a segment."""
    fields = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        BYTE_ORDER,
        header.log_id,
        header.boot,
        header.wall_us,
        header.mono_ns,
        header.number,
        1,
        0,
        LEVELS.index(header.level),
    )
    return fields + _SIZE.pack(crc32(fields))


def decode_header(data: bytes) -> Header | None:
    """The header, or None where its checksum does not hold.

    Raises CorruptLog where it is whole but of a format that this version does not know.
    """
    size = _HEADER.size
    if len(data) < HEADER_BYTES or crc32(data[:size]) != _SIZE.unpack_from(data, size)[0]:
        return None
    magic, version, order, log_id, boot, wall_us, mono_ns, number, _, _, level = _HEADER.unpack_from(data)
    if (magic, order) != (MAGIC, BYTE_ORDER) or version not in READABLE_VERSIONS or level >= len(LEVELS):
        raise CorruptLog(
            f"segment format {magic!r} version {version}, byte order {order:#x}, level {level}: this reader knows"
            f" {MAGIC!r} version {FORMAT_VERSION} and older; read it with the version of Pointsman that wrote it"
        )
    return Header(log_id, boot, wall_us, mono_ns, number, LEVELS[level])


def encode_witness(witness: Witness, seed: int) -> bytes:
    """One slot of the witness."""
    fields = _WITNESS.pack(witness.seq, witness.end)
    return fields + _SIZE.pack(crc32(fields, seed))


def decode_witness(data: bytes, seed: int) -> tuple[Witness | None, bool]:
    """The newest witness in the first DATA_START bytes of a segment, and whether both slots are whole."""
    found: list[Witness] = []
    for start in (HEADER_BYTES, HEADER_BYTES + WITNESS_BYTES):
        slot = data[start : start + WITNESS_BYTES]
        fields = slot[: _WITNESS.size]
        if len(slot) == WITNESS_BYTES and crc32(fields, seed) == _SIZE.unpack_from(slot, _WITNESS.size)[0]:
            found.append(Witness(*_WITNESS.unpack(fields)))
    return max(found, default=None), len(found) == 2


def encode_frame(
    seed: int, seq: int, mono_ns: int, kind: int, payload: bytes, flags: int = 0, shared: int = 0
) -> bytes:
    """One frame; not of a record that shares its beginning."""
    size = len(payload) + FRAME_OVERHEAD
    assert size <= FRAME_BYTES_MAX, size
    body = _BODY.pack(seq, mono_ns, kind, flags, shared) + payload + _SIZE.pack(size)
    return _LEAD.pack(size, crc32(body, seed)) + body


def encode_batch(
    seed: int, acknowledged: int, seq: int, mono_ns: int, records: Iterable[Record], previous: bytes
) -> Encoded:
    """Records as frames seq + 1, seq + 2... and their COMMIT.

    Seqs between `acknowledged` and `seq` were handed out by batches that failed: a LOSS frame says that they were
    refused, so that nobody takes the hole for a loss. `previous` is the chain after the last acknowledged batch.
    """
    frames = []
    if seq > acknowledged:
        frames.append(encode_frame(seed, seq, mono_ns, Kind.LOSS, _LOSS.pack(acknowledged + 1, seq)))
    count = seq
    join, body_of, size_of, lead_of = b"".join, _BODY.pack, _SIZE.pack, _LEAD.pack
    beginnings = {b"": (0, seed)}
    for (
        kind,
        beginning,
        payload,
    ) in records:  # encode_frame, unrolled: a call a record costs a tenth of the whole append
        if beginning not in beginnings:
            number = len(beginnings)
            frames.append(encode_frame(seed, count, mono_ns, Kind.SHARED, beginning, shared=number))
            beginnings[beginning] = (number, crc32(beginning, seed))
        shared, start = beginnings[beginning]
        count += 1
        size = len(payload) + FRAME_OVERHEAD
        body = join((body_of(count, mono_ns, kind, 0, shared), payload, size_of(size)))
        frames.append(lead_of(size, crc32(body, start)))
        frames.append(body)
    data = join(frames)
    chain = link(previous, data)
    commit = _COMMIT.pack(acknowledged + 1, count - seq, len(data), previous, chain)
    return Encoded(data + encode_frame(seed, count, mono_ns, Kind.COMMIT, commit), acknowledged + 1, count, chain)


def encode_seal(seed: int, seq: int, mono_ns: int, chain: bytes, *, final: bool) -> bytes:
    """The frame that ends a segment; `final` ends the log."""
    return encode_frame(seed, seq, mono_ns, Kind.SEAL, chain, FINAL if final else 0)


def decode_frame(buffer: bytes, start: int, seed: int, beginnings: Iterable[bytes] = ()) -> Frame | None:
    """The frame at `start`, or None where there is no whole frame of this log. A record that shares its beginning is whole
    where one of these `beginnings` is its own, which its checksum tells.
    """
    if start + FRAME_OVERHEAD > len(buffer):
        return None
    size, crc, seq, _, kind, flags, shared = _PREFIX.unpack_from(buffer, start)
    end = start + size
    if not FRAME_OVERHEAD <= size <= FRAME_BYTES_MAX or end > len(buffer):
        return None
    if _SIZE.unpack_from(buffer, end - _SIZE.size)[0] != size:
        return None
    body = memoryview(buffer)[start + _LEAD.size : end]
    for beginning in beginnings if shared and kind != Kind.SHARED else (b"",):
        if crc32(body, crc32(beginning, seed)) == crc:
            payload = beginning + buffer[start + _PREFIX.size : end - _SIZE.size]
            return Frame(seq, kind, flags, payload, start, end)
    return None


def decode_commit(frame: Frame) -> Commit:
    """What a COMMIT frame says."""
    first_seq, records, size, previous, chain = _COMMIT.unpack(frame.payload)
    return Commit(first_seq, frame.seq, records, size, previous, chain)


def decode_loss(payload: bytes) -> tuple[int, int]:
    """The first and last seq that a LOSS frame says were refused."""
    first, last = _LOSS.unpack(payload)
    return first, last
