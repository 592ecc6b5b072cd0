"""Which seqs of one log were met, in any order and from many partitions at once.

Enters: seqs, some of them again. Leaves: which were new, and which of a range were never met. Pure. A partition holds every
so-manieth seq of a log, so intervals would be as many as records until the others are read too: seqs are bits here, in
chunks, and a chunk of which every seq was met costs nothing. Bound: one bit a seq in the chunks that are not full.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from prediction_log.intervals import Interval, add

CHUNK_SEQS: Final = 2**16
_SHIFT: Final = 16
_BYTE: Final = np.array([1 << bit for bit in range(8)], np.uint8)

Seqs = NDArray[np.int64]


class SeqSet:
    """A set of seqs; `last` is the greatest, 0 where there is none."""

    def __init__(self) -> None:
        self.last = 0
        self._chunks: dict[int, NDArray[np.uint8] | None] = {}
        self._filled: dict[int, int] = {}

    def add(self, seqs: Seqs) -> NDArray[np.bool_]:
        """Add them; for each whether it was new. Of the same seq twice among them the first is."""
        new = np.zeros(len(seqs), np.bool_)
        distinct, places = np.unique(seqs, return_index=True)
        numbers = distinct >> _SHIFT
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in pairwise([*starts, len(distinct)]):
            new[places[start:end]] = self._add(int(numbers[start]), distinct[start:end] & (CHUNK_SEQS - 1))
        if len(distinct):
            self.last = max(self.last, int(distinct[-1]))
        return new

    def _add(self, number: int, within: Seqs) -> Any:
        if number in self._chunks and self._chunks[number] is None:
            return False
        chunk = self._chunks.setdefault(number, np.zeros(CHUNK_SEQS // 8, np.uint8))
        assert chunk is not None
        where, bit = within >> 3, _BYTE[within & 7]
        new = (chunk[where] & bit) == 0
        np.bitwise_or.at(chunk, where, bit)
        filled = self._filled[number] = self._filled.get(number, 0) + int(new.sum())
        if filled == CHUNK_SEQS - (number == 0):  # there is no seq 0
            self._chunks[number] = None
        return new

    def missing(self, last: int) -> list[Interval]:
        """The seqs of 1..last that are not in the set."""
        result: list[Interval] = []
        start = 1
        for number in sorted(self._chunks):
            chunk, base = self._chunks[number], number * CHUNK_SEQS
            if base > last:
                break
            if base > start:
                add(result, start, base - 1)
            if chunk is not None:
                bits = np.unpackbits(chunk, bitorder="little")[max(start - base, 0) :]
                _add_zeros(result, bits[: last - max(start, base) + 1], max(start, base))
            start = max(start, base + CHUNK_SEQS)
        if start <= last:
            add(result, start, last)
        return result


def _add_zeros(result: list[Interval], bits: NDArray[np.uint8], base: int) -> None:
    """Add the runs of zeros; the first bit is of seq `base`."""
    edges = np.flatnonzero(np.diff(bits, prepend=1, append=1))
    for first, end in edges.reshape(-1, 2).tolist():
        add(result, base + first, base + end - 1)
