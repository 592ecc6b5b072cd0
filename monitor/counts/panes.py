"""Event time -> pane, and the number under which one version's counts of one slice and pane are added up.

Enters: microseconds since the epoch, a group's number (a version in a variant) and a slice's. Leaves: integers that sort by
group, then slice, then time. Never counts.

    bucket = group | slice (6 bits) | pane (25 bits)         series = bucket without the pane

25 bits of five-minute panes reach beyond the last time that counts, 6 bits are `all` and 63 declared slices.
"""

from typing import Any, Final

import numpy as np

PANE_US: Final = 300_000_000
DAY_PANES: Final = 288
PANE_BITS: Final = 25
SLICE_BITS: Final = 6
SLICES_MAX: Final = 2**SLICE_BITS - 1
"""Declared slices of one version that are counted; the first ones win."""
TIME_US_MAX: Final = 2**53
"""Times lie in [0, TIME_US_MAX), up to the year 2255: a power of two that the pane's bits can hold."""
GROUPS_MAX: Final = 2 ** (63 - PANE_BITS - SLICE_BITS)
ALL: Final = "all"
"""The slice of all traffic; its number is 0, the declared slices are 1, 2, 3... in the order of declaration."""

_PANE_MASK: Final = 2**PANE_BITS - 1


def pane_of(event_us: int) -> int:
    """The pane of an event: tumbling windows of PANE_US, aligned to the epoch."""
    return event_us // PANE_US


def series_of(group: Any, slice_number: Any) -> Any:
    """The series of a group's slice; integers or arrays of int64."""
    return (group << SLICE_BITS) | slice_number


def bucket_of(series: Any, pane: Any) -> Any:
    """The bucket of a series' pane; integers or arrays of int64."""
    return (series << PANE_BITS) | pane


def pane_of_bucket(bucket: Any) -> Any:
    """The pane of a bucket."""
    return bucket & _PANE_MASK


def series_of_bucket(bucket: Any) -> Any:
    """The series of a bucket."""
    return bucket >> PANE_BITS


def day_of_bucket(bucket: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The buckets of whole UTC days: the same series, with the day's number where the pane's was."""
    days: np.ndarray[Any, np.dtype[np.int64]] = bucket_of(series_of_bucket(bucket), pane_of_bucket(bucket) // DAY_PANES)
    return days
