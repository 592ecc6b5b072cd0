"""What is live in one partition's summaries -> a state's marker and counts, as `state_export` takes them.

Enters: the file of what is live, with the values of panes and days. Leaves: a `Marker`, and `Part`s whose buckets are
numbered by its groups. Raises InvalidRecord where a row cannot be read. Never judges whether all rows are there.
"""

import sqlite3
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from contracts.errors import InvalidRecord
from monitor.counts.columns import Ints
from monitor.counts.generation import Generation, decode_generation
from monitor.counts.panes import DAY_PANES, PANE_US, bucket_of, series_of
from monitor.counts.state_export import MarkedGroup, Marker, Part, Switch
from monitor.counts.summary import Summaries, added_up, empty
from monitor.fleet import live_rows
from monitor.fleet.exchange import (
    DAY,
    PANE,
    Mark,
    Met,
    Name,
    name_of,
    read_as,
    read_counts,
    read_definition,
)
from prediction_log.intervals import Interval

ROWS_AT_ONCE: Final = 2_000
UNITS_US: Final = {PANE: PANE_US, DAY: DAY_PANES * PANE_US}


class Log(msgspec.Struct, frozen=True):
    """The content of a log's message."""

    seen: list[Interval]


class Counter(msgspec.Struct, frozen=True):
    """The content of a counter's message."""

    value: int


class Numbered(NamedTuple):
    """A group's number, and how it is counted."""

    number: int
    generation: Generation


class Counts(NamedTuple):
    """One row of a bucket: where it belongs, its cells and counts."""

    bucket: int
    cells: Ints
    counts: Ints


class Reassembly:
    """Reads one partition of an open connection."""

    def __init__(self, connection: sqlite3.Connection, p: int) -> None:
        self._connection = connection
        self._p = p
        self._groups: dict[tuple[str, ...], Numbered] = {}

    def marker(self, mark: Mark) -> Marker:
        """Everything but buckets."""
        return Marker(
            lineage=mark.lineage,
            progress=mark.progress,
            positions=mark.positions,
            seen={log_id: read_as(Log, content).seen for (log_id,), content in self._contents("log")},
            counters=[
                (name, model, version, detail, read_as(Counter, content).value)
                for (name, model, version, detail), content in self._contents("counter")
            ],
            findings=[content.decode() for _, content in self._contents("finding")],
            groups=self._marked_groups(),
            switches=self._switches(),
        )

    def parts(self) -> Iterator[Part]:
        """All buckets. Ask for the marker first."""
        none = empty()
        for summaries in self._buckets(PANE):
            yield Part(summaries, none, none.buckets)
        for summaries in self._buckets(DAY):
            yield Part(none, summaries, none.buckets)

    def _marked_groups(self) -> list[MarkedGroup]:
        met = {names: read_as(Met, content) for names, content in self._contents("group")}
        definitions: dict[tuple[str, ...], bytes] = {}
        marked = []
        for names in sorted(met, key=lambda names: (met[names].met_us, met[names].met)):
            model, version, digest, _, variant = names
            if names[:4] not in definitions:
                content = live_rows.content_of(self._connection, self._p, "generation", names[:4])
                definitions[names[:4]] = read_definition(content)
            definition = definitions[names[:4]]
            marked.append(
                MarkedGroup(
                    model=model, version=version, digest=digest, variant=variant, definition=definition.decode()
                )
            )
            generation = decode_generation(model, version, digest, definition)
            self._groups[names] = Numbered(len(marked), generation)
        return marked

    def _switches(self) -> list[Switch]:
        numbered = [(int(number), read_as(Switch, content)) for (number,), content in self._contents("switch")]
        return [switch for _, switch in sorted(numbered, key=lambda pair: pair[0])]

    def _contents(self, kind: str) -> Iterator[tuple[tuple[str, ...], bytes]]:
        return live_rows.contents_of(self._connection, self._p, kind)

    def _buckets(self, kind: str) -> Iterator[Summaries]:
        """Summaries of a bounded number of rows; the pieces of one bucket come together."""
        waiting: list[Counts] = []
        for rows in live_rows.rows_of(self._connection, self._p, kind):
            waiting += [counts_of(name_of(key), value, self._groups) for key, value in rows]
            if len(waiting) >= ROWS_AT_ONCE:
                last = waiting[-1].bucket
                yield summed([row for row in waiting if row.bucket != last])
                waiting = [row for row in waiting if row.bucket == last]
        if waiting:
            yield summed(waiting)


def counts_of(name: Name | None, value: bytes | None, groups: dict[tuple[str, ...], Numbered]) -> Counts:
    """A bucket's row, read. Raises InvalidRecord."""
    if name is None or value is None or name.kind not in UNITS_US:
        raise InvalidRecord(f"not a summary: {name}")
    *names, slice_name = name.names
    group = groups.get(tuple(names))
    unit_us = UNITS_US[name.kind]
    if group is None or slice_name not in group.generation.slices or name.start_us % unit_us:
        raise InvalidRecord(f"a summary of {name.names} from {name.start_us}: its version is not described")
    cells, counts = read_counts(value)
    if len(cells) and cells[-1] >= group.generation.layout.size:
        raise InvalidRecord(f"a summary of {name.names} from {name.start_us}: there is no cell {cells[-1]}")
    series = series_of(group.number, group.generation.slices.index(slice_name))
    return Counts(bucket_of(series, name.start_us // unit_us), cells, counts)


def summed(rows: list[Counts], signs: list[int] | None = None) -> Summaries:
    """All rows added up, each with its sign."""
    if not rows:
        return empty()
    buckets = np.unique(np.array([row.bucket for row in rows], np.int64))
    places = np.searchsorted(buckets, [row.bucket for row in rows])
    owners = np.repeat(places, [len(row.cells) for row in rows])
    counts = [row.counts if signs is None else row.counts * signs[index] for index, row in enumerate(rows)]
    return added_up(buckets, owners, np.concatenate([row.cells for row in rows]), np.concatenate(counts))
