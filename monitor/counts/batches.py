"""Decoded records of one chunk -> batches: the records of one version in one variant, field by field.

Enters: entries and their records, as decoded. Leaves: a batch a version and variant; and, told to `refuse`, the entries
whose record cannot be counted. Fields are turned into columns once, for all records together: what is asked of every record
is asked of a column.
"""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec.structs import astuple

from contracts.prediction import Output
from monitor.counts.columns import Bools
from monitor.counts.join_record import ID_CHARS_MAX, ROWS_MAX
from monitor.counts.panes import TIME_US_MAX
from monitor.counts.record_type import Record
from monitor.counts.sheets import Refuse, VersionKey
from prediction_log.position import Entry


class Batch(NamedTuple):
    """Predictions of one version in one variant as columns, and where each stands: the number of its log, and its seq
    there. `features` are as `monitor.counts.record_type` decodes them; the others are as in
    `contracts.prediction.Prediction`.
    """

    logs: Sequence[int]
    seqs: Sequence[int]
    ids: Sequence[str]
    received: Sequence[int]
    events: Sequence[int]
    answered: Sequence[bool]
    rows: Sequence[int]
    features: Sequence[Any]
    outputs: Sequence[dict[str, Output]]
    statuses: Sequence[str]
    fallbacks: Sequence[str | None]

    def where(self, wanted: Sequence[bool]) -> "Batch":
        """Those that are wanted."""
        return Batch._make([list(compress(column, wanted)) for column in self])

    def times(self) -> tuple[Sequence[int], Sequence[int]]:
        """When each happened and when it was received, in microseconds."""
        return self.events, self.received


NOTHING: Final = Batch._make([()] * len(Batch._fields))
"""No predictions."""


def batches_of(
    entries: Sequence[Entry], records: Sequence[Record], log_number: Callable[[str], int], refuse: Refuse
) -> list[tuple[VersionKey, Batch]]:
    """The batches of these records, in order of their keys; `log_number` gives a log's number by its id."""
    if not records:
        return []
    log_ids, seqs, _, payloads, *_ = zip(*entries, strict=True)
    _, ids, received, events, *key, answered, rows, features, outputs, statuses, fallbacks = zip(
        *map(astuple, records), strict=True
    )
    numbers = {log_id: log_number(log_id) for log_id in set(log_ids)}
    logs = [numbers[log_id] for log_id in log_ids]
    batch = Batch(logs, seqs, ids, received, events, answered, rows, features, outputs, statuses, fallbacks)
    inside = _in_bounds(batch, payloads)
    if not inside.all():
        for entry in compress(entries, ~inside):
            refuse(entry, "out_of_range")
        wanted = inside.tolist()
        batch, key = batch.where(wanted), [tuple(compress(column, wanted)) for column in key]
    return _by_key(batch, key)


def _by_key(batch: Batch, columns: Sequence[Sequence[str]]) -> list[tuple[VersionKey, Batch]]:
    if not batch.seqs:
        return []
    if all(column.count(column[0]) == len(column) for column in columns):
        model, version, digest, variant = (column[0] for column in columns)
        return [((model, version, digest, variant), batch)]
    keys = list(zip(*columns, strict=True))
    return [(key, batch.where([own == key for own in keys])) for key in sorted(set(keys))]


def _in_bounds(batch: Batch, payloads: Sequence[bytes]) -> Bools:
    """Whether times, rows and id are such as can be counted; so many bytes cannot hold more rows than that: [records]."""
    rows_max = np.minimum(np.fromiter(map(len, payloads), np.int64, len(payloads)), ROWS_MAX)
    events, received, rows = (_bounded(column) for column in (batch.events, batch.received, batch.rows))
    times = events | received  # negative if one is, and as long as the longer
    inside = (times >= 0) & (times < TIME_US_MAX) & (rows >= 0) & (rows <= rows_max)
    if max(map(len, batch.ids)) > ID_CHARS_MAX:
        inside &= np.fromiter(map(len, batch.ids), np.int64, len(batch.ids)) <= ID_CHARS_MAX
    return np.asarray(inside)


def _bounded(numbers: Sequence[int]) -> Any:
    """As int64: [n]; what does not fit is -1, which is out of all bounds."""
    try:
        return np.array(numbers, np.int64)
    except OverflowError:
        return np.array([number if 0 <= number < 2**63 else -1 for number in numbers], np.int64)
