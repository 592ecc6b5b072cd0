"""A record of the log as a Kafka message, and back: key, headers, and the messages that are no records.

Enters: a record's kind, payload and place in its log; or a message's key, value and headers. Leaves: key and headers; or
an `Entry`, a `Control`, an `External` label, or why it is none of these. Pure: nothing here knows a topic or a broker.

The value is the record's JSON as it stands in the spool. All headers are ASCII text: CloudEvents' own, then `log_id`,
`segment`, `seq`, `after` and `pseq`. `after` is the seq of the record before it of the same log in the same
topic-partition (0: none): a linked list. Whoever adds up the ranges (after, seq] sees duplicates (seq is covered) and gaps
(a range is not), and stays right when a damaged record can no longer be read at a second sending. A tombstone stands in
the list like the record it replaces; a seal does not: the next record's `after` passes over it. `pseq` counts 1, 2, 3...
per log, segment and topic-partition, for consumers that know nothing of intervals.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from contracts.errors import InvalidRecord
from prediction_log.compact import MARK, id_in, ids_in
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

ControlKind = Literal["seal", "tombstone", "loss", "manifest"]
Headers = list[tuple[str, bytes]]

TYPES: Final = {
    Kind.PREDICTION: "pointsman.prediction.v1",
    Kind.LABEL: "pointsman.label.v1",
    Kind.AUDIT: "pointsman.change.v1",
}
GATE: Final = "pointsman.gate.v1"
ALIAS_MOVE: Final = "pointsman.alias_move.v1"
PROMOTION: Final = "pointsman.promotion.v1"
"""Audit records that are no change of a plan: a gate's result, what was seen of an alias, what became of a promotion."""
_AUDITS: Final = frozenset(name.encode() for name in (TYPES[Kind.AUDIT], GATE, ALIAS_MOVE, PROMOTION))
_CONTROL_TYPES: Final = {kind: f"pointsman.{kind}.v1" for kind in ("seal", "tombstone", "loss", "manifest")}
_CONTROL_OF: Final[dict[bytes, ControlKind]] = {
    name.encode(): cast("ControlKind", kind) for kind, name in _CONTROL_TYPES.items()
}
_PLACED: Final = frozenset({"seal", "tombstone"})
_LOG_ID: Final = re.compile(rb"[0-9a-f]{32}")
_NUMBER: Final = re.compile(rb"[0-9]{1,19}")
_OURS: Final = b"pointsman."


class Place(NamedTuple):
    """Where a message belongs: its log, its segment, its seq, the seq before it there, and its number there."""

    log_id: str
    segment: int
    seq: int
    after: int
    pseq: int


class Control(NamedTuple):
    """A message that is no record. `place` is null for losses and manifests: they stand for no record of the stream."""

    kind: ControlKind
    place: Place | None
    content: dict[str, Any]


class External(NamedTuple):
    """A label from a producer that is not ours: no log headers."""

    key: bytes | None
    value: bytes


class Undecodable(NamedTuple):
    """A message that is nothing we know; the reason is for people."""

    reason: str


class _Identified(msgspec.Struct):
    prediction_id: str


class _OfModel(msgspec.Struct):
    model: str


class _OfAudit(msgspec.Struct):
    """The ids by which the types of audit records differ; a change of a plan has none of them."""

    gate_id: str | None = None
    alias_move: str | None = None
    promotion_id: str | None = None


_DECODE_IDENTIFIED: Final = msgspec.json.Decoder(_Identified).decode
_DECODE_OF_MODEL: Final = msgspec.json.Decoder(_OfModel).decode
_DECODE_OF_AUDIT: Final = msgspec.json.Decoder(_OfAudit).decode


def key_of(kind: Kind, payload: bytes) -> bytes:
    """The message key: the prediction's id (a label's without its row), an audit record's model.

    Raises InvalidRecord where the payload has none: such a record can be in no partition.
    """
    if kind is Kind.PREDICTION and payload.startswith(MARK):
        return id_in(payload)
    try:
        if kind is Kind.AUDIT:
            key = _DECODE_OF_MODEL(payload).model
        else:
            key = _DECODE_IDENTIFIED(payload).prediction_id
            if kind is Kind.LABEL:
                key = key.partition("#")[0]
        encoded = key.encode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidRecord(f"a {kind.name.lower()} record without a key: {error}") from None
    if not encoded:
        raise InvalidRecord(f"a {kind.name.lower()} record whose key is empty")
    return encoded


def keys_of(kind: Kind, payloads: Sequence[bytes]) -> list[bytes] | None:
    """`key_of` of each, where that can be said of all at once; else null."""
    if kind is not Kind.PREDICTION or not payloads:
        return None
    try:
        return ids_in(payloads)
    except InvalidRecord:
        return None


def headers_of(slot: str, kind: Kind, place: Place, payload: bytes = b"") -> Headers:
    """The headers of a record's message; the payload of an audit record tells which of its types it has."""
    return Headings(slot, place.log_id, place.segment).of(kind, place.seq, place.after, place.pseq, payload)


class Headings:
    """The headers of records of one segment: what they have in common is made once."""

    def __init__(self, slot: str, log_id: str, segment: int) -> None:
        self._slot = slot
        self._log = log_id.encode()
        self._where = ("log_id", self._log), ("segment", b"%d" % segment)
        self._constant = {kind: tuple(_constant(slot, name)) for kind, name in TYPES.items()}

    def of(self, kind: Kind, seq: int, after: int, pseq: int, payload: bytes) -> Headers:
        """Those of one record; the payload of an audit record tells which of its types it has."""
        constant = self._constant[kind]
        if kind is Kind.AUDIT:
            constant = tuple(_constant(self._slot, _audit_type(payload)))
        number = b"%d" % seq
        return [
            *constant,
            ("ce_id", b"%b/%b" % (self._log, number)),
            *self._where,
            ("seq", number),
            ("after", b"%d" % after),
            ("pseq", b"%d" % pseq),
        ]


def control_headers(slot: str, kind: ControlKind, event_id: str, place: Place | None = None) -> Headers:
    """The headers of a message that is no record; `event_id` is the same at every sending."""
    constant = list(_constant(slot, _CONTROL_TYPES[kind]))
    if place is None:
        return [*constant, ("ce_id", event_id.encode())]
    return [*constant, *_placed(place, f"{event_id}/" if event_id else "")]


def _audit_type(payload: bytes) -> str:
    try:
        found = _DECODE_OF_AUDIT(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return TYPES[Kind.AUDIT]
    named = ((found.gate_id, GATE), (found.alias_move, ALIAS_MOVE), (found.promotion_id, PROMOTION))
    return next((name for identity, name in named if identity is not None), TYPES[Kind.AUDIT])


@lru_cache(maxsize=4096)
def _constant(slot: str, event_type: str) -> Headers:
    return [
        ("ce_specversion", b"1.0"),
        ("ce_source", f"/pointsman/{slot}".encode()),
        ("ce_type", event_type.encode()),
        ("content-type", b"application/json"),
    ]


def _placed(place: Place, prefix: str = "") -> Headers:
    log_id, segment, seq, after, pseq = place
    return [
        ("ce_id", f"{prefix}{log_id}/{seq}".encode()),
        ("log_id", log_id.encode()),
        ("segment", b"%d" % segment),
        ("seq", b"%d" % seq),
        ("after", b"%d" % after),
        ("pseq", b"%d" % pseq),
    ]


def read_message(
    topic_kind: Kind, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> Entry | Control | External | Undecodable:
    """What a message of the topic for `topic_kind` is. The payload of an `Entry` is not looked into."""
    named = dict(headers)
    event_type = named.get("ce_type") or b""
    if value is None:
        return Undecodable("the message has no value")
    if event_type in _CONTROL_OF:
        return _read_control(_CONTROL_OF[event_type], value, named)
    if "log_id" not in named and not event_type.startswith(_OURS):
        if topic_kind is Kind.LABEL:
            return External(key, value)
        return Undecodable("the message has no header log_id: no forwarder wrote it")
    return _read_record(topic_kind, value, event_type, named)


def _read_record(kind: Kind, value: bytes, event_type: bytes, named: dict[str, bytes]) -> Entry | Undecodable:
    if event_type != TYPES[kind].encode() and (kind is not Kind.AUDIT or event_type not in _AUDITS):
        return Undecodable(f"ce_type {event_type[:80]!r} in a topic of {TYPES[kind]}")
    place = _read_place(named)
    if isinstance(place, Undecodable):
        return place
    if place.after >= place.seq:
        return Undecodable(f"after = {place.after} is not before seq = {place.seq}")
    return Entry(place.log_id, place.seq, kind, value, place.segment, place.after)


def _read_control(kind: ControlKind, value: bytes, named: dict[str, bytes]) -> Control | Undecodable:
    place = _read_place(named) if kind in _PLACED else None
    if isinstance(place, Undecodable):
        return place
    if place is not None and place.after > place.seq:
        return Undecodable(f"after = {place.after} is beyond seq = {place.seq}")
    try:
        content = msgspec.json.decode(value, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Undecodable(f"the content of a {kind} message: {error}")
    return Control(kind, place, content)


def _read_place(named: dict[str, bytes]) -> Place | Undecodable:
    try:
        log_id, segment, seq = named["log_id"], named["segment"], named["seq"]
        after, pseq = named["after"], named["pseq"]
    except KeyError as missing:
        return Undecodable(f"the message has no header {missing.args[0]}")
    numbers = (segment, seq, after, pseq)
    if log_id is None or None in numbers or not _LOG_ID.fullmatch(log_id):
        return Undecodable(f"log_id = {log_id!r:.80} is no log id")
    if not all(map(_NUMBER.fullmatch, numbers)):
        return Undecodable(f"segment, seq, after, pseq = {[bytes(n[:20]) for n in numbers]} are not all numbers")
    return Place(log_id.decode(), int(segment), int(seq), int(after), int(pseq))
