"""Entries of the log -> decoded records that were not counted before.

Enters: entries, and which seqs of which log are counted. Leaves: predictions by the version and variant that made them,
labels, the seqs that are counted then, and tallies. A record that cannot be read is tallied with the reason and counted as
seen: it never stops the ones after it, and never raises.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import compress, groupby
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from contracts.label import Label
from contracts.prediction import Prediction
from monitor.ballot import LabelOf, label_of
from monitor.join_record import ID_CHARS_MAX, ROWS_MAX
from monitor.panes import TIME_US_MAX
from prediction_log.intervals import Interval, add
from prediction_log.reader import Entry
from prediction_log.segment import Kind

CHUNK_BYTES: Final = 2**18
"""Payload bytes that are decoded and counted in one go: small enough for the processor's cache, several times faster."""

Seen = dict[str, list[Interval]]
VersionKey = tuple[str, str, str, str]
"""(model, version, digest, variant)."""


class Fresh(NamedTuple):
    """Entries that were not counted before; `seen` holds the logs whose counted seqs change; `duplicates` were dropped."""

    entries: list[Entry]
    seen: Seen
    duplicates: int


class Batch(NamedTuple):
    """Predictions of one version in one variant, and where each stands: the number of its log, and its seq there."""

    logs: list[int]
    seqs: list[int]
    predictions: list[Prediction]

    def where(self, wanted: Sequence[bool]) -> "Batch":
        """Those that are wanted."""
        logs, seqs, predictions = self
        return Batch(list(compress(logs, wanted)), list(compress(seqs, wanted)), list(compress(predictions, wanted)))


class Decoded(NamedTuple):
    """One chunk: predictions by who made them, and labels."""

    batches: dict[VersionKey, Batch]
    labels: list[LabelOf]


class Intake:
    """Decodes; `tally` counts (what, reason). `log_number` gives a log's number by its id."""

    def __init__(self, log_number: Callable[[str], int]) -> None:
        self._log_number = log_number
        self.tally: Counter[tuple[str, str]] = Counter()
        self._prediction = msgspec.json.Decoder(Prediction).decode
        self._label = msgspec.json.Decoder(Label).decode

    def decode(self, entries: Sequence[Entry]) -> Decoded:
        """The records of one chunk."""
        labels: list[LabelOf] = []
        for _, label in self._decoded(self._label, [entry for entry in entries if entry.kind == Kind.LABEL]):
            self._take(label_of(label), labels)
        predictions = [entry for entry in entries if entry.kind == Kind.PREDICTION]
        return Decoded(self._batches(self._decoded(self._prediction, predictions)), labels)

    def _batches(self, decoded: Sequence[tuple[Entry, Prediction]]) -> dict[VersionKey, Batch]:
        if not decoded:
            return {}
        entries, records = zip(*decoded, strict=True)
        numbers = {log_id: self._log_number(log_id) for log_id in {entry.log_id for entry in entries}}
        batch = Batch([numbers[entry.log_id] for entry in entries], [entry.seq for entry in entries], list(records))
        inside = [_in_bounds(record) for record in records]
        if not all(inside):
            self.tally["records_undecodable", "out_of_range"] += inside.count(False)
            batch = batch.where(inside)
        keys = [(record.model, record.version, record.digest, record.variant) for record in batch.predictions]
        found = set(keys)
        if len(found) == 1:
            return {keys[0]: batch}
        return {key: batch.where([own == key for own in keys]) for key in sorted(found)}

    def _take(self, label: LabelOf | str, labels: list[LabelOf]) -> None:
        self.tally["labels_received", ""] += 1
        if isinstance(label, str):
            self.tally["labels_invalid", label] += 1
        else:
            labels.append(label)

    def _decoded(self, decode: Callable[[bytes], Any], entries: Sequence[Entry]) -> list[tuple[Entry, Any]]:
        try:
            return list(zip(entries, map(decode, [entry.payload for entry in entries]), strict=True))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return list(self._decoded_singly(decode, entries))

    def _decoded_singly(self, decode: Callable[[bytes], Any], entries: Sequence[Entry]) -> Iterator[tuple[Entry, Any]]:
        for entry in entries:
            try:
                record = decode(entry.payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self.tally["records_undecodable", entry.kind.name.lower()] += 1
            else:
                yield entry, record


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
    seqs = [entry.seq for entry in run]
    if first > newest and seqs == list(range(first, last + 1)):
        add(intervals, first, last)
        return run
    kept = []
    for entry in run:
        if not any(low <= entry.seq <= high for low, high in intervals):
            add(intervals, entry.seq, entry.seq)
            kept.append(entry)
    return kept


def _in_bounds(prediction: Prediction) -> bool:
    times = prediction.event_us | prediction.received_us  # negative if one is, and as long as the longer
    return (
        0 <= times < TIME_US_MAX and 0 <= prediction.rows <= ROWS_MAX and len(prediction.prediction_id) <= ID_CHARS_MAX
    )
