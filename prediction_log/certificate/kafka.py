"""The completeness certificate over Kafka: every record that a host answered for is in its topics, once, and counted once.

Enters: what lies in the topics (`Tally`), what the hosts' spools hold and how far their forwarders came, and what the
monitors say they counted. Leaves: a `KafkaCertificate`: n of n, or the name of every gap. Pure; what nobody was asked for
is not certified, and the certificate says so.

A log is judged by the seqs themselves, over all lanes together: 1, 2, 3... up to the last one that anybody spoke of. The
links within each lane are judged beside that, because readers go by them. What a topic's retention took is not taken for
lost: a missing seq counts as expired where it may have stood in the beginning that is gone.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from prediction_log.certificate.kafka_counted import (
    Hole,
    Published,
    TopicsRead,
    counts_external,
    held_against,
    messages_behind,
)
from prediction_log.certificate.kafka_tally import Lane, LaneTally, LogTally
from prediction_log.certificate.spool import LogCertificate
from prediction_log.finding import HARMLESS, Finding, FindingKind, ranges_of
from prediction_log.intervals import Interval, difference, overlap, size, union
from prediction_log.kafka.coverage import missing

Source = Literal["spool", "host", "topics"]


class SpoolLog(NamedTuple):
    """One log as it lies on its host: what its spool holds, up to which seq Kafka acknowledged it, and how far it was
    committed when the question was asked.
    """

    certificate: LogCertificate
    acked: int
    committed: int


class KafkaLog(msgspec.Struct, frozen=True, kw_only=True):
    """One log. `source` says who told how long it is: its spool, its host's manifests, or only the topics. `records` are
    there, each counted once, `duplicates` beside them. `missing`: nobody can read them any more. `expired`: gone with the
    beginning of a topic. `refused` were never acknowledged. `dead`: too large or malformed, kept by their host. `holes`
    say where readers see a gap; `twice` and `masked` are records that a reader counts twice, or not at all. `pending`:
    committed, and not sent yet. `uncounted`, `counted_unknown`: where the monitors' count differs, by lane.
    """

    slot: str
    log_id: str
    source: Source
    records: int
    duplicates: int
    kinds: dict[str, int]
    last_seq: int | None
    missing: list[Interval]
    expired: list[Interval]
    refused: list[Interval]
    dead: list[Interval]
    holes: list[Hole]
    twice: list[Interval]
    masked: list[Interval]
    pending: int
    findings: list[Finding]
    counted: int | None
    uncounted: list[Hole]
    counted_unknown: list[Hole]
    ok: bool


class KafkaCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """All logs together. `external` are labels from outside; `unreadable` messages by reason, none of which is a record of
    these logs. `counted` is null where no monitor was asked, `behind` how many messages they have not read yet. `ok`:
    nothing is missing, in doubt, or counted wrongly. `complete`: and nothing is pending or behind.
    """

    logs: list[KafkaLog]
    records: int
    duplicates: int
    missing: int
    expired: int
    pending: int
    external: int
    unreadable: dict[str, int]
    counted: int | None
    behind: int
    unasked: list[str]
    ok: bool
    complete: bool


class Asked(NamedTuple):
    """What the topics are held against. `spools` and `published` are null where nobody asked them."""

    read: TopicsRead
    spools: Mapping[str, SpoolLog] | None
    published: Mapping[int, Published] | None


def certify(asked: Asked) -> KafkaCertificate:
    """The certificate."""
    tally, spools = asked.read.tally, asked.spools or {}
    names = sorted(tally.logs.keys() | spools.keys(), key=lambda log_id: (_slot(asked, log_id), log_id))
    logs = [_certify(asked, log_id, tally.logs.get(log_id) or LogTally()) for log_id in names]
    behind = 0 if asked.published is None else messages_behind(asked.published, asked.read)
    external_counted = asked.published is None or counts_external(asked.published, asked.read)
    ok = all(log.ok for log in logs) and external_counted
    pending = sum(log.pending for log in logs)
    return KafkaCertificate(
        logs=logs,
        records=sum(log.records for log in logs),
        duplicates=sum(log.duplicates for log in logs),
        missing=sum(size(log.missing) for log in logs),
        expired=sum(size(log.expired) for log in logs),
        pending=pending,
        external=sum(number for number, _ in tally.external.values()),
        unreadable=dict(sorted(tally.unreadable.items())),
        counted=None if asked.published is None else sum(log.counted or 0 for log in logs),
        behind=behind,
        unasked=sorted(log.log_id for log in logs if spools and log.source != "spool"),
        ok=ok,
        complete=ok and not pending and not behind,
    )


def _slot(asked: Asked, log_id: str) -> str:
    spool = (asked.spools or {}).get(log_id)
    return spool.certificate.slot if spool else asked.read.tally.logs[log_id].slot


def _certify(asked: Asked, log_id: str, log: LogTally) -> KafkaLog:
    spool = (asked.spools or {}).get(log_id)
    found = _gaps(asked, log, spool)
    holes = [hole for name, lane in sorted(log.lanes.items()) if (hole := _hole(asked, name, lane)) is not None]
    doubts = _doubts(log, spool, found.missing)
    counted = None if asked.published is None else held_against(asked.published, asked.read, log_id, log)
    wrong = (found.missing, holes, log.twice, log.masked, doubts, counted and (counted.missing or counted.unknown))
    return KafkaLog(
        slot=_slot(asked, log_id),
        log_id=log_id,
        source=_source(log, spool),
        records=log.records,
        duplicates=log.duplicates,
        kinds=dict(sorted(log.kinds.items())),
        last_seq=max(log.delivered.last, found.sent) or None,
        missing=found.missing,
        expired=found.expired,
        refused=found.refused,
        dead=log.dead,
        holes=holes,
        twice=log.twice,
        masked=log.masked,
        pending=size(found.pending),
        findings=doubts,
        counted=counted.records if counted else None,
        uncounted=counted.missing if counted else [],
        counted_unknown=counted.unknown if counted else [],
        ok=not any(wrong),
    )


class _Gaps(NamedTuple):
    """What is not there, and why; everything up to `sent` should be."""

    sent: int
    missing: list[Interval]
    expired: list[Interval]
    refused: list[Interval]
    pending: list[Interval]


def _source(log: LogTally, spool: SpoolLog | None) -> Source:
    return "spool" if spool else "host" if log.acked else "topics"


def _gaps(asked: Asked, log: LogTally, spool: SpoolLog | None) -> _Gaps:
    """What is sent is what somebody saw acknowledged. Beyond it records of other lanes may be under way still; only where
    nobody tells, everything up to the last record that is there should be.
    """
    sent = max(log.acked, log.reaches, spool.acked if spool else 0)
    if _source(log, spool) == "topics":
        sent = max(sent, log.delivered.last, *(last for _, last in log.dead))
    reach = max(sent, log.delivered.last, log.committed, spool.committed if spool else 0)
    findings = list(log.findings.values())
    refused = union([*ranges_of(findings, FindingKind.REFUSED), *(spool.certificate.refused if spool else ())])
    damaged = union([*ranges_of(findings, FindingKind.LOSS), *(spool.certificate.gaps if spool else ())])
    reach = max(reach, *(last for _, last in damaged), 0)
    absent = difference(log.delivered.missing(reach), log.dead)
    owed = difference(absent, refused)
    lost = union([*overlap(owed, [(1, sent)] if sent else []), *overlap(owed, damaged)])
    gone = _front(asked, log, sent)
    return _Gaps(
        sent=sent,
        missing=difference(lost, gone),
        expired=overlap(lost, gone),
        refused=overlap(absent, refused),
        pending=difference(owed, lost),
    )


def _front(asked: Asked, log: LogTally, sent: int) -> list[Interval]:
    """Where seqs may have stood in a beginning that a topic's retention took."""
    last = 0
    for name in asked.read.tally.cut:
        lane = log.lanes.get(name, LaneTally())
        elsewhere = lane.reaches if log.acked else sent
        last = max(last, lane.covered[0][0] - 1 if lane.covered else elsewhere)
    return [(1, last)] if last else []


def _hole(asked: Asked, name: Lane, lane: LaneTally) -> Hole | None:
    """What the lane's own links and seals say is not there."""
    first = 1
    if name in asked.read.tally.cut:
        first = lane.covered[0][0] if lane.covered else lane.reaches + 1
    reaches = max(lane.reaches, lane.covered[-1][1] if lane.covered else 0)
    ranges = missing(lane.covered, reaches, first)
    if ranges:
        return Hole(lane=name, ranges=ranges)
    if lane.short and name not in asked.read.tally.cut:
        return Hole(lane=name, ranges=[], messages=sum(lane.short.values()))
    return None


def _doubts(log: LogTally, spool: SpoolLog | None, lost: list[Interval]) -> list[Finding]:
    """Findings that mean something: not where all records they speak of are there, or were before the disk forgot them."""
    told = {(one.kind, one.segment, one.offset, one.first_seq): one for one in log.findings.values()}
    if spool is not None:
        sent = [one for one in spool.certificate.findings if (one.first_seq or spool.committed) > spool.acked]
        told |= {(one.kind, one.segment, one.offset, one.first_seq): one for one in sent}
    return [
        finding
        for finding in told.values()
        if finding.kind not in HARMLESS
        and (finding.kind is not FindingKind.LOSS or overlap(ranges_of([finding], FindingKind.LOSS), lost))
    ]
