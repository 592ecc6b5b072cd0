"""All that the log says of one prediction: every version that was asked, labels, the plan and who made it.

Enters: an id, the spools of hosts. Leaves: an `Explained`, or None where no record has the id. The id is a UUIDv7 and says
when it was made, so only what was written from then on is read. Never judges, and never asks a running process.

Bounds: `ATTEMPTS_MAX` records of versions that were asked, `LABELS_MAX` labels, `CHANGES_MAX` changes of plans on the way;
the first ones of records and labels are kept, the last ones of changes.
"""

import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
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
from prediction_log.position import Entry, Position
from prediction_log.spool.listing import SegmentRow, list_segments
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

ATTEMPTS_MAX: Final = 64
LABELS_MAX: Final = 1_000
CHANGES_MAX: Final = 10_000
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
    under which it was answered, null where the log begins later; `gates` are of the answering version's bytes.
    """

    prediction_id: str
    row: int
    made_at: str
    answer: Prediction | None
    others: list[Prediction]
    labels: list[Label]
    change: Change | None
    gates: list[GateResult]


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


def explained(asked: Asked, spools: Iterable[Path]) -> Explained | None:
    """What the logs of these spools say of a prediction."""
    attempts: list[Prediction] = []
    labels: list[Label] = []
    changes: dict[tuple[str, int], Change] = {}
    gates: list[GateResult] = []
    mark = asked.prediction_id.encode()
    for entry in _entries(spools, asked.made_us):
        if entry.kind is Kind.AUDIT:
            _take_audit(entry, changes, gates)
        elif mark not in entry.payload:
            continue
        elif entry.kind is Kind.PREDICTION and len(attempts) < ATTEMPTS_MAX:
            attempts += _prediction(entry, asked)
        elif entry.kind is Kind.LABEL and len(labels) < LABELS_MAX:
            labels += _label(entry, asked)
    if not attempts:
        return None
    answer = next((one for one in attempts if one.answered), None)
    first = answer or attempts[0]
    return Explained(
        prediction_id=asked.prediction_id,
        row=asked.row,
        made_at=asked.made,
        answer=answer,
        others=[one for one in attempts if one is not answer],
        labels=sorted(labels, key=precedence, reverse=True),
        change=changes.get((first.model, first.revision)),
        gates=[gate for gate in gates if gate.candidate.digest == first.digest],
    )


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


def _entries(spools: Iterable[Path], from_us: int) -> Iterator[Entry]:
    for spool in spools:
        rows = [row for row in list_segments(spool) if not row.slot.startswith("admin")]
        reader = SpoolReader(spool, positions_from(rows, from_us - CLOCKS_APART_US))
        while entries := reader.poll(RECORDS_AT_ONCE):
            yield from entries


def _take_audit(entry: Entry, changes: dict[tuple[str, int], Change], gates: list[GateResult]) -> None:
    with suppress(InvalidRecord):
        change = decode(Change, entry.payload)
        changes[change.model, change.revision] = change
        if len(changes) > CHANGES_MAX:
            del changes[next(iter(changes))]
        return
    with suppress(InvalidRecord):
        gates.append(decode(GateResult, entry.payload))
        del gates[:-CHANGES_MAX]


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
