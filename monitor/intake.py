"""Entries of the log -> decoded records that were not counted before.

Enters: entries, and which seqs of which log are counted. Leaves: predictions by the version and variant that made them,
labels, the seqs that are counted then, and tallies. A record that cannot be read is tallied with the reason and counted as
seen: it never stops the ones after it, and never raises.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, groupby
from operator import attrgetter, itemgetter
from typing import Final, NamedTuple

import msgspec

from contracts import wire
from contracts.errors import InvalidRecord
from contracts.label import Label
from monitor.ballot import LabelOf, label_of
from monitor.join_record import ID_CHARS_MAX, ROWS_MAX
from monitor.panes import TIME_US_MAX
from monitor.record_type import Record, RecordDecoder
from prediction_log.intervals import Interval, add
from prediction_log.reader import Entry
from prediction_log.segment import Kind

CHUNK_BYTES: Final = 2**18
"""Payload bytes that are decoded and counted in one go: small enough for the processor's cache, several times faster."""

_UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Seen = dict[str, list[Interval]]
VersionKey = tuple[str, str, str, str]
"""(model, version, digest, variant)."""


Tally = Counter[tuple[str, str]]


class Fresh(NamedTuple):
    """Entries that were not counted before; `seen` holds the logs whose counted seqs change; `duplicates` were dropped."""

    entries: list[Entry]
    seen: Seen
    duplicates: int


class Batch(NamedTuple):
    """Predictions of one version in one variant, and where each stands: the number of its log, and its seq there."""

    logs: list[int]
    seqs: list[int]
    records: list[Record]

    def where(self, wanted: Sequence[bool]) -> "Batch":
        """Those that are wanted."""
        logs, seqs, records = self
        return Batch(list(compress(logs, wanted)), list(compress(seqs, wanted)), list(compress(records, wanted)))


class Decoded(NamedTuple):
    """One chunk: predictions by who made them, labels, and a tally of (what, reason)."""

    batches: dict[VersionKey, Batch]
    labels: list[LabelOf]
    tally: Tally


def decode(entries: Sequence[Entry], decoder: RecordDecoder, log_number: Callable[[str], int]) -> Decoded:
    """The records of one chunk; `log_number` gives a log's number by its id."""
    tally: Tally = Counter()
    prediction, label = Kind.PREDICTION, Kind.LABEL
    predictions = _decoded(decoder, [entry for entry in entries if entry.kind is prediction], tally)
    labels = list(_labels([entry for entry in entries if entry.kind is label], tally))
    return Decoded(_batches(predictions, log_number, tally), labels, tally)


def fresh(entries: Sequence[Entry], seen: Mapping[str, Sequence[Interval]]) -> Fresh:
    """The entries whose seq was not counted before, each once."""
    found = Fresh([], {}, 0)
    for log_id, run in groupby(entries, key=attrgetter("log_id")):
        intervals = found.seen.setdefault(log_id, list(seen.get(log_id, ())))
        found.entries.extend(_not_counted(list(run), intervals))
    return found._replace(duplicates=len(entries) - len(found.entries))


def chunks(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries in runs of about CHUNK_BYTES."""
    start, size = 0, 0
    for end, entry in enumerate(entries, 1):
        size += len(entry.payload)
        if size >= CHUNK_BYTES:
            yield entries[start:end]
            start, size = end, 0
    if start < len(entries):
        yield entries[start:]


def _not_counted(run: Sequence[Entry], intervals: list[Interval]) -> Sequence[Entry]:
    first, last = run[0].seq, run[-1].seq
    newest = intervals[-1][1] if intervals else -1
    if first > newest and [entry.seq for entry in run] == list(range(first, last + 1)):
        add(intervals, first, last)
        return run
    kept = []
    for entry in run:
        place = bisect_right(intervals, entry.seq, key=itemgetter(0)) - 1
        if place < 0 or entry.seq > intervals[place][1]:
            add(intervals, entry.seq, entry.seq)
            kept.append(entry)
    return kept


def _labels(entries: Sequence[Entry], tally: Tally) -> Iterator[LabelOf]:
    for entry in entries:
        try:
            label = label_of(wire.decode(Label, entry.payload))
        except InvalidRecord:
            tally["records_undecodable", "label"] += 1
            continue
        tally["labels_received", ""] += 1
        if isinstance(label, str):
            tally["labels_invalid", label] += 1
        else:
            yield label


def _decoded(decoder: RecordDecoder, entries: Sequence[Entry], tally: Tally) -> list[tuple[Entry, Record]]:
    try:
        return list(zip(entries, map(decoder.decode, [entry.payload for entry in entries]), strict=True))
    except _UNDECODABLE:
        return list(_decoded_singly(decoder, entries, tally))


def _decoded_singly(decoder: RecordDecoder, entries: Sequence[Entry], tally: Tally) -> Iterator[tuple[Entry, Record]]:
    for entry in entries:
        try:
            record = decoder.decode(entry.payload)
        except _UNDECODABLE:
            tally["records_undecodable", "prediction"] += 1
        else:
            yield entry, record


def _batches(
    decoded: Sequence[tuple[Entry, Record]], log_number: Callable[[str], int], tally: Tally
) -> dict[VersionKey, Batch]:
    if not decoded:
        return {}
    entries, records = zip(*decoded, strict=True)
    numbers = {log_id: log_number(log_id) for log_id in {entry.log_id for entry in entries}}
    batch = Batch([numbers[entry.log_id] for entry in entries], [entry.seq for entry in entries], list(records))
    inside = [_in_bounds(record, len(entry.payload)) for entry, record in decoded]
    if not all(inside):
        tally["records_undecodable", "out_of_range"] += inside.count(False)
        batch = batch.where(inside)
    keys = [(record.model, record.version, record.digest, record.variant) for record in batch.records]
    found = set(keys)
    if len(found) == 1:
        return {keys[0]: batch}
    return {key: batch.where([own == key for own in keys]) for key in sorted(found)}


def _in_bounds(record: Record, size: int) -> bool:
    """Whether times, rows and id are such as can be counted; `size` bytes cannot hold more rows than that."""
    times = record.event_us | record.received_us  # negative if one is, and as long as the longer
    rows_max = min(size, ROWS_MAX)
    return 0 <= times < TIME_US_MAX and 0 <= record.rows <= rows_max and len(record.prediction_id) <= ID_CHARS_MAX
