"""Entries of the log -> decoded records that were not counted before.

Enters: entries, and which seqs of which log are counted. Leaves: predictions by the version and variant that made them,
labels, the seqs that are counted then, and tallies. A record that cannot be read is tallied with the reason and counted as
seen: it never stops the ones after it, and never raises.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from operator import itemgetter, le, lt
from typing import Final, NamedTuple

import msgspec

from contracts import wire
from contracts.errors import InvalidRecord
from contracts.label import Label
from monitor.counts.ballot import LabelOf, label_of
from monitor.counts.batches import Batch, batches_of
from monitor.counts.record_type import Record, RecordDecoder
from monitor.counts.sheets import Sheet, VersionKey, sheets_of
from prediction_log.compact import MARK
from prediction_log.intervals import Interval, add
from prediction_log.spool.reader import Entry
from prediction_log.spool.segment import Kind

CHUNK_BYTES: Final = 2**18
"""Payload bytes that are decoded and counted in one go: small enough for the processor's cache, several times faster."""
COMPACT_SHARE: Final = 8
"""Of a compact record no objects are made, and what is done once for a chunk weighs more."""

_UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Seen = dict[str, list[Interval]]
Tally = Counter[tuple[str, str]]


class Fresh(NamedTuple):
    """Entries that were not counted before; `seen` holds the logs whose counted seqs change; `duplicates` were dropped."""

    entries: list[Entry]
    seen: Seen
    duplicates: int


class Decoded(NamedTuple):
    """One chunk: predictions by who made them, labels, a tally of (what, reason), and the entries that are no records. Of
    one version in one variant there may be several batches.
    """

    batches: list[tuple[VersionKey, Batch | Sheet]]
    labels: list[LabelOf]
    tally: Tally
    unreadable: list[Entry]


class _Odd(NamedTuple):
    """What is tallied while a chunk is decoded, and what of it is no record."""

    tally: Tally
    unreadable: list[Entry]

    def refuse(self, entry: Entry, reason: str) -> None:
        """This entry is no record."""
        self.tally["records_undecodable", reason] += 1
        self.unreadable.append(entry)


def decode(entries: Sequence[Entry], decoder: RecordDecoder, log_number: Callable[[str], int]) -> Decoded:
    """The records of one chunk; `log_number` gives a log's number by its id."""
    odd = _Odd(Counter(), [])
    prediction, label = Kind.PREDICTION, Kind.LABEL
    predictions = [entry for entry in entries if entry.kind is prediction]
    compact = [entry for entry in predictions if entry.payload.startswith(MARK)]
    plain = predictions
    if compact:
        plain = [entry for entry in predictions if not entry.payload.startswith(MARK)]
    batches: list[tuple[VersionKey, Batch | Sheet]] = []
    batches += batches_of(*_decoded(decoder, plain, odd), log_number, odd.refuse)
    batches += sheets_of(compact, log_number, odd.refuse)
    labels = list(_labels([entry for entry in entries if entry.kind is label], odd))
    return Decoded(batches, labels, odd.tally, odd.unreadable)


def fresh(entries: Sequence[Entry], seen: Mapping[str, Sequence[Interval]]) -> Fresh:
    """The entries whose seq was not counted before, each once, log by log. Counted are then also the seqs since the one
    before it in its stream: the stream holds none of those in between.
    """
    found = Fresh([], {}, 0)
    by_log: dict[str, list[Entry]] = {}
    for entry in entries:
        by_log.setdefault(entry.log_id, []).append(entry)
    for log_id, run in by_log.items():
        intervals = found.seen[log_id] = list(seen.get(log_id, ()))
        found.entries.extend(_not_counted(run, intervals))
    return found._replace(duplicates=len(entries) - len(found.entries))


def covers(intervals: Sequence[Interval], seq: int) -> bool:
    """Whether the set holds `seq`."""
    place = bisect_right(intervals, seq, key=itemgetter(0)) - 1
    return place >= 0 and seq <= intervals[place][1]


def chunks(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """The entries in runs of about CHUNK_BYTES; what is compact takes COMPACT_SHARE of the room."""
    payloads = [entry.payload for entry in entries]
    sizes = [len(payload) // COMPACT_SHARE if payload.startswith(MARK) else len(payload) for payload in payloads]
    ends = list(accumulate(sizes))
    start = size = 0
    while start < len(entries):
        end = bisect_left(ends, size + CHUNK_BYTES, start) + 1
        yield entries[start:end]
        start, size = end, ends[min(end, len(ends)) - 1]


def _not_counted(run: Sequence[Entry], intervals: list[Interval]) -> Sequence[Entry]:
    seqs = [entry.seq for entry in run]
    afters = [entry.seq - 1 if entry.after is None else min(entry.after, entry.seq - 1) for entry in run]
    newest = intervals[-1][1] if intervals else -1
    if seqs[0] > newest and all(map(lt, seqs, seqs[1:])) and all(map(le, afters[1:], seqs)):
        add(intervals, min(afters) + 1, seqs[-1])  # all new, no gap between any two
        return run
    kept = []
    for entry, after in zip(run, afters, strict=True):
        if not covers(intervals, entry.seq):
            add(intervals, after + 1, entry.seq)
            kept.append(entry)
    return kept


def _labels(entries: Sequence[Entry], odd: _Odd) -> Iterator[LabelOf]:
    for entry in entries:
        try:
            label = label_of(wire.decode(Label, entry.payload))
        except InvalidRecord:
            odd.refuse(entry, "label")
            continue
        odd.tally["labels_received", ""] += 1
        if isinstance(label, str):
            odd.tally["labels_invalid", label] += 1
        else:
            yield label


def _decoded(decoder: RecordDecoder, entries: Sequence[Entry], odd: _Odd) -> tuple[Sequence[Entry], Sequence[Record]]:
    """The entries that are records, and these."""
    payloads = [entry.payload for entry in entries]
    for decode_all in (decoder.decode_single, decoder.decode):
        try:
            return entries, list(map(decode_all, payloads))
        except _UNDECODABLE:  # not single rows; or one of them is no record
            continue
    return _decoded_singly(decoder, entries, odd)


def _decoded_singly(
    decoder: RecordDecoder, entries: Sequence[Entry], odd: _Odd
) -> tuple[Sequence[Entry], Sequence[Record]]:
    found, records = [], []
    for entry in entries:
        try:
            records.append(decoder.decode(entry.payload))
        except _UNDECODABLE:
            odd.refuse(entry, "prediction")
        else:
            found.append(entry)
    return found, records
