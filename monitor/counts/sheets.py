"""Compact entries of one chunk -> sheets: the records of one version in one variant as columns, never as records.

Enters: entries with compact payloads. Leaves: a sheet a version, variant and way in which features and outputs lie, whoever
wrote them; and, told to `refuse`, the entries that hold no record, or one that cannot be counted. Never raises on a payload.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np

from contracts.errors import InvalidRecord
from monitor.counts.join_record import ROWS_MAX
from monitor.counts.panes import TIME_US_MAX
from prediction_log.columns import Columns, columns_of, grouped
from prediction_log.compact import Layout, form_of
from prediction_log.position import Entry

VersionKey = tuple[str, str, str, str]
"""(model, version, digest, variant)."""
Refuse = Callable[[Entry, str], None]
"""Takes an entry that is no record, and why."""


class Sheet(NamedTuple):
    """Compact predictions of one version in one variant, and where each stands: the number of its log, and its seq there."""

    logs: list[int]
    seqs: list[int]
    columns: Columns
    entries: Sequence[Entry]
    prefixes: Sequence[bytes]

    def where(self, wanted: Sequence[bool]) -> "Sheet":
        """Those that are wanted, read again."""
        entries, prefixes = list(compress(self.entries, wanted)), list(compress(self.prefixes, wanted))
        logs, seqs = list(compress(self.logs, wanted)), list(compress(self.seqs, wanted))
        return Sheet(logs, seqs, _columns(entries, prefixes), entries, prefixes)

    def times(self) -> tuple[list[int], list[int]]:
        """When each happened and when it was received, in microseconds."""
        fixed = self.columns.fixed
        return fixed["event_us"].tolist(), fixed["received_us"].tolist()


def sheets_of(
    entries: Sequence[Entry], log_number: Callable[[str], int], refuse: Refuse
) -> list[tuple[VersionKey, Sheet]]:
    """The sheets of these entries, in order of their keys; `log_number` gives a log's number by its id."""
    if not entries:
        return []
    try:
        sheets = _sheets(entries, log_number)
    except InvalidRecord:
        sheets = _sheets(list(_readable(entries, refuse)), log_number)
    sheets = [(key, _in_bounds(sheet, refuse)) for key, sheet in sheets]
    return sorted([(key, sheet) for key, sheet in sheets if sheet.seqs], key=lambda one: one[0])


def _sheets(entries: Sequence[Entry], log_number: Callable[[str], int]) -> list[tuple[VersionKey, Sheet]]:
    by_kin: dict[object, list[tuple[bytes, list[int]]]] = {}
    for prefix, places in grouped([entry.payload for entry in entries]).items():
        layout = form_of(prefix).layout
        by_kin.setdefault((_key(layout), layout.features, layout.outputs), []).append((prefix, places))
    numbers = {log_id: log_number(log_id) for log_id in {entry.log_id for entry in entries}}
    return [_sheet(entries, members, numbers) for members in by_kin.values()]


def _sheet(
    entries: Sequence[Entry], members: Sequence[tuple[bytes, list[int]]], numbers: dict[str, int]
) -> tuple[VersionKey, Sheet]:
    own = [entries[place] for _, places in members for place in places]
    prefixes = [prefix for prefix, places in members for _ in places]
    logs, seqs = [numbers[entry.log_id] for entry in own], [entry.seq for entry in own]
    return _key(form_of(prefixes[0]).layout), Sheet(logs, seqs, _columns(own, prefixes), own, prefixes)


def _columns(entries: Sequence[Entry], prefixes: Sequence[bytes]) -> Columns:
    return columns_of([entry.payload for entry in entries], prefixes)


def _key(layout: Layout) -> VersionKey:
    return layout.model, layout.version, layout.digest, layout.variant


def _readable(entries: Sequence[Entry], refuse: Refuse) -> Iterator[Entry]:
    """Those that can be read when each is read alone."""
    for entry in entries:
        try:
            columns_of([entry.payload], list(grouped([entry.payload])))
        except InvalidRecord:
            refuse(entry, "prediction")
        else:
            yield entry


def _in_bounds(sheet: Sheet, refuse: Refuse) -> Sheet:
    """Those whose times and rows are such as can be counted; so many bytes cannot hold more rows than that."""
    fixed = sheet.columns.fixed
    times = fixed["event_us"] | fixed["received_us"]  # negative if one is, and as long as the longer
    sizes = np.fromiter((len(entry.payload) for entry in sheet.entries), np.int64, len(sheet.entries))
    inside = (times >= 0) & (times < TIME_US_MAX) & (fixed["rows"] <= np.minimum(sizes, ROWS_MAX))
    if inside.all():
        return sheet
    for entry in compress(sheet.entries, ~inside):
        refuse(entry, "out_of_range")
    if not inside.any():
        return sheet._replace(seqs=[])
    return sheet.where(inside.tolist())
