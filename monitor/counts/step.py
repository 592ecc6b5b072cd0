"""The entries of one tick -> everything that they add to the state.

Enters: fresh entries, the state as it was, and the catalogue of versions. Leaves: summaries, join records, ballots and
counters, in the shape in which they are saved. Reads the state; never writes it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from monitor.counts.arrays import Tally, concatenated
from monitor.counts.ballot import LabelOf
from monitor.counts.catalogue import Catalogue
from monitor.counts.fold import Observed, count, observe
from monitor.counts.gather import Parted, gather
from monitor.counts.generation import Generation
from monitor.counts.intake import chunks, decode
from monitor.counts.join import Change, Joined, Known, Terms, join
from monitor.counts.join_record import JoinRecord, row_type
from monitor.counts.record_type import RecordDecoder
from monitor.counts.scoring import count_changes
from monitor.counts.sheets import VersionKey
from monitor.counts.state import Counters, State
from monitor.counts.summary import Summaries, merge
from prediction_log.spool.reader import Entry

ROWS_AT_ONCE: Final = 2_048
"""Rows of one group that are gathered before they are counted: what bounds the memory of a tick of large requests."""


class Times(NamedTuple):
    """The least and the greatest times that records met; null where there were none. An event never counts as later than
    its receipt in `watermark_us`: a clock that runs ahead must not make everybody else late.
    """

    first_event_us: int | None = None
    last_event_us: int | None = None
    watermark_us: int | None = None
    received_us: int | None = None


class Step(NamedTuple):
    """What the entries add. `predictions` and `labels` are how many records were counted, `unreadable` are no records."""

    summaries: Summaries
    records: list[JoinRecord]
    joined: Joined
    known: Known
    counters: Counters
    times: Times
    predictions: int
    labels: int
    unreadable: list[Entry]


class _Group:
    """One version in one variant during one tick: what is gathered, and what was made of it so far."""

    def __init__(self, number: int, generation: Generation) -> None:
        self.number = number
        self.generation = generation
        self.observed: list[Observed] = []
        self.tally: Tally = Counter()
        self._gathered: list[Parted] = []
        self._rows = 0

    def add(self, records: Parted) -> None:
        """Take records in; they are counted when there are many, or at the end."""
        self._gathered.append(records)
        self._rows += sum(records.scored.rows)
        if self._rows >= ROWS_AT_ONCE:
            self.observe()

    def observe(self) -> None:
        """Count what is gathered."""
        if self._gathered:
            scored, failed = (concatenated(parts) for parts in zip(*self._gathered, strict=True))
            self.observed.append(observe(self.generation, self.number, Parted(scored, failed)))
            self._gathered, self._rows = [], 0

    def summaries(self) -> Summaries:
        """The summaries of everything taken in."""
        return count(self.generation, self.number, self.observed)

    def counters(self) -> Counters:
        """What was odd, by the version's name."""
        names = self.generation.model, self.generation.version
        return Counter({(what, *names, feature): amount for (what, feature), amount in self.tally.items()})


class _Folded(NamedTuple):
    groups: list[_Group]
    labels: list[LabelOf]
    times: Times
    predictions: int
    counters: Counters
    unreadable: list[Entry]


class Sources(NamedTuple):
    """What a step reads beside its entries: what is saved, what the registry says, and how records are decoded."""

    state: State
    catalogue: Catalogue
    decoder: RecordDecoder


def step(sources: Sources, entries: Sequence[Entry], now_us: int, horizon_us: int) -> Step:
    """Everything that these entries add. Raises Unavailable where a version is unknown and the registry is down."""
    state = sources.state
    folded = _folded(sources, entries, now_us)
    records = [record for group in folded.groups for part in group.observed for record in part.join]
    known = state.known({(label.id, label.row) for label in folded.labels}, [record.id for record in records])
    met = {label.id for label in folded.labels} | {key for key, _ in known.ballots}
    touched = [record for record in records if record.id in met] if met else []
    joined = join(known, touched, folded.labels, GroupTerms(state).of, horizon_us)
    summaries = [group.summaries() for group in folded.groups] + _changed(state, joined.changes)
    counters = folded.counters
    counters.update({(name, model, "", reason): amount for (name, model, reason), amount in joined.tally.items()})
    counted = folded.predictions, len(folded.labels)
    return Step(merge(summaries), records, joined, known, counters, folded.times, *counted, folded.unreadable)


class GroupTerms:
    """Terms by group, made once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._terms: dict[int, Terms] = {}

    def of(self, group: int) -> Terms:
        """What labels of this group are held against."""
        terms = self._terms.get(group)
        if terms is None:
            generation = self._state.generation(group)
            terms = Terms(generation.model, generation.truths, row_type(generation.values).itemsize)
            self._terms[group] = terms
        return terms


def _folded(sources: Sources, entries: Sequence[Entry], now_us: int) -> _Folded:
    folding = _Folding(sources, now_us)
    for chunk in chunks(entries):
        folding.take(chunk)
    return folding.folded()


class _Folding:
    """The groups, labels and times of a tick, as chunk after chunk is taken in."""

    def __init__(self, sources: Sources, now_us: int) -> None:
        self._state, self._catalogue, self._decoder = sources
        self._now_us = now_us
        self._tally: Tally = Counter()
        self._groups: dict[int, _Group] = {}
        self._by_version: dict[VersionKey, _Group] = {}
        self._labels: list[LabelOf] = []
        self._times = Times()
        self._predictions = 0
        self._unreadable: list[Entry] = []

    def take(self, chunk: Sequence[Entry]) -> None:
        """Decode and gather one chunk; its records are gone when this returns, and their memory is the next chunk's."""
        decoded = decode(chunk, self._decoder, self._state.log_number)
        groups = {key: self._group(key) for key in sorted({key for key, _ in decoded.batches})}
        if self._decoder.learn(name for group in groups.values() for name in group.generation.features.names):
            decoded = decode(chunk, self._decoder, self._state.log_number)
        self._tally.update(decoded.tally)
        self._labels += decoded.labels
        self._unreadable += decoded.unreadable
        for key, batch in decoded.batches:
            groups[key].add(gather(groups[key].generation, batch, groups[key].tally))
            self._times = _with_predictions(self._times, *batch.times())
            self._predictions += len(batch.seqs)

    def folded(self) -> _Folded:
        """Everything taken in."""
        counters = Counters({(what, "", "", reason): amount for (what, reason), amount in self._tally.items()})
        for group in self._groups.values():
            group.observe()
            counters.update(group.counters())
        times = _with_labels(self._times, self._labels)
        groups = list(self._groups.values())
        return _Folded(groups, self._labels, times, self._predictions, counters, self._unreadable)

    def _group(self, key: VersionKey) -> _Group:
        """A version is counted in one way for a whole tick: what the state says of it is by ticks."""
        group = self._by_version.get(key)
        if group is None:
            model, version, digest, variant = key
            generation = self._catalogue.generation(model, version, digest, self._now_us)
            number = self._state.group(generation, variant)
            group = self._groups[number] = self._by_version[key] = _Group(number, generation)
        return group


def _changed(state: State, changes: Iterable[Change]) -> list[Summaries]:
    by_group: dict[int, list[Change]] = {}
    for change in changes:
        by_group.setdefault(change.record.group, []).append(change)
    return [count_changes(state.generation(group), group, own) for group, own in by_group.items()]


def _with_predictions(times: Times, events: Sequence[int], received: Sequence[int]) -> Times:
    return Times(
        _least(times.first_event_us, min(events)),
        _greatest(times.last_event_us, max(events)),
        _greatest(times.watermark_us, max(map(min, events, received))),
        _greatest(times.received_us, max(received)),
    )


def _with_labels(times: Times, labels: Sequence[LabelOf]) -> Times:
    received = max((label.event.received_us for label in labels), default=None)
    return times._replace(received_us=_greatest(times.received_us, received))


def _least(one: int | None, other: int | None) -> int | None:
    return min((time for time in (one, other) if time is not None), default=None)


def _greatest(one: int | None, other: int | None) -> int | None:
    return max((time for time in (one, other) if time is not None), default=None)
