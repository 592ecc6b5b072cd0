"""All that the log says of one prediction: every version that was asked, labels, the plan and who made it.

Enters: an id, the spools of hosts, what Kafka holds. Leaves: an `Explained`, or None where no record has the id. The id is a
UUIDv7 and says when it was made, so only what was written from then on is read. What lies in a spool and in Kafka counts
once. Never judges, and never asks a running process.

Bounds: `ATTEMPTS_MAX` records of versions that were asked, `LABELS_MAX` labels, `CHANGES_MAX` changes of plans on the way,
`DOUBTS_MAX` doubts; the first ones are kept, of changes the last ones.
"""

import re
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from contracts.errors import InvalidInput, InvalidRecord
from contracts.gate import GateResult
from contracts.label import Label, precedence
from contracts.moment import format_moment
from contracts.plan import Change
from contracts.prediction import Prediction, split_row
from contracts.wire import decode
from prediction_log.expansion import record_json
from prediction_log.finding import HARMLESS, Finding, FindingKind
from prediction_log.position import Entry, Position
from prediction_log.spool.listing import SegmentRow, list_segments
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

ATTEMPTS_MAX: Final = 64
LABELS_MAX: Final = 1_000
CHANGES_MAX: Final = 10_000
DOUBTS_MAX: Final = 100
RECORDS_AT_ONCE: Final = 1_000
CLOCKS_APART_US: Final = 60_000_000
"""The clock of a segment's head may have been set since: so much is read in advance."""
_UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class Asked(NamedTuple):
    """A prediction, one row of it, and when it was made: RFC 3339, and microseconds since the epoch."""

    prediction_id: str
    row: int
    made: str
    made_us: int


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says. `answer` is the record that was answered by, null where nothing was; `others` are those of versions
    that failed before it, and of shadows. `labels` are all of the row, the one that counts first. `change` made the plan
    under which it was answered, null where the log begins later; `gates` are of the answering version's bytes. `doubts`
    name what could not be read on the way and may have spoken of this prediction.
    """

    prediction_id: str
    row: int
    made_at: str
    answer: Prediction | None
    others: list[Prediction]
    labels: list[Label]
    change: Change | None
    gates: list[GateResult]
    doubts: list[str]


def read_id(text: str) -> Asked:
    """The prediction that an id names; `InvalidInput` where no reply carried it."""
    try:
        prediction_id, row = split_row(text.strip())
    except ValueError as error:
        raise InvalidInput(f"prediction id {text[:80]!r}: {error}") from None
    if not _UUID7.fullmatch(prediction_id):
        raise InvalidInput(f"prediction id {text[:80]!r} is none that a reply carried: those are UUIDs of version 7")
    made_us = (uuid.UUID(prediction_id).int >> 80) * 1000
    return Asked(prediction_id, row, format_moment(made_us), made_us)


class Evidence:
    """What has been read of one prediction."""

    def __init__(self, asked: Asked) -> None:
        self.doubts: list[str] = []
        self._asked = asked
        self._mark = asked.prediction_id.encode()
        self._seen: set[tuple[str, int]] = set()
        self._attempts: list[Prediction] = []
        self._labels: list[Label] = []
        self._changes: dict[tuple[str, int], Change] = {}
        self._gates: dict[str, GateResult] = {}

    @property
    def found(self) -> bool:
        """Whether any record has the id."""
        return bool(self._attempts)

    def take(self, entry: Entry) -> None:
        """Look at one record; raises InvalidRecord where it names the prediction and is damaged."""
        if entry.kind is Kind.AUDIT:
            self._take_audit(entry)
            return
        place = (entry.log_id, entry.seq)
        if self._mark not in entry.payload or place in self._seen:
            return
        if entry.kind is Kind.PREDICTION and len(self._attempts) < ATTEMPTS_MAX:
            self._seen.add(place)
            self._attempts += _prediction(entry, self._asked)
        elif entry.kind is Kind.LABEL and len(self._labels) < LABELS_MAX:
            self._seen.add(place)
            self._labels += _label(entry, self._asked)

    def doubt(self, reason: str) -> None:
        """Note what could not be read."""
        if len(self.doubts) < DOUBTS_MAX:
            self.doubts.append(reason)

    def _take_audit(self, entry: Entry) -> None:
        with suppress(InvalidRecord):
            change = decode(Change, entry.payload)
            self._changes[change.model, change.revision] = change
            if len(self._changes) > CHANGES_MAX:
                del self._changes[next(iter(self._changes))]
            return
        with suppress(InvalidRecord):
            gate = decode(GateResult, entry.payload)
            self._gates[gate.gate_id] = gate
            if len(self._gates) > CHANGES_MAX:
                del self._gates[next(iter(self._gates))]

    def explained(self) -> Explained | None:
        """All of it together; None where no record has the id."""
        if not self._attempts:
            return None
        asked = self._asked
        answer = next((one for one in self._attempts if one.answered), None)
        first = answer or self._attempts[0]
        return Explained(
            prediction_id=asked.prediction_id,
            row=asked.row,
            made_at=asked.made,
            answer=answer,
            others=[one for one in self._attempts if one is not answer],
            labels=sorted(self._labels, key=precedence, reverse=True),
            change=self._changes.get((first.model, first.revision)),
            gates=[gate for gate in self._gates.values() if gate.candidate.digest == first.digest],
            doubts=self.doubts,
        )


def read_spool(evidence: Evidence, spool: Path, made_us: int) -> None:
    """Read what one host wrote since then."""
    rows = [row for row in list_segments(spool) if not row.slot.startswith("admin")]
    reader = SpoolReader(spool, positions_from(rows, made_us - CLOCKS_APART_US))
    while entries := reader.poll(RECORDS_AT_ONCE):
        for entry in entries:
            evidence.take(entry)
        _note(evidence, spool, reader.findings)
    _note(evidence, spool, reader.findings)


def _note(evidence: Evidence, spool: Path, findings: Iterable[Finding]) -> None:
    for finding in findings:
        where = f"{spool}, log {finding.log_id}, segment {finding.segment}"
        if finding.kind is FindingKind.FORWARDED:
            evidence.doubt(f"{where}: earlier records were removed once Kafka had them; --kafka reads them there")
        elif finding.kind not in HARMLESS:
            evidence.doubt(f"{where}: {finding.kind.value}: {finding.detail}")


def positions_from(rows: Sequence[SegmentRow], from_us: int) -> dict[str, Position]:
    """Where to begin in each log so that nothing written since then is passed over.

    A segment is made while the one before it is written, so reading begins one before the last that was made by then. Logs
    that hold plans only matter as a whole: what is audited was mostly written before.
    """
    by_log: dict[str, list[SegmentRow]] = {}
    for row in rows:
        by_log.setdefault(row.log_id, []).append(row)
    found = {}
    for log_id, segments in by_log.items():
        ordered = sorted(segments, key=lambda row: row.segment)
        before = [n for n, row in enumerate(ordered) if row.since_us is not None and row.since_us <= from_us]
        begin = before[-2] if len(before) > 1 else 0
        seq = ordered[begin - 1].last_seq if begin else None
        if seq is not None:
            found[log_id] = Position(segment=ordered[begin].segment, seq=seq)
    return found


def _prediction(entry: Entry, asked: Asked) -> list[Prediction]:
    try:
        record = decode(Prediction, record_json(entry.payload))
    except InvalidRecord as error:
        raise InvalidRecord(
            f"log {entry.log_id}, seq {entry.seq}, which names this prediction, is damaged: {error}"
        ) from error
    return [record] if record.prediction_id == asked.prediction_id else []


def _label(entry: Entry, asked: Asked) -> list[Label]:
    try:
        label = decode(Label, entry.payload)
        of = split_row(label.prediction_id)
    except (InvalidRecord, ValueError):
        return []
    return [label] if of == (asked.prediction_id, asked.row) else []
