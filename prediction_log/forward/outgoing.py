"""Records -> messages: their JSON, which lane each goes to, and its place in that lane.

Enters: the next records of one log's segment, in order, and its `Trail`. Leaves: messages in the order in which each lane
must carry them; the trail moved on. Pure: nothing is sent here, and the same records after the same trail make the same
messages, so that a second sending can be told as one.

A lane is a topic-partition. The partition is the key's under the number of partitions that was the law when the segment
was begun, to its end: a law that changes with the next start never tears a segment in two.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from contracts.errors import InvalidRecord
from prediction_log.finding import Finding
from prediction_log.forward.cursor import Cursor, Lane
from prediction_log.kafka.message import Headers, Headings, Place, control_headers, key_of, keys_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.position import Entry, Position
from prediction_log.rendering import rendered
from prediction_log.spool.segment import Kind

LETTERS: Final = {Kind.PREDICTION: "p", Kind.LABEL: "l", Kind.AUDIT: "a"}
AUDIT_LANE: Final[Lane] = "a0"


class Message(NamedTuple):
    """One message. `seq` is the record's that it carries or stands for (0: none); `alone`: in a batch of its own."""

    lane: Lane
    key: bytes
    value: bytes
    headers: Headers
    seq: int = 0
    alone: bool = False


class Keyed(NamedTuple):
    """Records with their keys, and their values: JSON, or what stands in the spool where no JSON can be made of it.
    `poison` are the reasons why some, by seq, can only be told of and not be sent.
    """

    entries: Sequence[Entry]
    keys: list[bytes]
    values: list[bytes]
    poison: Mapping[int, str]


class Trail:
    """Where the sending of one log stands: the segment under way, its law, and every lane's last seq and count."""

    def __init__(self, slot: str, log_id: str, cursor: Cursor) -> None:
        self.segment = cursor.segment
        self.partitions = cursor.partitions
        self._slot = slot
        self._log_id = log_id
        self._lanes = dict(cursor.lanes)

    def cursor(self, position: Position) -> Cursor:
        """What to keep once everything up to here is acknowledged."""
        return Cursor(position=position, segment=self.segment, partitions=self.partitions, lanes=dict(self._lanes))

    def begin(self, segment: int, partitions: int) -> None:
        """The first record of a segment is about to be sent."""
        self.segment, self.partitions = segment, partitions

    def messages(self, keyed: Keyed, suspects: frozenset[int]) -> list[Message]:
        """The records as messages, a tombstone for each poisonous one; `suspects`, by seq, go alone."""
        messages = []
        lanes, segment = self._lanes, self.segment
        headings, make = Headings(self._slot, self._log_id, segment), tuple.__new__
        rows = zip(keyed.entries, keyed.keys, keyed.values, self._lanes_of(keyed), strict=True)
        for (_, seq, kind, *_), key, value, lane in rows:
            after, count = lanes.get(lane, (0, 0))
            lanes[lane] = (seq, count + 1)
            if seq in keyed.poison:
                place = Place(self._log_id, segment, seq, after, count + 1)
                messages.append(self._tombstone(lane, key, place, kind, len(value), keyed.poison[seq]))
            else:
                headers = headings.of(kind, seq, after, count + 1, value)
                messages.append(make(Message, (lane, key, value, headers, seq, seq in suspects)))
        return messages

    def _lanes_of(self, keyed: Keyed) -> list[Lane]:
        partitions = partitions_of(keyed.keys, self.partitions)
        pairs = zip(keyed.entries, partitions, strict=True)
        return [_LANES[entry.kind][0 if entry.kind is Kind.AUDIT else partition] for entry, partition in pairs]

    def _tombstone(self, lane: Lane, key: bytes, place: Place, kind: Kind, size: int, reason: str) -> Message:
        content = {
            **place._asdict(),
            "slot": self._slot,
            "kind": kind.name.lower(),
            "bytes": size,
            "reason": reason,
        }
        headers = control_headers(self._slot, "tombstone", "tombstone", place)
        return Message(lane, key, _json(content), headers, place.seq, alone=True)

    def seals(self, last_seq: int) -> list[Message]:
        """The segment is over, everything of it acknowledged: tell each lane that it touched; begin a new count."""
        messages = []
        for lane, (after, count) in self._lanes.items():
            if count:
                place = Place(self._log_id, self.segment, last_seq, after, count)
                content = {**place._asdict(), "slot": self._slot, "partitions": self.partitions}
                headers = control_headers(self._slot, "seal", f"seal/{self.segment}", place)
                messages.append(Message(lane, self._log_id.encode(), _json(content), headers))
        self._lanes = {lane: (after, 0) for lane, (after, _) in self._lanes.items()}
        self.segment = 0
        return messages


def keyed(entries: Sequence[Entry], condemned: Mapping[int, str]) -> Keyed:
    """Find each record's key and value; where there is none the record is poison, and its place in the log is the key."""
    poison = dict(condemned)
    values = _values_of(entries, poison)
    (kind, *others) = {entry.kind for entry in entries} or {Kind.LABEL}
    keys = None if others else keys_of(kind, [entry.payload for entry in entries])
    return Keyed(entries, _keys_singly(entries, poison) if keys is None else keys, values, poison)


def _keys_singly(entries: Sequence[Entry], poison: dict[int, str]) -> list[bytes]:
    keys = []
    for entry in entries:
        try:
            keys.append(key_of(entry.kind, entry.payload))
        except InvalidRecord as error:
            poison.setdefault(entry.seq, str(error))
            keys.append(f"{entry.log_id}/{entry.seq}".encode())
    return keys


def _values_of(entries: Sequence[Entry], poison: dict[int, str]) -> list[bytes]:
    """What Kafka gets of each record; those of which no JSON can be made become poison."""
    values = [entry.payload for entry in entries]
    predictions = [place for place, entry in enumerate(entries) if entry.kind is Kind.PREDICTION]
    for place, value in zip(predictions, rendered([values[place] for place in predictions]), strict=True):
        if isinstance(value, bytes):
            values[place] = value
        else:
            poison.setdefault(entries[place].seq, str(value))
    return values


def loss_message(slot: str, finding: Finding) -> Message:
    """What reading the spool found, for the audit topic; the same finding has the same id at every sending."""
    first, last = finding.first_seq, finding.last_seq
    content = {
        "slot": slot,
        "log_id": finding.log_id,
        "segment": finding.segment,
        "offset": finding.offset,
        "kind": finding.kind.value,
        "first": first,
        "last": last,
        "detail": finding.detail,
    }
    event = f"loss/{finding.log_id}/{finding.segment}/{finding.offset}/{finding.kind.value}/{first or 0}"
    headers = control_headers(slot, "loss", event)
    headers += [("log_id", finding.log_id.encode()), ("kind", finding.kind.value.encode())]
    headers += [(name, b"%d" % seq) for name, seq in (("first", first), ("last", last)) if seq is not None]
    return Message(AUDIT_LANE, finding.log_id.encode(), _json(content), headers)


def manifest_message(host: str, at_us: int, logs: list[dict[str, Any]]) -> Message:
    """Which logs this host has, how far each is committed and acknowledged, and what was last sent to each lane."""
    content = {"host": host, "at_us": at_us, "logs": logs}
    headers = control_headers(host, "manifest", f"manifest/{host}/{at_us}")
    return Message(AUDIT_LANE, host.encode(), _json(content), headers)


def _json(content: dict[str, Any]) -> bytes:
    return msgspec.json.encode(content)


_LANES: Final = {kind: [f"{letter}{number}" for number in range(256)] for kind, letter in LETTERS.items()}
