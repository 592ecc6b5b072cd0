"""How far the monitor is: what it read of the log, what it tallied beside the counts, and what it found damaged.

Enters: a reader of the state, the state's file, the spool. Leaves: one plain value for `GET /status` and for the metrics.
Only reads; a log's lag is told from the heads of its segments, so it is quick at any size.
"""

from pathlib import Path

import msgspec

from contracts.moment import format_moment
from monitor.queries import StateReader
from monitor.question import Question
from monitor.state import counted
from monitor.windows import period_of
from prediction_log.finding import Finding
from prediction_log.intervals import Interval
from prediction_log.listing import list_segments


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


class Standing(msgspec.Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Moments are RFC 3339, null where there is none yet: the first and the end of the last counted pane, the newest event
    that is not ahead of its receipt, and when a tick last saved. `caught_up`: that tick read the log to its end.
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


def standing_of(reader: StateReader, path: Path, spool: Path) -> Standing:
    """How far the monitor is now. Raises StoreUnavailable where the state cannot be read."""
    progress, period = reader.progress(), period_of(reader, Question())
    logs = _logs(counted(path), spool)
    return Standing(
        from_=format_moment(period.from_us) if period else None,
        to=format_moment(period.to_us) if period else None,
        watermark=_moment(progress.watermark_us),
        updated=_moment(progress.updated_us),
        caught_up=progress.caught_up,
        ticks=progress.tick,
        counted_records=sum(high - low + 1 for log in logs for low, high in log.counted),
        lag_records=sum(log.lag_records for log in logs),
        logs=logs,
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


def _moment(at_us: int) -> str | None:
    return format_moment(at_us) if at_us else None
