"""Summaries: the exact integer counts of many (series, pane) buckets, sparse; they add and they subtract.

Enters: marks (which cells a row touches, in which pane and slices), or summaries. Leaves: summaries, always in one form:
buckets and cells ascending, no cell twice, no zero. So equal counts are equal arrays, whatever order they came in.
Never looks at a value, a clock or a disk.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.counts.columns import Ints
from monitor.counts.panes import bucket_of, series_of

ROWS_AT_ONCE: Final = 16_384
"""Rows that are counted in one go: what bounds the memory of a batch of large requests."""


class SummaryKey(NamedTuple):
    """Whose counts a vector holds. Counts under different reference hashes never merge."""

    model: str
    version: str
    digest: str
    reference_hash: str
    variant: str
    slice: str
    pane_start_us: int


class Summaries(NamedTuple):
    """Bucket i has the cells [starts[i], starts[i + 1]). Shapes: buckets [b], starts [b + 1], cells and counts [n]."""

    buckets: Ints
    starts: Ints
    cells: Ints
    counts: Ints


class Marks(NamedTuple):
    """What rows add: row i adds weights[j, i] (1 without weights) to cells[j, i], in panes[i], in the slice `all` and in
    every slice whose bit stands in masks[i]. Shapes: cells and weights [m, n] int64, panes [n] int64, masks [n] uint64.
    """

    cells: Ints
    weights: Ints | None
    panes: Ints
    masks: npt.NDArray[np.uint64]


def empty() -> Summaries:
    """No counts."""
    none = np.zeros(0, np.int64)
    return Summaries(none, np.zeros(1, np.int64), none, none)


def update(summaries: Summaries, group: int, size: int, marks: Marks) -> Summaries:
    """The summaries with these rows of one group added; `size` is its layout's."""
    blocks = [_block(marks, start) for start in range(0, len(marks.panes), ROWS_AT_ONCE)]
    return merge([summaries, *(_counted(group, size, block) for block in blocks)])


def merge(parts: Sequence[Summaries]) -> Summaries:
    """The sum of summaries, in any order."""
    full = [part for part in parts if len(part.buckets)]
    if len(full) <= 1:
        return full[0] if full else empty()
    buckets = np.unique(np.concatenate([part.buckets for part in full]))
    owners = np.concatenate([np.repeat(np.searchsorted(buckets, part.buckets), np.diff(part.starts)) for part in full])
    cells = np.concatenate([part.cells for part in full])
    return added_up(buckets, owners, cells, np.concatenate([part.counts for part in full]))


def subtract(left: Summaries, right: Summaries) -> Summaries:
    """`left` without what `right` added to it."""
    return merge([left, right._replace(counts=-right.counts)])


def added_up(buckets: Ints, owners: Ints, cells: Ints, counts: Ints) -> Summaries:
    """Summaries from loose counts: counts[i] belongs to cells[i] of buckets[owners[i]]; `buckets` ascending, unique."""
    size = int(cells.max(initial=0)) + 1
    keys, sums = _added(owners * size + cells, counts)
    return _of_keys(buckets, size, keys, sums)


def part(summaries: Summaries, first: int, end: int) -> Summaries:
    """The buckets [first, end), by their place."""
    cells = slice(int(summaries.starts[first]), int(summaries.starts[end]))
    starts = summaries.starts[first : end + 1] - summaries.starts[first]
    return Summaries(summaries.buckets[first:end], starts, summaries.cells[cells], summaries.counts[cells])


def dense(summaries: Summaries, size: int) -> Ints:
    """All buckets added up, as one vector: [size]."""
    vector = np.zeros(size, np.int64)
    np.add.at(vector, summaries.cells, summaries.counts)
    return vector


def sparse(bucket: int, vector: Ints) -> Summaries:
    """One bucket's vector as summaries."""
    cells = np.flatnonzero(vector)
    return _of_keys(np.array([bucket], np.int64), len(vector), cells, vector[cells])


def _block(marks: Marks, start: int) -> Marks:
    rows = slice(start, start + ROWS_AT_ONCE)
    weights = None if marks.weights is None else marks.weights[:, rows]
    return Marks(marks.cells[:, rows], weights, marks.panes[rows], marks.masks[rows])


def _counted(group: int, size: int, marks: Marks) -> Summaries:
    rows, slices = _memberships(marks.masks)
    buckets, owners = np.unique(bucket_of(series_of(group, slices), marks.panes[rows]), return_inverse=True)
    keys = (owners * size + marks.cells[:, rows]).ravel()
    if marks.weights is not None:
        return _of_keys(buckets, size, *_added(keys, marks.weights[:, rows].ravel()))
    return _of_keys(buckets, size, *_tallied(keys, len(buckets) * size))


def _memberships(masks: npt.NDArray[np.uint64]) -> tuple[Ints, Ints]:
    """Every (row, slice) pair: all rows in slice 0, then each declared slice's own."""
    rows, slices = [np.arange(len(masks))], [np.zeros(len(masks), np.int64)]
    used = int(np.bitwise_or.reduce(masks, initial=0))
    for bit in range(used.bit_length()):
        if used >> bit & 1:
            members = np.flatnonzero(masks & np.uint64(1 << bit))
            rows.append(members)
            slices.append(np.full(len(members), bit + 1, np.int64))
    return np.concatenate(rows), np.concatenate(slices)


def _tallied(keys: Ints, space: int) -> tuple[Ints, Ints]:
    if space <= 4 * len(keys):  # dense enough for a table; else sorting touches less memory
        table = np.bincount(keys, minlength=space)
        found = np.flatnonzero(table)
        return found, table[found]
    return np.unique(keys, return_counts=True)


def _added(keys: Ints, counts: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    sums = np.add.reduceat(counts[order], firsts) if len(firsts) else counts
    kept = np.flatnonzero(sums)
    return keys[firsts][kept], sums[kept]


def _of_keys(buckets: Ints, size: int, keys: Ints, counts: Ints) -> Summaries:
    starts = np.searchsorted(keys, np.arange(len(buckets) + 1) * size)
    full = np.diff(starts) > 0
    return Summaries(buckets[full], np.append(starts[:-1][full], starts[-1]), keys % size, counts)
