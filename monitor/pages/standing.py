"""How far the monitor is: what it read of the log, what it tallied beside the counts, and what it found damaged.

Enters: a reader of the state, the state's file, the spool. Leaves: one plain value for `GET /status` and for the metrics.
Only reads; a log's lag is told from the heads of its segments, so it is quick at any size.
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from contracts.moment import format_moment
from monitor.counts.state import counted
from monitor.pages.queries import StateReader
from monitor.pages.question import Question
from monitor.pages.windows import period_of
from prediction_log.finding import Finding
from prediction_log.intervals import Interval
from prediction_log.spool.listing import list_segments


class LogStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One writer's log: the last seq it acknowledged, the closed ranges of seqs that are counted, and what lies between."""

    slot: str
    log_id: str
    written_seq: int
    counted: list[Interval]
    lag_records: int


class Tallied(msgspec.Struct, frozen=True, kw_only=True):
    """One counter; the names are empty where they do not apply."""

    name: str
    model: str
    version: str
    detail: str
    value: int


class CountedGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One version in one variant under one reference (an empty hash: without)."""

    model: str
    version: str
    digest: str
    variant: str
    reference_hash: str
    slices: tuple[str, ...]


class PartitionStanding(msgspec.Struct, frozen=True, kw_only=True):
    """One partition of a fleet: who counted it last, when a tick last saved, and how many messages wait. `whole` is false
    where what was published of it is known to be incomplete.
    """

    number: int
    owner: str
    updated: str | None
    ticks: int
    caught_up: bool
    lag_records: int
    whole: bool


class OwnPartition(msgspec.Struct, frozen=True, kw_only=True):
    """One partition as the worker that counts it knows it, since it has it. `doing` is `counting`, or why it is not, with
    `trouble` in words; `read` are messages, of which `dead` could not be read and `held` wait for the next step.
    """

    number: int
    doing: str
    trouble: str | None
    read: int
    dead: int
    held: int


class Standing(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Moments are RFC 3339, null where there is none yet: the first and the end of the last counted pane, the newest event
    that is not ahead of its receipt, and when a tick last saved. `caught_up`: that tick read the log to its end.

    Of a fleet, records are counted as messages of Kafka, `logs` holds only those of which something is missing, and `own`
    are the partitions of the worker that was asked.
    """

    from_: str | None
    to: str | None
    watermark: str | None
    updated: str | None
    caught_up: bool
    ticks: int
    counted_records: int
    lag_records: int
    logs: list[LogStanding]
    counters: list[Tallied]
    findings: list[Finding]
    groups: list[CountedGroup]
    partitions: list[PartitionStanding] = []
    own: list[OwnPartition] = []


class Counted(NamedTuple):
    """What was read of the log, and what waits there."""

    counted_records: int
    lag_records: int
    logs: list[LogStanding]
    partitions: list[PartitionStanding]


def standing_of(reader: StateReader, path: Path, spool: Path) -> Standing:
    """How far the monitor is now. Raises StoreUnavailable where the state cannot be read."""
    logs = _logs(counted(path), spool)
    records = sum(high - low + 1 for log in logs for low, high in log.counted)
    return standing_with(reader, Counted(records, sum(log.lag_records for log in logs), logs, []))


def standing_with(reader: StateReader, read: Counted) -> Standing:
    """What the reader says, and what was read."""
    progress, period = reader.progress(), period_of(reader, Question())
    return Standing(
        from_=format_moment(period.from_us) if period else None,
        to=format_moment(period.to_us) if period else None,
        watermark=moment_of(progress.watermark_us),
        updated=moment_of(progress.updated_us),
        caught_up=progress.caught_up,
        ticks=progress.tick,
        counted_records=read.counted_records,
        lag_records=read.lag_records,
        logs=read.logs,
        partitions=read.partitions,
        counters=[
            Tallied(name=name, model=model, version=version, detail=detail, value=value)
            for (name, model, version, detail), value in sorted(reader.counters().items())
        ],
        findings=[msgspec.json.decode(finding, type=Finding) for finding in reader.findings()],
        groups=[
            CountedGroup(
                model=group.model,
                version=group.version,
                digest=group.digest,
                variant=group.variant,
                reference_hash=group.reference_hash,
                slices=group.slices,
            )
            for group in reader.groups()
        ],
    )


def _logs(held: dict[str, list[Interval]], spool: Path) -> list[LogStanding]:
    """Every log that is in the spool or was counted; one whose files are gone has nothing left to read."""
    written: dict[str, int] = {}
    slots: dict[str, str] = {}
    for segment in list_segments(spool):
        written[segment.log_id] = max(written.get(segment.log_id, 0), segment.last_seq or 0)
        slots[segment.log_id] = segment.slot
    return [
        _log(log_id, slots.get(log_id, ""), written.get(log_id, 0), held.get(log_id, [])) for log_id in written | held
    ]


def _log(log_id: str, slot: str, written_seq: int, held: list[Interval]) -> LogStanding:
    last = held[-1][1] if held else 0
    return LogStanding(
        slot=slot, log_id=log_id, written_seq=written_seq, counted=held, lag_records=max(0, written_seq - last)
    )


def moment_of(at_us: int) -> str | None:
    """The moment as text; null for 0."""
    return format_moment(at_us) if at_us else None
