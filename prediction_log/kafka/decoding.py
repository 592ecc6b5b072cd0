"""Kafka's messages of one topic-partition -> records, control messages, and dead letters. The monitor's hot path.

Enters: records as `fetching` gives them, in offset order. Leaves: what they hold, in that order, added to a batch.
A message that nothing can be made of becomes a `DeadLetter` with the reason; none is passed over in silence and none
raises. A record is only accepted in the partition where the law puts its key: elsewhere it would never meet its labels.
Never asks a broker anything.

Nearly all messages are records of our own forwarder, whose headers stand in one order: these are read by position, many at
once, as columns. Where one among them is anything else they are looked at in halves, until it is alone and goes through
`message.read_message`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import groupby, repeat
from operator import attrgetter, contains, lt
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition

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

BLOCK_RECORDS: Final = 256
"""Looked at together: enough to make that cheap, few enough that one odd message does not hold up many."""

_HEADERS: Final = 10
_CE_TYPE: Final = 2
_PLACED: Final = slice(5, 9)
_NUMBER_DIGITS_MAX: Final = 19
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

    def decode(self, kind: Kind, place: TopicPartition, records: Sequence[Any], batch: Batch) -> None:
        """Add what the records of one topic-partition, that of `kind`, hold."""
        wanted = self._headers[kind]
        alike = groupby(records, lambda one: len(one.headers) == _HEADERS and one.headers[_CE_TYPE] == wanted)
        for are_ours, run in alike:
            some = list(run)
            if not are_ours:
                for record in some:
                    self._decode_slowly(kind, place, record, batch)
                continue
            for start in range(0, len(some), BLOCK_RECORDS):
                self._decode_block(kind, place, some[start : start + BLOCK_RECORDS], batch)

    def read(self, kind: Kind, place: TopicPartition, records: Sequence[Any]) -> list[Entry] | None:
        """What these records hold, at least one; null where not all are such as our forwarder writes: `decode` them then."""
        keys, values, headers = zip(*map(_PARTS, records), strict=True)
        try:
            columns = list(zip(*headers, strict=True))
            told = [tuple(zip(*column, strict=True)) for column in columns[_PLACED]]
            numbers = [list(map(int, column)) for _, column in told[1:]]
            written = all(map(contains, values, keys))
            digits = b"".join([b"".join(column) for _, column in told[1:]])
        except (TypeError, ValueError):
            return None
        if len(columns) != _HEADERS or columns[_CE_TYPE].count(self._headers[kind]) != len(records) or not all(keys):
            return None
        if any(names.count(name) != len(records) for (names, _), name in zip(told, _NAMES, strict=True)):
            return None
        (_, log_ids), *_ = told
        (segments, seqs, afters), streams = numbers, {log_id: self._stream(kind, log_id) for log_id in set(log_ids)}
        longest = max(max(map(len, column)) for _, column in told[1:])
        if not (written and digits.isdigit() and longest <= _NUMBER_DIGITS_MAX and all(streams.values())):
            return None
        if not (all(map(lt, afters, seqs)) and max(seqs) < 2**63 and all(self._lawful(kind, place, keys))):
            return None
        named = map(streams.__getitem__, log_ids)
        return list(map(_MAKE_ENTRY, zip(named, seqs, repeat(kind), values, segments, afters, strict=False)))

    def _decode_block(self, kind: Kind, place: TopicPartition, records: Sequence[Any], batch: Batch) -> None:
        """Those that look like ours: halved until what is odd is alone."""
        entries = self.read(kind, place, records)
        if entries is not None:
            batch.entries.extend(entries)
        elif len(records) == 1:
            self._decode_slowly(kind, place, records[0], batch)
        else:
            half = len(records) // 2
            self._decode_block(kind, place, records[:half], batch)
            self._decode_block(kind, place, records[half:], batch)

    def _lawful(self, kind: Kind, place: TopicPartition, keys: Sequence[bytes | None]) -> Sequence[bool]:
        """For each key whether it is where the law puts it; the audit topic has but one partition."""
        if kind is Kind.AUDIT:
            return [key is not None for key in keys]
        laws = partitions_of([key or b"" for key in keys], self._partitions)
        return [key is not None and law == place.partition for key, law in zip(keys, laws, strict=True)]

    def _stream(self, kind: Kind, log_id: bytes | None) -> str | None:
        """The name of a log's stream; null where it is no log's id."""
        return self._streams[kind].get(log_id or b"") or self._named(kind, log_id)

    def _named(self, kind: Kind, log_id: bytes | None) -> str | None:
        if log_id is None or not _LOG_ID.fullmatch(log_id):
            return None
        streams = self._streams[kind]
        if len(streams) >= LOGS_KEPT:
            streams.clear()
        return streams.setdefault(log_id, f"{LETTERS[kind]}:{log_id.decode()}")

    def _decode_slowly(self, kind: Kind, place: TopicPartition, record: Any, batch: Batch) -> None:
        found = read_message(kind, record.key, record.value, _headers(record))
        if isinstance(found, Control):
            batch.controls.append((LETTERS[kind], found))
            return
        if isinstance(found, Undecodable):
            batch.undecodable.append(_dead(place, record, f"unreadable: {found.reason}"))
            return
        (lawful,) = self._lawful(kind, place, [record.key])
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
        batch.undecodable.append(_dead(place, record, trouble))

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


def _dead(place: TopicPartition, record: Any, reason: str) -> DeadLetter:
    return DeadLetter(place.topic, place.partition, record.offset, reason, record.key, record.value, _headers(record))


def _headers(record: Any) -> list[tuple[str, bytes]]:
    """A header may have no value."""
    return [(name, value or b"") for name, value in record.headers]


_PARTS: Final = attrgetter("key", "value", "headers")
_MAKE_ENTRY: Final[Callable[[Iterable[Any]], Entry]] = partial(tuple.__new__, Entry)
