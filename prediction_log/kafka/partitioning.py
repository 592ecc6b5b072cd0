"""Keys -> partitions, as Java's default partitioner does it: murmur2, its sign bit cleared, modulo the number of partitions.

Enters: keys and how many partitions the law knows. Leaves: one partition a key. Pure. Keys of one length are hashed
together, column by column: ids all have one length, so a thousand of them cost about what one does in plain Python.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_SEED: Final = 0x9747B28C
_M: Final = np.uint32(0x5BD1E995)
_POSITIVE: Final = np.uint32(0x7FFFFFFF)

_U4 = NDArray[np.uint32]


def partitions_of(keys: Sequence[bytes], partitions: int) -> list[int]:
    """The partition of each key."""
    assert partitions > 0, partitions
    by_length: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        by_length.setdefault(len(key), []).append(index)
    if len(by_length) == 1:
        return _partitions(keys, len(keys[0]), partitions)
    result = [0] * len(keys)
    for length, indices in by_length.items():
        found = _partitions([keys[index] for index in indices], length, partitions)
        for index, partition in zip(indices, found, strict=True):
            result[index] = partition
    return result


def _partitions(keys: Sequence[bytes], length: int, partitions: int) -> list[int]:
    hashes = (_murmur2(keys, length) & _POSITIVE) % np.uint32(partitions)
    found: list[int] = hashes.tolist()
    return found


def _murmur2(keys: Sequence[bytes], length: int) -> _U4:
    """The hashes of keys of one length; uint32 arithmetic wraps, as Java's does."""
    words, rest = divmod(length, 4)
    columns = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
    hashes = np.full(len(keys), (_SEED ^ length) & 0xFFFFFFFF, np.uint32)
    blocks = np.ascontiguousarray(columns[:, : 4 * words]).view("<u4")
    for word in range(words):
        block = blocks[:, word] * _M
        block ^= block >> 24
        block *= _M
        hashes *= _M
        hashes ^= block
    if rest:
        for place in reversed(range(rest)):
            hashes ^= _byte(columns, 4 * words + place) << (8 * place)
        hashes *= _M
    hashes ^= hashes >> 13
    hashes *= _M
    hashes ^= hashes >> 15
    return hashes


def _byte(columns: NDArray[Any], place: int) -> _U4:
    return columns[:, place].astype(np.uint32)
