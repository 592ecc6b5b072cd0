"""Predictions and their labels -> which truth each row has now, and what that changes.

Enters: what is stored of some predictions and labels, and what is new. Leaves: changes (a row's old truth is taken back,
its new one added), the ballots to store, and tallies. A label that comes before its prediction waits; every version that
was asked under the id gets the label. Never reads a clock or a disk.

Nothing depends on the order of arrival: a row's truth is a function of all its labels and of the record. The winner is
the greatest by `contracts.label.precedence` among those the record can take: the row exists, the value is one of the
task's, and the label is not too late. A label is too late when it was observed more than the horizon after the event; a
label without a time of its own (observed when received) when it was received that long after the request.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contracts.label import Label, LabelValue, precedence
from contracts.prediction import split_row
from monitor.truth import TruthTable, truth_of

EVENTS_MAX: Final = 16
"""Different labels kept for one row; beyond, those that would lose to all others are counted and forgotten."""
LABEL_BYTES_MAX: Final = 256
"""The longest label value that can name a class; longer ones are invalid."""
ID_CHARS_MAX: Final = 256
HEAD: Final = struct.Struct("<Iqq")
"""Group, event time and time of receipt of a join record."""
ROWS_MAX: Final = 65_536
"""Rows of one prediction that are counted; labels of rows beyond are invalid."""
INTEGER_MAX: Final = 2**63 - 1

Tally = Counter[tuple[str, str, str]]
"""(what, model, reason) -> how many labels; a label leaves one entry when it moves to another."""


class JoinRecord(NamedTuple):
    """What a prediction leaves behind for its labels, as it is stored: `body` is a `HEAD` and one `row_type` a row; no row
    where the prediction failed.
    """

    id: bytes
    log: int
    seq: int
    body: bytes


class Scorable(NamedTuple):
    """A join record, read."""

    log: int
    seq: int
    group: int
    event_us: int
    received_us: int
    rows: bytes


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One label, without its id. `named` where the id ended in `#row`; `copies` labels were equal but for their receipt,
    of which `received_us` is the last.
    """

    label_version: int
    observed_us: int
    received_us: int
    retract: bool
    label: LabelValue | None
    named: bool
    copies: int


class Ballot(msgspec.Struct, frozen=True, array_like=True):
    """All labels of one row, the winner last; `dropped` are those beyond EVENTS_MAX."""

    events: tuple[Event, ...] = ()
    dropped: int = 0


class LabelOf(NamedTuple):
    """A label and the row it is of."""

    id: bytes
    row: int
    event: Event


class Terms(NamedTuple):
    """What a group's labels are held against."""

    model: str
    truths: TruthTable
    row_bytes: int


class Known(NamedTuple):
    """What is stored: the records and ballots of every id in question. Ids up to `expired` may have been dropped, unless
    they are at or above `oldest`, the least id that is still there.
    """

    records: Mapping[bytes, Sequence[Scorable]]
    ballots: Mapping[tuple[bytes, int], Ballot]
    oldest: bytes | None
    expired: bytes | None


class Change(NamedTuple):
    """A row that has the truth from now on (sign 1), or no longer (-1)."""

    record: Scorable
    row: int
    truth: float
    sign: int


class Joined(NamedTuple):
    """What to add up, what to store, and what to count. `waiting` rows have labels and no prediction yet, with the time
    of the last receipt; `arrived` rows waited until now.
    """

    changes: list[Change]
    ballots: dict[tuple[bytes, int], Ballot]
    waiting: dict[tuple[bytes, int], int]
    arrived: list[tuple[bytes, int]]
    tally: Tally


class _Standing(NamedTuple):
    truths: dict[tuple[int, int], float]
    tally: Tally


def scorable(record: JoinRecord) -> Scorable:
    """The record, read."""
    group, event_us, received_us = HEAD.unpack_from(record.body)
    return Scorable(record.log, record.seq, group, event_us, received_us, record.body[HEAD.size :])


def row_type(values: int) -> np.dtype[np.void]:
    """A row of a join record: the slices it is in, and its prediction."""
    return np.dtype([("mask", "<u8"), ("values", "<f8", (values,))])


def id_key(prediction_id: str) -> bytes:
    """The id as it is stored and sorted: the 16 bytes of a UUIDv7, so by time; any other text after all of these."""
    if len(prediction_id) == 36 and prediction_id[8:24:5] == "----" and prediction_id[14] == "7":
        try:
            key = bytes.fromhex(prediction_id.replace("-", ""))
        except ValueError:
            key = b""
        if len(key) == 16:
            return key
    return b"\xff" + prediction_id.encode()


def id_keys(prediction_ids: Sequence[str]) -> list[bytes]:
    """`id_key` of each; where all are UUIDv7s, which is always, all at once."""
    text = "".join(prediction_ids)
    if len(text) == 36 * len(prediction_ids) and set(text[14::36]) <= {"7"} and set(map(len, prediction_ids)) <= {36}:
        try:
            keys = bytes.fromhex(text.replace("-", ""))
        except ValueError:
            keys = b""
        if len(keys) == 16 * len(prediction_ids) and all(set(text[at::36]) <= {"-"} for at in (8, 13, 18, 23)):
            return [keys[start : start + 16] for start in range(0, len(keys), 16)]
    return [id_key(prediction_id) for prediction_id in prediction_ids]


def label_of(label: Label) -> LabelOf | str:
    """The label as it is joined, or the reason why it can be the truth of no row whatsoever."""
    try:
        prediction_id, row = split_row(label.prediction_id[: ID_CHARS_MAX + 1])
    except ValueError:
        return "row"
    objection = _objection(label, row)
    if objection:
        return objection
    times = label.label_version, label.observed_us, label.received_us
    named = "#" in label.prediction_id
    return LabelOf(id_key(prediction_id), row, Event(*times, label.op == "retract", label.label, named, 1))


def join(
    known: Known,
    records: Iterable[JoinRecord],
    labels: Iterable[LabelOf],
    terms_of: Callable[[int], Terms],
    horizon_us: int,
) -> Joined:
    """What new records and new labels change. `known` holds the ids of all labels, and of all records with a ballot."""
    new: dict[bytes, list[Scorable]] = {}
    for record in records:
        new.setdefault(record.id, []).append(scorable(record))
    joined = Joined([], {}, {}, [], Counter())
    for label in labels:
        _cast(label, known, new, joined)
    touched = dict.fromkeys(joined.ballots) | dict.fromkeys(key for key in known.ballots if key[0] in new)
    for key in touched:
        before = known.records.get(key[0], ())
        after = [*before, *new.get(key[0], ())]
        ballot = known.ballots.get(key, Ballot())
        old = _standing(ballot, before, key[1], terms_of, horizon_us)
        now = _standing(joined.ballots.get(key, ballot), after, key[1], terms_of, horizon_us)
        _record_changes(joined, after, key[1], old, now)
        _mark_waiting(joined, key, ballot, before=bool(before), after=bool(after))
    return joined


def _objection(label: Label, row: int) -> str:
    """Why no row can take this label; empty where one can."""
    value = label.label
    numbers = [label.label_version, label.observed_us, label.received_us, *([value] if isinstance(value, int) else [])]
    if len(label.prediction_id) > ID_CHARS_MAX:
        return "id"
    if row >= ROWS_MAX:
        return "row"
    if value is None and label.op == "upsert":
        return "no_value"
    if not all(-INTEGER_MAX <= number <= INTEGER_MAX for number in numbers):
        return "out_of_range"
    return "too_long" if isinstance(value, str) and len(value.encode()) > LABEL_BYTES_MAX else ""


def _cast(label: LabelOf, known: Known, new: Mapping[bytes, object], joined: Joined) -> None:
    key = label.id, label.row
    if label.id not in known.records and label.id not in new and _gone(label.id, known):
        joined.tally["labels_too_late", "", ""] += 1
        return
    ballot = joined.ballots.get(key, known.ballots.get(key))
    joined.ballots[key] = Ballot((label.event,)) if ballot is None else _with(ballot, label)


def _gone(prediction_id: bytes, known: Known) -> bool:
    if known.expired is None or prediction_id > known.expired:
        return False
    return known.oldest is None or prediction_id < known.oldest


def _with(ballot: Ballot, label: LabelOf) -> Ballot:
    """The ballot with one label more: in order of precedence, equal ones as one, at most EVENTS_MAX."""
    found: dict[tuple[object, ...], Event] = {}
    for event in (*ballot.events, label.event):
        same = event.label_version, event.observed_us, event.retract, msgspec.json.encode(event.label), event.named
        twin = found.get(same)
        found[same] = event if twin is None else _united(twin, event)
    events = sorted(found.values(), key=lambda event: _precedence(event, label.row))
    beyond = events[:-EVENTS_MAX]
    return Ballot(tuple(events[-EVENTS_MAX:]), ballot.dropped + sum(event.copies for event in beyond))


def _united(one: Event, other: Event) -> Event:
    received_us = max(one.received_us, other.received_us)
    return msgspec.structs.replace(one, received_us=received_us, copies=one.copies + other.copies)


def _precedence(event: Event, row: int) -> tuple[int, int, int, bytes]:
    """As `contracts.label.precedence`; of the id only its end matters, for its start is the same for all of a row."""
    label = Label(
        prediction_id=f"#{row}" if event.named else "",
        label=event.label,
        observed_us=event.observed_us,
        received_us=event.received_us,
        label_version=event.label_version,
        op="retract" if event.retract else "upsert",
    )
    return precedence(label)


def _standing(
    ballot: Ballot, records: Sequence[Scorable], row: int, terms_of: Callable[[int], Terms], horizon_us: int
) -> _Standing:
    """Each record's truth, and what became of each label."""
    total = sum(event.copies for event in ballot.events) + ballot.dropped
    if not total or not records:
        return _Standing({}, Counter({("labels_pending", "", ""): total} if total else {}))
    model = terms_of(records[0].group).model
    scored = [record for record in records if record.rows]
    if not scored:
        return _Standing({}, Counter({("labels_unscored", model, ""): total}))
    truths: dict[tuple[int, int], float] = {}
    settled: set[tuple[int, int]] = set()
    outcomes: list[tuple[Event, str]] = []
    for event in reversed(ballot.events):
        reasons = []
        for record in scored:
            truth, reason = _truth(event, record, row, terms_of(record.group), horizon_us)
            reasons.append(reason)
            place = record.log, record.seq
            if not reason and place not in settled:
                settled.add(place)
                if not event.retract:
                    truths[place] = truth
        outcomes.append((event, min(reasons)))  # taken by one of them is taken
    return _Standing(truths, _outcomes(outcomes, ballot.dropped, model))


def _truth(event: Event, record: Scorable, row: int, terms: Terms, horizon_us: int) -> tuple[float, str]:
    if row >= len(record.rows) // terms.row_bytes:
        return 0.0, "row"
    timed = event.observed_us != event.received_us
    delay_us = event.observed_us - record.event_us if timed else event.received_us - record.received_us
    if delay_us > horizon_us:
        return 0.0, "too_late"
    return (0.0, "") if event.retract else truth_of(terms.truths, event.label)


def _outcomes(outcomes: Sequence[tuple[Event, str]], dropped: int, model: str) -> Tally:
    """What became of each label of a row, the winner first: every label is in exactly one place."""
    tally: Tally = Counter()
    if dropped:
        tally["labels_corrected", model, ""] += dropped
    winner: Event | None = None
    for event, reason in outcomes:
        copies = event.copies
        if reason:
            late = reason == "too_late"
            tally["labels_too_late" if late else "labels_invalid", model, "" if late else reason] += copies
            continue
        if winner is None:
            winner, copies = event, copies - 1
            tally["labels_retracted" if event.retract else "labels_accepted", model, ""] += 1
        if copies:
            same = (event.retract, event.label) == (winner.retract, winner.label)
            tally["labels_duplicate" if same else "labels_corrected", model, ""] += copies
    return tally


def _record_changes(joined: Joined, records: Sequence[Scorable], row: int, old: _Standing, now: _Standing) -> None:
    joined.tally.update(now.tally)
    joined.tally.subtract(old.tally)
    for record in records:
        place = record.log, record.seq
        before, after = old.truths.get(place), now.truths.get(place)
        if before == after:
            continue
        if before is not None:
            joined.changes.append(Change(record, row, before, -1))
        if after is not None:
            joined.changes.append(Change(record, row, after, 1))


def _mark_waiting(joined: Joined, key: tuple[bytes, int], ballot: Ballot, *, before: bool, after: bool) -> None:
    if not after:
        joined.waiting[key] = max(event.received_us for event in joined.ballots[key].events)
    elif not before and ballot.events:
        joined.arrived.append(key)
