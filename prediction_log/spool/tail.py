"""One log, read from a position on: the story of what follows the last record that was read.

Enters: a log's directory and a position in it. Leaves: committed records in order of seq, each once; findings; the new
position. Never writes, never waits, never returns a byte whose checksum does not hold.

A log that is still written is read up to its last whole batch and then left alone: what comes after that may be a write
under way. Whatever may change an answer is asked before the bytes are looked at for the last time: whether the writer
lives, what its witness says, and whether a later segment is in use.
"""

import os
from pathlib import Path
from typing import Final

from prediction_log.finding import Finding, FindingKind
from prediction_log.forward.cursor import cursor_of
from prediction_log.intervals import difference, union
from prediction_log.position import Entry, Position
from prediction_log.spool.head import Head, is_in_use, read_head
from prediction_log.spool.places import segment_numbers, segment_path, writer_lives
from prediction_log.spool.recovery import Anchor, beginnings_in, find_anchor, first_seq_in, judge_tail, rescue
from prediction_log.spool.scan import Batch, Seal, Stop
from prediction_log.spool.segment import DATA_START, RECORDS, Commit, Kind, decode_loss, root_of, seed_of
from prediction_log.spool.window import Window, rest_of

UNBOUNDED: Final = 2**63
_UNKNOWN: Final = b""


class LogTail:
    """Reads one log. `findings` grow with every read; the caller takes them. `sealed`: it ended as its writer meant it
    to.
    """

    def __init__(self, directory: Path, log_id: str, position: Position, boot: int) -> None:
        self.findings: list[Finding] = []
        self.seq = position.seq
        self.ended = position.ended
        self.sealed = False
        self.level: str | None = None
        self._directory = directory
        self._log_id = log_id
        self._boot = boot
        raw_id = bytes.fromhex(log_id)
        self._seed = seed_of(raw_id)
        self._segment = position.segment
        self._offset = position.offset
        self._chain = bytes.fromhex(position.chain) if position.segment else root_of(raw_id)
        self._previous = bytes.fromhex(position.previous)
        self._bytes_left = UNBOUNDED
        self._jumped = False

    @property
    def position(self) -> Position:
        """Where the next read goes on, in this process or another."""
        return Position(
            segment=self._segment,
            offset=self._offset,
            seq=self.seq,
            chain=self._chain.hex() if self._segment else "",
            previous=self._previous.hex(),
            ended=self.ended,
        )

    def read(self, records_max: int, bytes_max: int = UNBOUNDED, *, one_segment: bool = False) -> list[Entry]:
        """The next records, at most `records_max`; fewer where there are no more yet. Of payloads `bytes_max` and what
        one batch has beyond. With `one_segment` it stops where a segment ends, which is where `position` then is.
        """
        entries: list[Entry] = []
        self._bytes_left, segment = bytes_max, self._segment
        while len(entries) < records_max and self._bytes_left > 0 and not self.ended:
            if one_segment and self._segment != segment:
                break
            try:
                fd = os.open(segment_path(self._directory, self._segment), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if self._skip_to_next():
                    continue
                break
            try:
                if not self._read_segment(fd, entries, records_max):
                    break
            finally:
                os.close(fd)
        return entries

    def _skip_to_next(self) -> bool:
        """Go to the next segment that exists: at the start of the log, or where a file is gone."""
        alive = writer_lives(self._directory)
        later = [number for number in segment_numbers(self._directory) if number > self._segment]
        if later:
            self._move_to(later[0])
            self._jumped = True
        elif not alive:
            cursor = cursor_of(self._directory, self._log_id)
            if cursor is not None and cursor.position.ended:
                if cursor.position.seq > self.seq:
                    self._forwarded(self.seq + 1, cursor.position.seq)
            elif self._segment:
                self._find(FindingKind.TAIL_UNKNOWN, self._offset, self.seq + 1, None, "the segment's file is gone")
            self.ended = True
        return bool(later)

    def _read_segment(self, fd: int, entries: list[Entry], records_max: int) -> bool:
        """Read on in one segment; True where there may be more at once, False where the reader has to come back."""
        if self._offset == DATA_START:
            self._head(fd)  # refuses a format that is not ours before any byte of it is taken for damage
        window = Window(fd, self._offset, self._seed)
        while len(entries) < records_max and self._bytes_left > 0:
            found = window.next()
            if isinstance(found, Batch):
                if not self._take(found, window.offset, entries, records_max):
                    return False
            elif isinstance(found, Seal):
                return self._pass_seal(fd, found)
            else:
                return self._settle(fd, found, entries, records_max)
        return False

    def _take(self, batch: Batch, end: int, entries: list[Entry], records_max: int) -> bool:
        """Take over a whole batch, without what an earlier copy of it already gave; False where `entries` is full."""
        commit = batch.commit
        if commit.first_seq > self.seq + 1:
            self._miss(self.seq + 1, commit.first_seq - 1, "no batch holds them")
        self._check_link(commit)
        records = batch.records
        if (
            len(records) == commit.records > 0
            and records[0][0] > self.seq
            and len(entries) + len(records) <= records_max
        ):
            self._take_all(records, entries)
        else:
            for record in records:
                if record[0] > self.seq:
                    if len(entries) >= records_max:
                        return False
                    self._take_record(record, entries)
        self._offset, self._chain, self._previous, self._jumped = end, commit.chain, commit.previous, False
        return True

    def _take_all(self, records: list[tuple[int, int, bytes]], entries: list[Entry]) -> None:
        """Records that are all new, none of them a loss: what nearly every batch is."""
        log_id, segment, kinds, make = self._log_id, self._segment, RECORDS, tuple.__new__
        entries += [make(Entry, (log_id, seq, kinds[kind], payload, segment, None)) for seq, kind, payload in records]
        self._bytes_left -= sum([len(payload) for _, _, payload in records])
        self.seq = records[-1][0]

    def _take_record(self, record: tuple[int, int, bytes], entries: list[Entry]) -> None:
        seq, kind, payload = record
        if kind == Kind.LOSS:
            self._refuse(max(decode_loss(payload)[0], self.seq + 1), seq)
        else:
            entries.append(Entry(self._log_id, seq, RECORDS[kind], payload, self._segment))
            self._bytes_left -= len(payload)
        self.seq = seq

    def _check_link(self, commit: Commit) -> None:
        """A batch follows the last one; or it repeats that one, whose segment failed under it, and follows its
        predecessor.
        """
        repeats = commit.first_seq <= self.seq and commit.previous == self._previous
        if self._chain not in (_UNKNOWN, commit.previous) and not repeats:
            detail = "the batch does not follow from the one before it"
            self._find(FindingKind.CHAIN_BROKEN, self._offset, commit.first_seq, commit.last_seq, detail)
            self._chain = _UNKNOWN

    def _pass_seal(self, fd: int, seal: Seal) -> bool:
        alive = writer_lives(self._directory)
        if seal.seq > self.seq:
            self._miss(self.seq + 1, seal.seq, "the seal counts them, no batch holds them")
        elif self._chain not in (_UNKNOWN, seal.chain) and not (seal.seq < self.seq and seal.chain == self._previous):
            self._find(FindingKind.CHAIN_BROKEN, self._offset, None, None, "the seal does not close this chain")
        later = [number for number in segment_numbers(self._directory) if number > self._segment]
        if seal.final or later or not alive:
            self._check_head(self._head(fd), failed=False)
        if seal.final:
            self.ended = self.sealed = True
        elif later:
            self._move_to(later[0])
            return True
        elif not alive:
            detail = "the log went on in a segment whose file is gone"
            self._find(FindingKind.TAIL_UNKNOWN, self._offset, self.seq + 1, None, detail)
            self.ended = True
        return False

    def _settle(self, fd: int, stop: Stop, entries: list[Entry], records_max: int) -> bool:
        """Decide what it means that no batch stands at the offset; True where reading can go on at once."""
        alive = writer_lives(self._directory)
        later = [number for number in segment_numbers(self._directory) if number > self._segment]
        in_use = next((n for n in later if is_in_use(segment_path(self._directory, n), self._seed)), None)
        head = self._head(fd)
        proven = head.witness.seq if head.witness else 0
        finished = in_use is not None or not alive
        if proven <= self.seq and not finished and (head.witness is not None or stop is Stop.CLEAN):
            return self._stands(fd)
        region = rest_of(fd, self._offset)
        anchor = find_anchor(region, self._seed)
        if anchor is None and head.witness is not None and proven > self.seq:
            anchor = Anchor(max(head.witness.end - self._offset, 0), proven)
        if self._stands(fd):
            return True
        if anchor is not None:
            return self._recover(fd, anchor, entries, records_max)
        if finished:
            self._finish(head, later, in_use, garbage=bool(region))
        return finished

    def _stands(self, fd: int) -> bool:
        """Whether a whole batch stands at the offset by now: it was being written at the first look."""
        return not isinstance(Window(fd, self._offset, self._seed).next(), Stop)

    def _recover(self, fd: int, anchor: Anchor, entries: list[Entry], records_max: int) -> bool:
        """Take what can still be read before the anchor, name what cannot, go on at the anchor."""
        region = os.pread(fd, anchor.offset, self._offset)
        begins = first_seq_in(region, self._seed) if self._jumped else None
        if begins is not None and begins > self.seq + 1:
            self._miss(self.seq + 1, begins - 1, "no batch holds them")
        beginnings = beginnings_in(rest_of(fd, DATA_START), self._seed)
        rescued = rescue(region, self._seed, self.seq, anchor.through, beginnings)
        room = records_max - len(entries)
        taken, cut = rescued.records[:room], len(rescued.records) > room
        through = taken[-1][0] if cut and taken else anchor.through
        read = [(seq, seq) for seq, _, _ in taken]
        refused = [(first, last) for first, last in rescued.refused if last <= through]
        expected = [(self.seq + 1, through)] if through > self.seq else []
        entries += [Entry(self._log_id, seq, RECORDS[kind], payload, self._segment) for seq, kind, payload in taken]
        for first, last in refused:
            self._refuse(first, last)
        missing = difference(expected, union(read + refused))
        for first, last in missing:
            self._find(FindingKind.LOSS, self._offset, first, last, "the bytes they stood in are damaged")
        self.seq, self._chain = max(self.seq, through), _UNKNOWN
        if cut:
            return False
        if not missing:
            self._find(FindingKind.ROT, self._offset, None, None, "damaged bytes, and every record is there")
        self._offset += anchor.offset
        return True

    def _finish(self, head: Head, later: list[int], in_use: int | None, *, garbage: bool) -> None:
        """Leave a segment that will not grow and has no seal."""
        self._check_head(head, failed=in_use is not None)
        header = head.header
        kind = judge_tail(
            garbage=garbage,
            witnessed=head.witness is not None,
            continued=in_use is not None and self._continues_in(later),
            same_boot=header is not None and header.boot == self._boot != 0,
            level=header.level if header else None,
        )
        if kind is FindingKind.TORN_TAIL:
            self._find(kind, self._offset, None, None, "an unfinished write; nothing acknowledged is in it")
        elif kind is not None:
            detail = "acknowledged records may have stood here; nothing proves or disproves it"
            self._find(kind, self._offset, self.seq + 1, None, detail)
        if in_use is None:
            self.ended = True
        else:
            self._move_to(later[0])

    def _move_to(self, number: int) -> None:
        self._segment, self._offset = number, DATA_START

    def _head(self, fd: int) -> Head:
        head = read_head(fd, self._log_id, self._seed)
        if head.header is not None:
            self.level = head.header.level
        return head

    def _check_head(self, head: Head, *, failed: bool) -> None:
        """Where the writer went on elsewhere without a seal, a write had failed here: that may have been the witness."""
        if head.whole:
            return
        if failed and head.header is not None and head.witness is not None:
            self._find(FindingKind.TORN_TAIL, 0, None, None, "an unfinished write of the witness")
        else:
            self._find(FindingKind.ROT, 0, None, None, "the segment's header or witness is damaged")

    def _continues_in(self, later: list[int]) -> bool:
        """Whether the first batch after this segment goes on with the next seq; a segment's first write may have failed."""
        for number in later:
            try:
                fd = os.open(segment_path(self._directory, number), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # a spare that its writer took back
                continue
            try:
                first = Window(fd, DATA_START, self._seed).next()
            finally:
                os.close(fd)
            if isinstance(first, Batch):
                return first.commit.first_seq <= self.seq + 1
        return False

    def _miss(self, first: int, last: int, detail: str) -> None:
        """Records that no batch holds: lost, unless their files are gone because Kafka has what was in them."""
        cursor = cursor_of(self._directory, self._log_id) if self._jumped else None
        handed = min(cursor.position.seq, last) if cursor is not None else 0
        if handed >= first:
            self._forwarded(first, handed)
        if handed < last:
            self._find(FindingKind.LOSS, self._offset, max(first, handed + 1), last, detail)
        self.seq, self._chain = last, _UNKNOWN

    def _forwarded(self, first: int, last: int) -> None:
        detail = "handed to Kafka; their segments were removed after the time for keeping them"
        self._find(FindingKind.FORWARDED, self._offset, first, last, detail)
        self.seq = last

    def _refuse(self, first: int, last: int) -> None:
        detail = "the disk failed; whoever waited for them was told so"
        self._find(FindingKind.REFUSED, self._offset, first, last, detail)

    def _find(self, kind: FindingKind, offset: int, first: int | None, last: int | None, detail: str) -> None:
        self.findings.append(
            Finding(
                kind=kind,
                log_id=self._log_id,
                segment=self._segment,
                offset=offset,
                first_seq=first,
                last_seq=last,
                detail=detail,
            )
        )
