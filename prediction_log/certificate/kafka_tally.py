"""What lies in the topics, added up for the certificate: by log, and by the lanes in which a log's records lie.

Enters: batches as they were decoded, each of one lane (a topic-partition: `p3`, `l0`, `a0`). Leaves: for each log which
seqs are there, how often, and what its host said of it. Pure; never judges. Bounds: a bit a record (`SeqSet`), an interval
for each hole, a number for each segment that is not sealed, `FINDINGS_MAX` findings a log.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final

import msgspec
import numpy as np

from prediction_log.certificate.seq_set import SeqSet
from prediction_log.finding import Finding, FindingKind
from prediction_log.intervals import Interval, add
from prediction_log.kafka.coverage import cover
from prediction_log.kafka.decoding import EXTERNAL_LABELS, Batch
from prediction_log.kafka.message import Control, Place
from prediction_log.position import Entry

FINDINGS_MAX: Final = 1_000

Lane = str


class LaneTally:
    """One log in one lane. `covered` is what its messages vouch for, `reaches` the last seq that a seal or manifest says
    is there, `counts` the messages of segments that are not sealed yet, `short` how many a seal misses, by segment.
    """

    def __init__(self) -> None:
        self.records = 0
        self.covered: list[Interval] = []
        self.reaches = 0
        self.counts: Counter[int] = Counter()
        self.short: dict[int, int] = {}


class LogTally:
    """One log. `delivered` are seqs that are there as records, `dead` as tombstones. `twice`: new to their lane, and there
    in another one already. `masked`: there, but the links said before that there is no such record: a reader takes it for
    a duplicate. `committed` and `acked` are its host's last words, `reaches` the last seq of which anybody spoke.
    """

    def __init__(self) -> None:
        self.slot = ""
        self.lanes: dict[Lane, LaneTally] = {}
        self.delivered = SeqSet()
        self.kinds: Counter[str] = Counter()
        self.duplicates = 0
        self.dead: list[Interval] = []
        self.twice: list[Interval] = []
        self.masked: list[Interval] = []
        self.findings: dict[tuple[Any, ...], Finding] = {}
        self.committed = 0
        self.acked = 0
        self.reaches = 0

    @property
    def records(self) -> int:
        """How many different records are there."""
        return sum(lane.records for lane in self.lanes.values())

    def lane(self, name: Lane) -> LaneTally:
        """A lane, also one that was not met yet."""
        return self.lanes.setdefault(name, LaneTally())

    def take(self, name: Lane, entries: Sequence[Entry]) -> None:
        """Add records of one lane, in its order."""
        lane = self.lane(name)
        linked = [cover(lane.covered, entry.after or 0, entry.seq) for entry in entries]
        new = self.delivered.add(np.fromiter((entry.seq for entry in entries), np.int64, len(entries))).tolist()
        number = sum(new)
        lane.records += number
        lane.counts.update(entry.segment for entry in compress(entries, new))
        self.kinds.update(entry.kind.name.lower() for entry in compress(entries, new))
        self.duplicates += linked.count(False) if linked == new else 0
        if linked != new:
            for entry, by_link, by_seq in zip(entries, linked, new, strict=True):
                if by_link != by_seq:
                    add(self.twice if by_link else self.masked, entry.seq, entry.seq)
                else:
                    self.duplicates += not by_seq

    def bury(self, name: Lane, place: Place) -> None:
        """Add a tombstone."""
        if cover(self.lane(name).covered, min(place.after, place.seq - 1), place.seq):
            self.lane(name).counts[place.segment] += 1
            add(self.dead, place.seq, place.seq)
        else:
            self.duplicates += 1

    def seal(self, name: Lane, place: Place) -> None:
        """Add what a seal says: how far lane and segment reach, and how many messages were before it."""
        lane = self.lane(name)
        lane.reaches = max(lane.reaches, place.after)
        self.reaches = max(self.reaches, place.seq)
        if place.segment in lane.counts:
            lane.short.pop(place.segment, None)
            if lane.counts[place.segment] < place.pseq:
                lane.short[place.segment] = place.pseq - lane.counts[place.segment]
            else:
                del lane.counts[place.segment]


class Tally:
    """All topics together. `external` are labels from outside by lane: how many, and the last one's seq; `unreadable`
    counts messages by the reason's first word; of `cut` lanes the beginning is gone.
    """

    def __init__(self) -> None:
        self.logs: dict[str, LogTally] = {}
        self.external: dict[Lane, tuple[int, int]] = {}
        self.unreadable: Counter[str] = Counter()
        self.cut: set[Lane] = set()

    def log(self, log_id: str) -> LogTally:
        """A log, also one that was not met yet."""
        return self.logs.setdefault(log_id, LogTally())

    def take(self, lane: Lane, batch: Batch) -> None:
        """Add what one lane held."""
        runs: dict[str, list[Entry]] = {}
        for entry in batch.entries:
            runs.setdefault(entry.log_id, []).append(entry)
        for stream, entries in runs.items():
            if stream == EXTERNAL_LABELS:
                number, _ = self.external.get(lane, (0, 0))
                self.external[lane] = number + len(entries), entries[-1].seq
            else:
                self.log(stream.partition(":")[2]).take(lane, entries)
        for _, control in batch.controls:
            self._obey(lane, control)
        self.unreadable.update(letter.reason.partition(":")[0] for letter in batch.undecodable)

    def _obey(self, lane: Lane, control: Control) -> None:
        kind, place, content = control
        try:
            if kind == "tombstone" and place is not None:
                self.log(place.log_id).bury(lane, place)
            elif kind == "seal" and place is not None:
                self.log(place.log_id).seal(lane, place)
                self.log(place.log_id).slot = str(content.get("slot", ""))
            elif kind == "loss":
                self._found(msgspec.convert(content, _Loss))
            elif kind == "manifest":
                self._claimed(msgspec.convert(content, _Manifest))
        except msgspec.ValidationError:
            self.unreadable["unreadable"] += 1

    def _found(self, loss: "_Loss") -> None:
        log = self.log(loss.log_id)
        log.slot = loss.slot or log.slot
        if len(log.findings) < FINDINGS_MAX:
            log.findings[loss.kind, loss.segment, loss.offset, loss.first] = Finding(
                kind=loss.kind,
                log_id=loss.log_id,
                segment=loss.segment,
                offset=loss.offset,
                first_seq=loss.first,
                last_seq=loss.last,
                detail=loss.detail,
            )

    def _claimed(self, manifest: "_Manifest") -> None:
        for said in manifest.logs:
            log = self.log(said.log_id)
            log.slot = said.slot or log.slot
            log.committed = max(log.committed, said.committed)
            log.acked = max(log.acked, said.acked)
            for name, last in said.lanes.items():
                log.lane(name).reaches = max(log.lane(name).reaches, last)


class _Loss(msgspec.Struct):
    log_id: str
    kind: FindingKind
    slot: str = ""
    segment: int = 0
    offset: int = 0
    first: int | None = None
    last: int | None = None
    detail: str = ""


class _Said(msgspec.Struct):
    log_id: str
    slot: str = ""
    committed: int = 0
    acked: int = 0
    lanes: Mapping[str, int] = {}


class _Manifest(msgspec.Struct):
    logs: list[_Said] = []
