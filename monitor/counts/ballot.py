"""The labels of one row of one prediction, in order of precedence.

Enters: labels, in any order, any number of times. Leaves: a ballot that depends on which labels there were and on nothing
else. Whether a label is true of anything is not known here.
"""

from typing import Final, NamedTuple

import msgspec

from contracts.label import Label, LabelValue, precedence
from contracts.prediction import split_row
from monitor.counts.join_record import ID_CHARS_MAX, ROWS_MAX, id_key
from monitor.counts.panes import TIME_US_MAX

EVENTS_MAX: Final = 16
"""Different labels kept for one row; beyond, those that would lose to all others are counted and forgotten."""
LABEL_BYTES_MAX: Final = 256
"""The longest label value that can name a class; longer ones are invalid."""
INTEGER_MAX: Final = 2**63 - 1


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


def with_label(ballot: Ballot, label: LabelOf) -> Ballot:
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
    if not all(-INTEGER_MAX <= number <= INTEGER_MAX for number in numbers) or label.received_us >= TIME_US_MAX:
        return "out_of_range"
    return "too_long" if isinstance(value, str) and len(value.encode()) > LABEL_BYTES_MAX else ""
