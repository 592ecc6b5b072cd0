"""The completeness certificate: every record of every log is there, once, in an unbroken chain, and was counted once.

Enters: the spool, and what the monitor says it counted. Leaves: a `Certificate`: n of n, or the name of every gap. Reads
the log from its first byte in bounded steps; never takes a reader's position on trust.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

from prediction_log.finding import HARMLESS, Finding, FindingKind, ranges_of
from prediction_log.intervals import Interval, add, difference, overlaps, size, union
from prediction_log.position import Position
from prediction_log.spool.disk import boot_of_this_machine
from prediction_log.spool.places import LogDirectory, log_directories, segment_numbers, segment_path
from prediction_log.spool.segment import Kind
from prediction_log.spool.tail import LogTail

_STEP_RECORDS: Final = 4096
_DAMAGE: Final = frozenset({FindingKind.CHAIN_BROKEN, FindingKind.ROT, FindingKind.LOSS})

State = Literal["open", "sealed", "ended"]


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How the monitor's count of one log compares with the log. `missing`: in the log, not counted. `twice`: counted more
    than once. `unknown`: counted, and not in the log. All empty: each record was counted exactly once.
    """

    records: int
    missing: list[Interval]
    twice: list[Interval]
    unknown: list[Interval]

    @property
    def ok(self) -> bool:
        """Whether each record was counted exactly once."""
        return not (self.missing or self.twice or self.unknown)


class LogCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """One log. `state`: a writer has it open; it was sealed; or its writer ended without a seal. Seqs are null where there
    is no record. `kinds` are records by kind. `gaps` are seqs of which no record can be read, `refused` those that were
    never acknowledged, `forwarded` those that Kafka has and whose segments were removed after that. `counted` is null where
    the monitor was not asked.
    """

    slot: str
    log_id: str
    state: State
    segments: int
    bytes: int
    first_seq: int | None
    last_seq: int | None
    records: int
    kinds: dict[str, int]
    gaps: list[Interval]
    refused: list[Interval]
    forwarded: list[Interval]
    chain_ok: bool
    findings: list[Finding]
    counted: Counted | None
    ok: bool


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """The whole spool: `records` that can be read, `missing` that cannot; `counted` by the monitor, null where it was not
    asked; `vanished` logs that it counted and that are not in the spool. `ok` where nothing is missing, damaged or in
    doubt, and every record was counted exactly once.
    """

    logs: list[LogCertificate]
    vanished: list[str]
    records: int
    missing: int
    counted: int | None
    ok: bool


def verify(
    spool: Path, counted: Mapping[str, Sequence[Interval]] | None = None, *, boot: int | None = None
) -> Certificate:
    """Read every log and compare. Intervals are (first, last), both included.

    A log that is being written may have been counted further than it was read here; ask for `counted` last.
    """
    boot = boot_of_this_machine() if boot is None else boot
    certificate = _sum_up([_certify(log, boot) for log in log_directories(spool)], [], asked=False)
    return certificate if counted is None else compare(certificate, counted)


def compare(certificate: Certificate, counted: Mapping[str, Sequence[Interval]]) -> Certificate:
    """The certificate with the monitor's part added."""
    logs = [_compare_log(log, counted.get(log.log_id, ())) for log in certificate.logs]
    known = {log.log_id for log in logs}
    return _sum_up(logs, [log_id for log_id in sorted(counted) if log_id not in known and counted[log_id]], asked=True)


def _sum_up(logs: list[LogCertificate], vanished: list[str], *, asked: bool) -> Certificate:
    return Certificate(
        logs=logs,
        vanished=vanished,
        records=sum(log.records for log in logs),
        missing=sum(size(log.gaps) for log in logs),
        counted=sum(log.counted.records for log in logs if log.counted) if asked else None,
        ok=not vanished and all(log.ok for log in logs),
    )


def _certify(log: LogDirectory, boot: int) -> LogCertificate:
    tail = LogTail(log.path, log.log_id, Position(), boot)
    kinds: Counter[Kind] = Counter()
    seqs: list[Interval] = []
    while entries := tail.read(_STEP_RECORDS):
        kinds.update(entry.kind for entry in entries)
        for entry in entries:
            add(seqs, entry.seq, entry.seq)
    last_seq = seqs[-1][1] if seqs else 0
    refused = difference(ranges_of(tail.findings, FindingKind.REFUSED), seqs)
    forwarded = ranges_of(tail.findings, FindingKind.FORWARDED)
    holes = difference([(1, last_seq)], union(seqs + refused + forwarded)) if seqs else []
    files = [segment_path(log.path, number) for number in segment_numbers(log.path)]
    return LogCertificate(
        slot=log.slot,
        log_id=log.log_id,
        state="sealed" if tail.sealed else "ended" if tail.ended else "open",
        segments=len(files),
        bytes=sum(map(_size_of, files)),
        first_seq=seqs[0][0] if seqs else None,
        last_seq=last_seq or None,
        records=size(seqs),
        kinds={kind.name.lower(): number for kind, number in sorted(kinds.items())},
        gaps=union(holes + ranges_of(tail.findings, FindingKind.LOSS)),
        refused=refused,
        forwarded=forwarded,
        chain_ok=all(finding.kind not in _DAMAGE for finding in tail.findings),
        findings=tail.findings,
        counted=None,
        ok=all(finding.kind in HARMLESS for finding in tail.findings),
    )


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # removed meanwhile: Kafka has it, or its writer took a spare back
        return 0


def _compare_log(log: LogCertificate, counted: Sequence[Interval]) -> LogCertificate:
    elsewhere = log.refused + log.forwarded
    there = difference([(1, log.last_seq)], union(log.gaps + elsewhere)) if log.last_seq else []
    known = union(there + elsewhere)
    if log.state == "open":
        known = union([*known, ((log.last_seq or 0) + 1, 2**63)])
    once = union(counted)
    part = Counted(
        records=size(once),
        missing=difference(there, once),
        twice=overlaps(counted),
        unknown=difference(once, known),
    )
    return msgspec.structs.replace(log, counted=part, ok=log.ok and part.ok)
