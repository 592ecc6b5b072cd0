"""What reading the log found beside records: losses, damage, torn ends, refusals. Each can be counted and shown."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from prediction_log.intervals import Interval, union


class FindingKind(StrEnum):
    """The names that go into reports, metrics and certificates.

    LOSS: these records were stored and cannot be read any more. ROT: bytes are not what was written, yet no record is
    missing. TORN_TAIL: the end of a segment is no whole batch, and nothing acknowledged is in it. TAIL_UNKNOWN: whether
    acknowledged records stood at this end cannot be told. CHAIN_BROKEN: a batch does not follow from the one before it.
    REFUSED: the writer could not store these records and said so to whoever waited. FORWARDED: Kafka has these records,
    and their segments were removed after that.
    """

    LOSS = "loss"
    ROT = "rot"
    TORN_TAIL = "torn_tail"
    TAIL_UNKNOWN = "tail_unknown"
    CHAIN_BROKEN = "chain_broken"
    REFUSED = "refused"
    FORWARDED = "forwarded"


HARMLESS: Final = frozenset({FindingKind.TORN_TAIL, FindingKind.REFUSED, FindingKind.FORWARDED})
"""Nothing that was answered is missing or in doubt."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding at byte `offset` of a segment. `first_seq` and `last_seq` are included, null where nobody can know."""

    kind: FindingKind
    log_id: str
    segment: int
    offset: int
    first_seq: int | None
    last_seq: int | None
    detail: str


def ranges_of(findings: Iterable[Finding], kind: FindingKind) -> list[Interval]:
    """The seqs that the findings of one kind speak of, where they say which."""
    return union(
        (finding.first_seq, finding.last_seq)
        for finding in findings
        if finding.kind is kind and finding.first_seq is not None and finding.last_seq is not None
    )
