"""Records of one version in one variant as arrays, whatever they were made of.

Enters: arrays of some records. Leaves: those of all of them. Never looks at a value.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.counts.columns import Floats, Ints

Masks = npt.NDArray[np.uint64]
Tally = Counter[tuple[str, str]]
"""(what, of which feature) -> how often."""


class Gathered(NamedTuple):
    """Records as arrays. Of each record: id, where it stands in the log, times, its cell of `statuses`, whether it was the
    answer and whether it stood in for another variant, and its rows. Of each row: the numeric features [numeric, n], the
    cells of the categorical ones [categorical, n], its slices (bit i - 1 for slice i) [n] and its prediction [n, values].
    """

    ids: Sequence[str]
    logs: Sequence[int]
    seqs: Sequence[int]
    events: Sequence[int]
    received: Sequence[int]
    statuses: Sequence[int]
    answered: Sequence[bool]
    stood_in: Sequence[bool]
    rows: Sequence[int]
    numbers: Floats
    categories: Ints
    masks: Masks
    values: Floats


def concatenated(parts: Sequence[Gathered]) -> Gathered:
    """All parts as one."""
    if len(parts) == 1:
        return parts[0]
    *lists, numbers, categories, masks, values = zip(*parts, strict=True)
    joined: list[Any] = [list(chain.from_iterable(pieces)) for pieces in lists]
    joined += [np.concatenate(numbers, axis=1), np.concatenate(categories, axis=1)]
    return Gathered._make([*joined, np.concatenate(masks), np.concatenate(values)])
