"""Some batches of one partition -> what its state takes in one step, and what goes elsewhere.

Enters: batches in the order in which they were read. Leaves: one reading, the dead letters among them, what seals claim,
and which streams were met. Pure.

A tombstone stands in its stream for a record that its host could not send: it covers its place, is counted nowhere, and is
told as a loss. A message that we cannot read covers nothing, whatever it says of itself: forged headers must not make
duplicates of other people's records.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

from monitor.counts.consume import Reading
from monitor.fleet.losses import dead_finding
from prediction_log.finding import Finding
from prediction_log.kafka.decoding import EXTERNAL_LABELS, Batch, DeadLetter
from prediction_log.kafka.message import Control
from prediction_log.kafka.topics import Topics
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind

REASON_CHARS_MAX: Final = 300


class Arrival(NamedTuple):
    """`read` messages came in, `dead` of them cannot be read; `sealed` streams reach up to a seq; `streams` were met."""

    reading: Reading
    dead: list[DeadLetter]
    read: int
    sealed: list[tuple[str, int]]
    streams: set[str]


def arrival_of(batches: Sequence[Batch]) -> Arrival:
    """What the batches hold."""
    controls = [control for batch in batches for control in batch.controls]
    dead = [letter for batch in batches for letter in batch.undecodable]
    entries = list(chain.from_iterable(batch.entries for batch in batches))
    read = len(entries) + len(controls) + len(dead)
    streams = {entry.log_id for entry in entries}
    entries += [_stand_in(stream, control) for stream, control in controls if control.kind == "tombstone"]
    positions = {topic: b"%d" % offset for batch in batches for topic, offset in batch.positions.items()}
    findings = [finding for batch in batches for finding in batch.findings] + list(_kept_back(batches))
    reading = Reading(entries, positions, findings, batches[-1].caught_up)
    return Arrival(reading, dead, read, list(_sealed(controls)), streams)


def letters_of(entries: Sequence[Entry], topics: Topics, number: int) -> list[DeadLetter]:
    """Records that only turned out to be none as they were decoded. Where they stood in Kafka is not known any more, but for
    labels from outside: their offset is -1, and their log and seq name them.
    """
    letters = []
    for entry in entries:
        log_id = entry.log_id.partition(":")[2]
        outside = entry.log_id == EXTERNAL_LABELS
        headers = [] if outside else [("log_id", log_id.encode()), ("seq", b"%d" % entry.seq)]
        topic = topics.predictions if entry.kind is Kind.PREDICTION else topics.labels
        reason = f"undecodable: the value is no {entry.kind.name.lower()} that can be counted"
        offset = entry.seq - 1 if outside else -1
        letters.append(DeadLetter(topic, number, offset, reason, None, entry.payload, headers))
    return letters


def _stand_in(stream: str, control: Control) -> Entry:
    """An entry that covers a place and is counted nowhere."""
    assert control.place is not None, "a tombstone has a place"
    log_id, segment, seq, after, _ = control.place
    return Entry(f"{stream}:{log_id}", seq, Kind.AUDIT, b"", segment, min(after, seq - 1))


def _kept_back(batches: Sequence[Batch]) -> Iterator[Finding]:
    for batch in batches:
        for _, control in batch.controls:
            if control.kind == "tombstone" and control.place is not None:
                yield dead_finding(control.place, str(control.content.get("reason", "unknown"))[:REASON_CHARS_MAX])


def _sealed(controls: Sequence[tuple[str, Control]]) -> Iterator[tuple[str, int]]:
    for stream, control in controls:
        if control.kind == "seal" and control.place is not None:
            yield f"{stream}:{control.place.log_id}", control.place.after
