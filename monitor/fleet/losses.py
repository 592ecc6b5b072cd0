"""What must have come in and did not: the claims of those who sent, held against what was counted.

Enters: which seqs of which stream are counted, and claims that a stream reaches up to a seq: seals, which stand in the
partition behind everything they speak of, and manifests, which come by another way. Leaves: a finding for each hole. Pure.

A seal is due when what came before it is counted. A manifest's claims are due when everything is counted that stood in the
partition when the manifest was read: what it speaks of was acknowledged before. Nobody can tell a loss from what a topic's
retention took before a monitor existed. So, of streams that were met before this process was at the end of the partition
for the first time, only holes between counted records are losses; and of a stream that a manifest is the first to name,
what it claims beyond that first time.

Bounds: `MANIFESTS_MAX` manifests wait; beyond it the oldest goes, and the next one says the same. Of holes the last
`HOLES_MAX` are remembered, so that each is told once.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from prediction_log.finding import Finding, FindingKind
from prediction_log.intervals import Interval, size, union
from prediction_log.kafka.coverage import missing
from prediction_log.kafka.message import Place

MANIFESTS_MAX: Final = 1_024
HOLES_MAX: Final = 65_536

Seen = Mapping[str, Sequence[Interval]]
Streams = Mapping[str, int]
"""The last seq that was sent, by stream."""


class Claims:
    """The claims on one partition; `where` names it for people."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._floors: dict[str, int] = {}
        self._mentioned: dict[str, int] = {}
        self._been_at_end = False
        self._sealed: dict[str, int] = {}
        self._manifests: deque[tuple[Mapping[str, int], Streams]] = deque(maxlen=MANIFESTS_MAX)
        self._told: dict[tuple[str, Interval], None] = {}

    def begin(self, seen: Seen) -> None:
        """The state was opened: what came before its records is not asked for."""
        self._been_at_end = False
        self._floors = {stream: _first(intervals) - 1 for stream, intervals in seen.items()}
        self._mentioned, self._sealed = {}, {}
        self._manifests.clear()

    @property
    def waiting(self) -> bool:
        """Whether any claim was not held against what is counted yet."""
        return bool(self._sealed or self._manifests)

    def sealed(self, stream: str, last: int) -> None:
        """A seal in the stream itself: it reaches up to `last`."""
        self._sealed[stream] = max(last, self._sealed.get(stream, 0))

    def manifest(self, streams: Streams, ends: Mapping[str, int]) -> None:
        """A host's claims, read when the topics of the partition ended at these offsets."""
        self._manifests.append((ends, streams))

    def met(self, seen: Seen, streams: Iterable[str], *, at_end: bool) -> None:
        """A step has counted records of these streams, and then was `at_end`. A stream that is new when we were at the end
        before began under our eyes: it is asked for from its first seq on.
        """
        for stream in streams:
            if stream not in self._floors:
                self._floors[stream] = 0 if self._been_at_end else _first(seen.get(stream, ())) - 1
        self._been_at_end |= at_end

    def due(self, seen: Seen, positions: Mapping[str, int]) -> list[Finding]:
        """The holes that are certain now, each once."""
        sealed, self._sealed = self._sealed, {}
        found = list(self._holes(seen, sealed))
        while self._manifests and _reached(positions, self._manifests[0][0]):
            found += self._holes(seen, self._manifests.popleft()[1])
        return found

    def _holes(self, seen: Seen, streams: Streams) -> Iterator[Finding]:
        for stream, last in streams.items():
            floor = self._floors.get(stream)
            if floor is None:
                floor = self._mentioned.setdefault(stream, last)
            for hole in missing(seen.get(stream, ()), last, floor + 1):
                if (stream, hole) not in self._told:
                    if len(self._told) >= HOLES_MAX:
                        del self._told[next(iter(self._told))]
                    self._told[stream, hole] = None
                    yield hole_finding(self._where, stream, hole)


def hole_finding(where: str, stream: str, hole: Interval) -> Finding:
    """Records of this range were sent, and Kafka does not have them: at least one, at most all."""
    letter, _, log_id = stream.partition(":")
    what = "predictions" if letter == "p" else "labels"
    return Finding(
        kind=FindingKind.LOSS,
        log_id=log_id,
        segment=0,
        offset=0,
        first_seq=hole[0],
        last_seq=hole[1],
        detail=f"{where}, {what}: a record of this range was sent and is not there; it is not counted",
    )


def dead_finding(place: Place, reason: str) -> Finding:
    """A record that its host could not send: a tombstone stands for it."""
    return Finding(
        kind=FindingKind.LOSS,
        log_id=place.log_id,
        segment=place.segment,
        offset=0,
        first_seq=place.seq,
        last_seq=place.seq,
        detail=f"its host could not send this record and kept it back; it is not counted: {reason}",
    )


def lost_records(findings: Iterable[Finding]) -> int:
    """How many records are lost at most: the seqs, or offsets, that losses name, each once."""
    ranges: dict[str, list[Interval]] = {}
    for finding in findings:
        if finding.kind is FindingKind.LOSS and finding.first_seq is not None and finding.last_seq is not None:
            ranges.setdefault(finding.log_id, []).append((finding.first_seq, finding.last_seq))
    return sum(size(union(own)) for own in ranges.values())


def _first(intervals: Sequence[Interval]) -> int:
    return intervals[0][0] if intervals else 1


def _reached(positions: Mapping[str, int], ends: Mapping[str, int]) -> bool:
    return all(positions.get(topic, 0) >= end for topic, end in ends.items())
