"""A bounded stretch of a segment file, moved forward batch by batch.

Enters: a descriptor and the offset of a batch boundary. Leaves: batches, or why there is none at `offset`. Holds
`WINDOW_BYTES`, or one batch where that is larger; never the file.
"""

import os
from typing import Final

from prediction_log.spool.disk import data_end
from prediction_log.spool.scan import WHOLE_BATCH_BYTES_MAX, Batch, Seal, Stop, next_batch

WINDOW_BYTES: Final = 256 * 2**10


_SIZE_BYTES: Final = 4
"""The size that ends a frame may itself end in zeros."""


class Window:
    """Reads batches from `offset` on; `offset` is where the next one starts."""

    def __init__(self, fd: int, offset: int, seed: int) -> None:
        self._fd = fd
        self._seed = seed
        self._base = offset
        self._at = 0
        self._data = b""

    @property
    def offset(self) -> int:
        """Where in the file the next batch starts."""
        return self._base + self._at

    def next(self) -> Batch | Seal | Stop:
        """What stands at `offset`; after a batch `offset` is its end. Never `Stop.SHORT`: the file's end decides."""
        size = WINDOW_BYTES
        while True:
            found = next_batch(self._data, self._at, self._seed)
            if isinstance(found, Batch):
                self._at = found.end
                return found
            if found is not Stop.SHORT:
                return found
            had = len(self._data) - self._at
            self._base, self._at = self.offset, 0
            self._data = os.pread(self._fd, max(size, 2 * had), self._base)
            if len(self._data) <= had or had > WHOLE_BATCH_BYTES_MAX:
                return Stop.BAD if any(self._data) else Stop.CLEAN


def rest_of(fd: int, offset: int) -> bytes:
    """Everything from `offset` to the last byte that is not zero, none where all is zeros; only read where there may be
    damage, and at most one segment.
    """
    end = data_end(fd, offset)
    if end == offset:
        return b""
    return os.pread(fd, end - offset + _SIZE_BYTES, offset)
