"""One log on its way to Kafka: read on from its cursor, made into parts, acknowledged part by part, in order.

Enters: the log's directory; word that parts were acknowledged, refused, or have to be sent again. Leaves: parts, each with
the cursor that is true once it and all before it are acknowledged. Never sends, never moves a cursor on hope.

When a segment is over its seals make a part of their own, which waits until nothing of the log is under way: a seal says
how many messages came before it. A law of partitions that changed with this start holds for segments that did not exist
yet: of those that did, some may have been sent by the old one. Bounds: a part is one reading of RECORDS_MAX records or the
bytes it was asked for, which are bytes of JSON: how many that are in the spool is guessed from the part before.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from prediction_log.forward.cursor import Cursor, CursorFile, CursorState
from prediction_log.forward.dead import keep_dead
from prediction_log.forward.outgoing import Keyed, Message, Trail, keyed, loss_message
from prediction_log.forward.retention import is_done, mark_acknowledged
from prediction_log.position import Position
from prediction_log.spool.disk import Disk, data_end
from prediction_log.spool.places import LogDirectory, segment_numbers, segment_path
from prediction_log.spool.segment import DATA_START
from prediction_log.spool.tail import LogTail

RECORDS_MAX: Final = 4096
_SIZE_BYTES: Final = 4
_LOG: Final = logging.getLogger(__name__)


class Part(NamedTuple):
    """What one log adds to a shipment. `records` are those in it, `bytes` their values', `stored` what they take in the
    spool; `dead` those it only tells of. With `more` the next part can be had at once.
    """

    messages: list[Message]
    after: Cursor
    records: int
    bytes: int
    stored: int
    dead: int
    more: bool


class World(NamedTuple):
    """What a feed is given: the disk, the machine's boot, the law of partitions, and where dead records are kept."""

    disk: Disk
    boot: int
    partitions: int
    dead: Path


class Feed:
    """One log. `acked` is what Kafka has, `saved` what the cursor file says; `repairs` tell how the cursor had to be
    helped when it was opened.
    """

    def __init__(self, log: LogDirectory, world: World) -> None:
        self.log = log
        self.acked = self.saved = Cursor()
        self.repairs: list[str] = []
        self._world = world
        self._file = CursorFile(world.disk, log.path, log.log_id)
        self._sent = Position()
        self._under_way = 0
        self._growth = 1.0
        self._condemned: dict[int, str] = {}
        self._suspects: frozenset[int] = frozenset()
        self._law = self._lawful_through = 0
        self._trail = Trail(log.slot, log.log_id, self.acked)
        self._tail = LogTail(log.path, log.log_id, self._sent, world.boot)

    def open(self) -> None:
        """Take up where the cursor says. Raises OSError."""
        loaded = self._file.load()
        self.saved = loaded.cursor
        if loaded.state is CursorState.DAMAGED:
            self.repairs.append("both slots of the cursor are damaged: everything is sent once more")
        if loaded.state is CursorState.NONE:
            self._file.save(Cursor(partitions=self._world.partitions))  # the law is known before anything is sent by it
            self.saved = Cursor(partitions=self._world.partitions)
        self.acked, repair = _put_right(self.log.path, self.saved)
        self._law = self.acked.partitions or self._world.partitions
        self._lawful_through = max(segment_numbers(self.log.path), default=0)
        if repair:
            self.repairs.append(repair)
        for repair in self.repairs:
            _LOG.warning("%s/%s: %s", self.log.slot, self.log.log_id, repair)
        self.rewind()

    @property
    def is_done(self) -> bool:
        """Whether everything is acknowledged, for ever."""
        return is_done(self.acked)

    @property
    def under_way(self) -> int:
        """How many parts are sent and not acknowledged."""
        return self._under_way

    @property
    def is_saved(self) -> bool:
        """Whether the cursor file says all that is known."""
        return self.saved == self.acked

    def rewind(self) -> None:
        """Forget what was sent and not acknowledged: it is sent again."""
        self._under_way = 0
        self._sent = self.acked.position
        self._trail = Trail(self.log.slot, self.log.log_id, self.acked)
        self._tail = LogTail(self.log.path, self.log.log_id, self._sent, self._world.boot)

    def next_part(self, bytes_max: int) -> Part | None:
        """The next part, of about `bytes_max` bytes of JSON and what one batch of a writer has beyond; None where there is
        nothing, or nothing yet. Raises CorruptLog and OSError: rewind then.
        """
        trail, tail = self._trail, self._tail
        if trail.segment and (tail.ended or self._sent.segment != trail.segment):
            return None if self._under_way else self._sealed()
        payloads_max = max(1, int(bytes_max / self._growth))
        entries = tail.read(RECORDS_MAX, payloads_max, one_segment=True)
        findings, tail.findings = tail.findings, []
        position = tail.position
        if position == self._sent and not findings:
            return None
        stored, self._sent = bytes_between(self._sent, position), position
        if entries and not trail.segment:
            was_there = entries[0].segment <= self._lawful_through
            trail.begin(entries[0].segment, self._law if was_there else self._world.partitions)
        records = keyed(entries, self._condemned)
        dead = self._bury(records)
        messages = trail.messages(records, self._suspects) if entries else []
        messages += [loss_message(self.log.slot, finding) for finding in findings]
        size, read = sum(map(len, records.values)), sum(len(entry.payload) for entry in entries)
        self._growth = max(1.0, size / read) if read else self._growth
        more = read >= payloads_max or len(entries) >= RECORDS_MAX or not entries
        return self._part(Part(messages, trail.cursor(position), len(entries), size, stored, dead, more))

    def _sealed(self) -> Part:
        """The seals of the segment that is over."""
        messages = self._trail.seals(self._sent.seq)
        return self._part(Part(messages, self._trail.cursor(self._sent), 0, 0, 0, 0, more=True))

    def _part(self, part: Part) -> Part:
        self._under_way += 1
        return part

    def _bury(self, records: Keyed) -> int:
        """Keep the records that only tombstones will tell of; how many."""
        if not records.poison:
            return 0
        told = zip(records.entries, records.values, strict=True)
        dead = [entry._replace(payload=value) for entry, value in told if entry.seq in records.poison]
        if not dead:
            return 0
        for entry in dead:
            keep_dead(self._world.disk, self._world.dead, self.log.slot, entry)
        _LOG.error(
            "%d records that Kafka cannot take are kept in %s; the first, %s/%d: %s",
            *(len(dead), self._world.dead, self.log.log_id, dead[0].seq, records.poison[dead[0].seq]),
        )
        return len(dead)

    def acknowledge(self, part: Part) -> None:
        """Kafka has this part and all before it."""
        self._under_way -= 1
        self.acked = part.after
        if self._suspects or self._condemned:
            reached = self.acked.position.seq
            self._suspects = frozenset(seq for seq in self._suspects if seq > reached)
            self._condemned = {seq: reason for seq, reason in self._condemned.items() if seq > reached}

    def suspect(self, seqs: Sequence[int]) -> None:
        """One of these was refused, nobody knows which: from the next sending on each goes alone."""
        self._suspects |= set(seqs)

    def condemn(self, seq: int, reason: str) -> bool:
        """This one was refused: from the next sending on a tombstone stands for it. False where it was one already."""
        if seq in self._condemned:
            return False
        self._suspects -= {seq}
        self._condemned[seq] = reason
        return True

    def save(self, now_us: int) -> bool:
        """Bring the cursor file up to what is acknowledged; whether there was anything to do. Raises OSError.

        Called in a thread: it takes one look at `acked` and goes by that.
        """
        acked = self.acked
        if acked == self.saved:
            return False
        mark_acknowledged(self._world.disk, self.log.path, self.saved, acked, now_us)
        self._file.save(acked)
        self.saved = acked
        return True


def _put_right(directory: Path, cursor: Cursor) -> tuple[Cursor, str | None]:
    """The cursor as the files allow it, and what had to be done to it."""
    position = cursor.position
    numbers = segment_numbers(directory)
    if position.ended or position.segment in {0, *numbers}:
        end = None if position.ended or not position.segment else _data_end(directory, position)
        if end is None:
            return cursor, None
        detail = f"the cursor points to byte {position.offset} of segment {position.segment}, its data end at {end}"
        return _at(cursor, position.segment, end), f"{detail}: it goes on from there"
    later = [number for number in numbers if number > position.segment]
    where = f"segment {later[0]} is the next" if later else "there is none after it"
    return cursor, f"the cursor points to segment {position.segment}, which is gone; {where}"


def _data_end(directory: Path, position: Position) -> int | None:
    """Where the data of the segment end; None where they reach at least to the position: what ends there is a frame's size,
    and that is never zero.
    """
    with segment_path(directory, position.segment).open("rb") as file:
        fd = file.fileno()
        last = os.pread(fd, _SIZE_BYTES, position.offset - _SIZE_BYTES)
        if position.offset == DATA_START or (len(last) == _SIZE_BYTES and any(last)):
            return None
        return max(data_end(fd), DATA_START)


def _at(cursor: Cursor, segment: int, offset: int) -> Cursor:
    """The same cursor at a byte where the hash chain is not known; what it counts as acknowledged it keeps."""
    position = Position(segment=segment, offset=offset, seq=cursor.position.seq)
    return Cursor(position=position, segment=cursor.segment, partitions=cursor.partitions, lanes=cursor.lanes)


def bytes_between(before: Position, after: Position) -> int:
    """How many bytes of a segment lie between two positions of a log, at most one segment apart."""
    return after.offset - (before.offset if before.segment == after.segment else DATA_START)
