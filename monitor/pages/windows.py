"""A question -> the windows of counts that answer it: one a subject, slice and bucket of event time.

Enters: a reader of the state and a question. Leaves: windows, subject by subject. Only reads.

Bound: `WINDOWS_MAX` windows; a question about more is refused with `InvalidInput`.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from contracts.errors import InvalidInput
from monitor.counts.panes import ALL, PANE_US
from monitor.measures.statistics import Key
from monitor.measures.subject import Counted, Subject, subjects_of
from monitor.pages.queries import StateReader
from monitor.pages.question import Question

WINDOWS_MAX: Final = 2_000


class Period(NamedTuple):
    """Event time [from_us, to_us), whole panes."""

    from_us: int
    to_us: int


class Window(NamedTuple):
    """What was counted of one subject in one slice and stretch of event time, under each reference, the newest first."""

    key: Key
    counted: Sequence[Counted]


def period_of(reader: StateReader, question: Question) -> Period | None:
    """The panes that a question is about, rounded outwards; open ends reach to the first and last event. Null where
    nothing was counted yet and an end is open.
    """
    progress = reader.progress()
    first, last = progress.first_event_us, progress.last_event_us
    from_us = first if question.from_us is None else question.from_us
    to_us = (None if last is None else last + 1) if question.to_us is None else question.to_us
    if from_us is None or to_us is None:
        return None
    start, end = max(0, from_us) // PANE_US * PANE_US, -(-to_us // PANE_US) * PANE_US
    return Period(start, end) if start < end else None


def windows_of(reader: StateReader, question: Question) -> Iterator[Window]:
    """The windows of a question that hold anything."""
    period = period_of(reader, question)
    if period is None:
        return
    made = 0
    for subject in subjects_of(reader.groups(), question):
        for slice_name in subject.slices(question.slice):
            for window in _windows(reader, subject, slice_name, period, question.bucket_us):
                made += 1
                if made > WINDOWS_MAX:
                    raise InvalidInput(
                        f"more than {WINDOWS_MAX} windows asked for: name a variant or a slice, or choose a wider bucket"
                    )
                yield window


def _windows(
    reader: StateReader, subject: Subject, slice_name: str, period: Period, bucket_us: int | None
) -> Iterator[Window]:
    names = subject.model, subject.version, subject.variant, "" if slice_name == ALL else slice_name
    held = _by_start(reader, subject, slice_name, period, bucket_us)
    for start in sorted(held):
        if any(part.vector.any() for part in held[start]):
            end = period.to_us if bucket_us is None else min(start + bucket_us, period.to_us)
            yield Window(Key(*names, max(start, period.from_us), end), held[start])


def _by_start(
    reader: StateReader, subject: Subject, slice_name: str, period: Period, bucket_us: int | None
) -> dict[int, list[Counted]]:
    held: dict[int, list[Counted]] = {}
    for group in subject.groups:
        if slice_name in group.slices:
            generation = reader.generation(group)
            if bucket_us is None:
                vectors = [(period.from_us, reader.merged(group, slice_name, *period))]
            else:
                vectors = reader.series(group, slice_name, *period, bucket_us)
            for start, vector in vectors:
                held.setdefault(start, []).append(Counted(generation, vector))
    return held
