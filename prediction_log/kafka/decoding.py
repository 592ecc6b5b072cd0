"""Kafka's messages of one topic-partition -> records, control messages, and dead letters. The monitor's hot path.

Enters: consumer records as aiokafka gives them, in offset order. Leaves: what they hold, in that order, added to a batch.
A message that nothing can be made of becomes a `DeadLetter` with the reason; none is passed over in silence and none
raises. A record is only accepted in the partition where the law puts its key: elsewhere it would never meet its labels.
Never asks a broker anything.

Nearly all messages are records of our own forwarder, whose headers stand in one order: these are read by position. All
others go through `message.read_message`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from contracts.errors import InvalidInput
from contracts.label import read_sent
from contracts.wire import encode
from prediction_log.finding import Finding
from prediction_log.kafka.message import TYPES, Control, External, Undecodable, read_message
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

LETTERS: Final = {Kind.PREDICTION: "p", Kind.LABEL: "l", Kind.AUDIT: "a"}
"""What the names of streams begin with: coverage is by topic, so a log has a stream in each."""
EXTERNAL_LABELS: Final = "x:labels"
"""The stream of labels that programs outside wrote: their identity is their offset."""
AHEAD_US_MAX: Final = 86_400_000_000
"""A label that was sent later than this from now has a clock that cannot be believed, and would age all others."""
LOGS_KEPT: Final = 65_536
"""Names of streams at hand; when full, all are made again."""

_HEADERS: Final = 10
_DIGITS_MAX: Final = 60
_LOG_ID: Final = re.compile(rb"[0-9a-f]{32}")
_NAMES: Final = ("log_id", "segment", "seq", "after")


class DeadLetter(NamedTuple):
    """A message that cannot be counted, whole, with the reason; what comes before its colon is one of a few constants."""

    topic: str
    partition: int
    offset: int
    reason: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


class Batch(NamedTuple):
    """What one poll gave for one partition number. `entries` are in offset order within each topic, named by stream:
    `p:<log id>` for predictions, `l:<log id>` for labels, `x:labels` for labels from outside. `controls` come with their
    stream's letter. `positions` are the next offsets to read, by topic. With `caught_up` there was nothing more to read.
    `findings` tell of records that are gone from Kafka.
    """

    entries: list[Entry]
    controls: list[tuple[str, Control]]
    undecodable: list[DeadLetter]
    positions: dict[str, int]
    caught_up: bool
    findings: list[Finding]


class Decoder:
    """Decodes for a fleet whose law knows so many partitions. `now_us` is only asked for labels from outside."""

    def __init__(self, partitions: int, now_us: Callable[[], int]) -> None:
        self._partitions = partitions
        self._now_us = now_us
        self._streams: dict[Kind, dict[bytes, str]] = {kind: {} for kind in LETTERS}
        self._headers = {kind: ("ce_type", name.encode()) for kind, name in TYPES.items()}

    def decode(self, kind: Kind, records: Sequence[Any], batch: Batch) -> None:
        """Add what the records of one topic-partition, that of `kind`, hold."""
        streams, type_header, names = self._streams[kind], self._headers[kind], _NAMES
        append, make = batch.entries.append, tuple.__new__
        for record, lawful in zip(records, self._lawful(kind, records), strict=True):
            value, headers = record.value, record.headers
            if lawful and value and len(headers) == _HEADERS and headers[2] == type_header and record.key in value:
                (a, log_id), (b, segment), (c, seq), (d, after) = headers[5:9]
                stream = streams.get(log_id) or self._named(kind, log_id)
                digits = segment.isdigit() and seq.isdigit() and after.isdigit()
                if stream and (a, b, c, d) == names and digits and len(seq) + len(after) + len(segment) < _DIGITS_MAX:
                    number, previous = int(seq), int(after)
                    if previous < number < 2**63:
                        append(make(Entry, (stream, number, kind, value, int(segment), previous)))
                        continue
            self._decode_slowly(kind, record, batch, lawful=lawful)

    def _lawful(self, kind: Kind, records: Sequence[Any]) -> Iterable[bool]:
        """For each record whether it is where the law puts its key; the audit topic has but one partition."""
        if kind is Kind.AUDIT:
            return [record.key is not None for record in records]
        laws = partitions_of([record.key or b"" for record in records], self._partitions) if records else []
        return [record.key is not None and law == record.partition for record, law in zip(records, laws, strict=True)]

    def _named(self, kind: Kind, log_id: bytes | None) -> str | None:
        if log_id is None or not _LOG_ID.fullmatch(log_id):
            return None
        streams = self._streams[kind]
        if len(streams) >= LOGS_KEPT:
            streams.clear()
        return streams.setdefault(log_id, f"{LETTERS[kind]}:{log_id.decode()}")

    def _decode_slowly(self, kind: Kind, record: Any, batch: Batch, *, lawful: bool) -> None:
        found = read_message(kind, record.key, record.value, _headers(record))
        if isinstance(found, Control):
            batch.controls.append((LETTERS[kind], found))
            return
        if isinstance(found, Undecodable):
            batch.undecodable.append(_dead(record, f"unreadable: {found.reason}"))
            return
        trouble = self._misplaced(record, lawful=lawful)
        if trouble is None and isinstance(found, External):
            label = self._label_from_outside(found, record)
            if isinstance(label, Entry):
                batch.entries.append(label)
                return
            trouble = label
        if trouble is None and isinstance(found, Entry):
            if found.seq < 2**63:
                batch.entries.append(found._replace(log_id=f"{LETTERS[kind]}:{found.log_id}"))
                return
            trouble = f"unreadable: seq = {found.seq} is beyond any log"
        assert trouble is not None
        batch.undecodable.append(_dead(record, trouble))

    def _misplaced(self, record: Any, *, lawful: bool) -> str | None:
        if not record.key:
            return "keyless: the message has no key; a record's key is its prediction id, without its row"
        if not lawful:
            (law,) = partitions_of([record.key], self._partitions)
            return (
                f"misplaced: the law puts its key into partition {law} of {self._partitions}; producers need Java's"
                " default partitioner (murmur2), and all programs the same kafka_options.partitions"
            )
        if record.key not in record.value:
            return "misplaced: its key is not the id that the record names"
        return None

    def _label_from_outside(self, label: External, record: Any) -> Entry | str:
        received_us = record.timestamp * 1000
        if not 0 <= received_us <= self._now_us() + AHEAD_US_MAX:
            return f"ill-timed: the message's timestamp is {record.timestamp}: see to the clock of its producer"
        try:
            payload = encode(read_sent(label.value, received_us))
        except InvalidInput as error:
            return f"no label: {error}"
        return Entry(EXTERNAL_LABELS, record.offset + 1, Kind.LABEL, payload, 0, 0)


def empty_batch() -> Batch:
    """A batch to decode into."""
    return Batch([], [], [], {}, caught_up=False, findings=[])


def _dead(record: Any, reason: str) -> DeadLetter:
    return DeadLetter(record.topic, record.partition, record.offset, reason, record.key, record.value, _headers(record))


def _headers(record: Any) -> list[tuple[str, bytes]]:
    """A header may have no value."""
    return [(name, value or b"") for name, value in record.headers]
