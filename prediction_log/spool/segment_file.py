"""A segment that is being written: made whole before it is used, then only appended to.

Enters: encoded batches. Leaves: bytes on disk in the order that makes a crash readable: batch, sync, witness. Any OSError
leaves the file poisoned: after a failed write or sync nobody knows what the kernel kept, so it is never written again.
"""

import contextlib
import os
from pathlib import Path

from prediction_log.spool.disk import Disk, allocate, demand_free, sync_data, sync_directory, write_all
from prediction_log.spool.places import segment_path
from prediction_log.spool.segment import (
    DATA_START,
    HEADER_BYTES,
    SEAL_BYTES,
    WITNESS_BYTES,
    Encoded,
    Header,
    Witness,
    encode_header,
    encode_witness,
    seed_of,
)


class SegmentFile:
    """One open segment. `offset` is where the next batch goes; `used_ns` when the first one came (monotonic)."""

    def __init__(self, disk: Disk, path: Path, fd: int, seed: int, bytes_max: int) -> None:
        self.path = path
        self.offset = DATA_START
        self.used_ns: int | None = None
        self._disk = disk
        self._fd = fd
        self._seed = seed
        self._bytes_max = bytes_max
        self._slot = 0

    def has_room(self, size: int) -> bool:
        """Whether a batch of `size` bytes fits; an unused segment takes any."""
        return self.offset == DATA_START or self.offset + size + SEAL_BYTES <= self._bytes_max

    def store(self, batch: Encoded) -> None:
        """Write a batch and its witness: in the kernel's hands when this returns."""
        write_all(self._disk, self._fd, batch.data, self.offset)
        self._bear_witness(batch)

    def store_synced(self, batch: Encoded) -> None:
        """Write a batch and its witness: on the disk itself when this returns."""
        write_all(self._disk, self._fd, batch.data, self.offset)
        sync_data(self._disk, self._fd)
        self._bear_witness(batch)

    def _bear_witness(self, batch: Encoded) -> None:
        self.offset += len(batch.data)
        self._slot ^= 1
        witness = encode_witness(Witness(batch.last_seq, self.offset), self._seed)
        write_all(self._disk, self._fd, witness, HEADER_BYTES + WITNESS_BYTES * self._slot)

    def seal(self, frame: bytes) -> None:
        """End the segment: no more zeros after the seal, everything synced, closed."""
        try:
            write_all(self._disk, self._fd, frame, self.offset)
            self._disk(os.ftruncate, self._fd, self.offset + len(frame))
            self._disk(os.fsync, self._fd)
        finally:
            self.close()

    def discard(self) -> None:
        """Remove a segment that was never used."""
        assert self.used_ns is None
        self.close()
        self._disk(os.unlink, self.path)

    def close(self) -> None:
        """Let go of the file as it is."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._disk(os.close, fd)


def create_segment(disk: Disk, directory: Path, header: Header, bytes_max: int, bytes_reserved: int) -> SegmentFile:
    """Make the next segment: it gets its name only when its header is on the disk and its space is reserved.

    Raises OSError where the disk refuses, or where fewer than `bytes_reserved` bytes would stay free; then nothing of it
    is left behind.
    """
    demand_free(disk, directory, bytes_reserved + bytes_max)
    path = segment_path(directory, header.number)
    temporary = path.with_suffix(".tmp")
    seed = seed_of(header.log_id)
    fd = disk(os.open, temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(disk, fd, encode_header(header) + 2 * encode_witness(Witness(0, DATA_START), seed), 0)
        allocate(disk, fd, max(bytes_max, DATA_START))
        disk(os.fsync, fd)
        disk(os.rename, temporary, path)
        sync_directory(disk, directory)
    except OSError:
        os.close(fd)
        for leftover in (temporary, path):
            with contextlib.suppress(OSError):  # the first error is the one to tell; a left file costs only space
                leftover.unlink()
        raise
    return SegmentFile(disk, path, fd, seed, bytes_max)
