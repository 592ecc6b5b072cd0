"""Predictions and their labels -> which truth each row has now, and what that changes.

Enters: what is stored of some predictions and labels, and what is new. Leaves: changes (a row's old truth is taken back,
its new one added), the ballots to store, and tallies. A label that comes before its prediction waits; every version that
was asked under the id gets the label. Never reads a clock or a disk.

Nothing depends on the order of arrival: a row's truth is a function of all its labels and of the record. The winner is
the greatest by `contracts.label.precedence` among those the record can take: the row exists, the value is one of the
task's, and the label is not too late. A label is too late when it was observed more than the horizon after the event; a
label without a time of its own (observed when received) when it was received that long after the request.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from monitor.counts.ballot import Ballot, Event, LabelOf, with_label
from monitor.counts.join_record import JoinRecord, Scorable, scorable, time_of
from monitor.counts.truth import TruthTable, truth_of

RowKey = tuple[bytes, int]
"""(id, row)."""
Tally = Counter[tuple[str, str, str]]
"""(what, model, reason) -> how many labels; a label leaves one entry when it moves to another."""


class Terms(NamedTuple):
    """What a group's labels are held against."""

    model: str
    truths: TruthTable
    row_bytes: int


class Known(NamedTuple):
    """What is stored: the records of every id in question, the ballots of every row in question, and of all rows of ids
    that have new records. An id of a time before `gone` is past the horizon: if it has no record, that was forgotten.
    """

    records: Mapping[bytes, Sequence[Scorable]]
    ballots: Mapping[RowKey, Ballot]
    gone: bytes | None


class Change(NamedTuple):
    """A row that has the truth from now on (sign 1), or no longer (-1)."""

    record: Scorable
    row: int
    truth: float
    sign: int


class Joined(NamedTuple):
    """What to add up, what to store, and what to count. `waiting` rows have labels and no prediction yet, with the time
    since when; `arrived` rows waited until now.
    """

    changes: list[Change]
    ballots: dict[RowKey, Ballot]
    waiting: dict[RowKey, int]
    arrived: list[RowKey]
    tally: Tally


class _Standing(NamedTuple):
    truths: Mapping[tuple[int, int], float]
    tally: Mapping[tuple[str, str, str], int]


_NOTHING: Final = _Standing({}, {})


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


def waits_since(prediction_id: bytes, ballot: Ballot) -> int:
    """Since when a row waits for its prediction: the last receipt of a label, or the time of the id if that is earlier."""
    received_us = max(event.received_us for event in ballot.events)
    made_us = time_of(prediction_id)
    return received_us if made_us is None else min(received_us, made_us)


def _cast(label: LabelOf, known: Known, new: Mapping[bytes, object], joined: Joined) -> None:
    key = label.id, label.row
    if known.gone is not None and label.id < known.gone and label.id not in known.records and label.id not in new:
        joined.tally["labels_too_late", "", ""] += 1
        return
    ballot = joined.ballots.get(key, known.ballots.get(key))
    joined.ballots[key] = Ballot((label.event,)) if ballot is None else with_label(ballot, label)


def _standing(
    ballot: Ballot, records: Sequence[Scorable], row: int, terms_of: Callable[[int], Terms], horizon_us: int
) -> _Standing:
    """Each record's truth, and what became of each label."""
    total = sum(event.copies for event in ballot.events) + ballot.dropped
    if not total:
        return _NOTHING
    if not records:
        return _Standing({}, {("labels_pending", "", ""): total})
    model = terms_of(records[0].group).model
    scored = [record for record in records if record.rows]
    if not scored:
        return _Standing({}, {("labels_unscored", model, ""): total})
    if total == 1 and len(scored) == 1:
        return _standing_of_one(ballot.events[0], scored[0], row, terms_of(scored[0].group), horizon_us)
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


def _standing_of_one(event: Event, record: Scorable, row: int, terms: Terms, horizon_us: int) -> _Standing:
    """As of many, for what nearly all are: one label of one record."""
    truth, reason = _truth(event, record, row, terms, horizon_us)
    if not reason:
        name = "labels_retracted" if event.retract else "labels_accepted"
        return _Standing({} if event.retract else {(record.log, record.seq): truth}, {(name, terms.model, ""): 1})
    late = reason == "too_late"
    name = "labels_too_late" if late else "labels_invalid"
    return _Standing({}, {(name, terms.model, "" if late else reason): 1})


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
    tally = joined.tally
    for reason, amount in now.tally.items():
        tally[reason] += amount
    for reason, amount in old.tally.items():
        tally[reason] -= amount
    for record in records:
        place = record.log, record.seq
        before, after = old.truths.get(place), now.truths.get(place)
        if before == after:
            continue
        if before is not None:
            joined.changes.append(Change(record, row, before, -1))
        if after is not None:
            joined.changes.append(Change(record, row, after, 1))


def _mark_waiting(joined: Joined, key: RowKey, ballot: Ballot, *, before: bool, after: bool) -> None:
    if not after:
        joined.waiting[key] = waits_since(key[0], joined.ballots[key])
    elif not before and ballot.events:
        joined.arrived.append(key)
