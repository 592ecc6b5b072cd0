"""How much of the spool Kafka does not have yet, and how fast it may catch up.

Enters: logs with their cursors; bytes as they are sent. Leaves: counts; how many bytes may go now. Reads heads and one
record a log, never a backlog.

`Throttle` binds only while there is a backlog, and then it lets pass what arrives anyway plus the bound: a bound on all
that is sent would make a host that is busier than the bound fall behind for ever.
"""

import os
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from contracts.errors import InvalidRecord
from prediction_log.compact import is_compact, received_in
from prediction_log.forward.cursor import Cursor
from prediction_log.position import Position
from prediction_log.spool.head import Head, read_head
from prediction_log.spool.places import LogDirectory, segment_numbers, segment_path
from prediction_log.spool.segment import DATA_START, Kind, seed_of
from prediction_log.spool.tail import LogTail

BEHIND_BYTES: Final = 16 * 2**20
"""Less than this under way or waiting is every day's work, more is a backlog."""
BURST_SECONDS: Final = 0.25


class LogBacklog(NamedTuple):
    """What one log still has to send. `committed` is its last acknowledged seq, `oldest_us` when the first record that is
    not sent was received (null: there is none, or it does not say).
    """

    committed: int
    records: int
    bytes: int
    oldest_us: int | None


class _Moments(msgspec.Struct):
    """When a record came to be, under the name that its kind has for it; the first that is given counts."""

    received_us: int | None = None
    at_us: int | None = None
    evaluated_us: int | None = None
    first_seen_us: int | None = None
    decided_us: int | None = None
    requested_us: int | None = None


def backlog_of(log: LogDirectory, acked: Cursor, boot: int) -> LogBacklog:
    """Look at one log. Raises OSError and CorruptLog."""
    position = acked.position
    if position.ended:
        return LogBacklog(position.seq, 0, 0, None)
    committed, size, seed = position.seq, 0, seed_of(bytes.fromhex(log.log_id))
    for number in segment_numbers(log.path):
        if number >= position.segment:
            witness = _head(log, number, seed).witness
            if witness is not None and witness.seq:
                committed = max(committed, witness.seq)
                start = position.offset if number == position.segment else DATA_START
                size += max(0, witness.end - start)
    if committed == position.seq:
        return LogBacklog(committed, 0, 0, None)
    return LogBacklog(committed, committed - position.seq, size, _oldest_us(log, position, boot))


def _head(log: LogDirectory, number: int, seed: int) -> Head:
    try:
        fd = os.open(segment_path(log.path, number), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # a spare that its writer took back as it closed
        return Head(None, None, whole=False)
    try:
        return read_head(fd, log.log_id, seed)
    finally:
        os.close(fd)


def _oldest_us(log: LogDirectory, position: Position, boot: int) -> int | None:
    first = LogTail(log.path, log.log_id, position, boot).read(1)
    if not first:
        return None
    payload = first[0].payload
    try:
        if first[0].kind is Kind.PREDICTION and is_compact(payload):
            return received_in(payload)
        moments = msgspec.json.decode(payload, type=_Moments)
    except (InvalidRecord, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return next(filter(None, msgspec.structs.astuple(moments)), None)


class Throttle:
    """Tokens are bytes. `bytes_per_second_max` 0: no bound. Time is passed in, in seconds that never go back."""

    def __init__(self, bytes_per_second_max: int, mono: Callable[[], float]) -> None:
        self._bound = bytes_per_second_max
        self._mono = mono
        self._rate = float(bytes_per_second_max)
        self._tokens = 0.0
        self._at = mono()
        self.behind = False

    def observe(self, backlog_bytes: int, arrived_bytes_per_second: float) -> None:
        """Look again, about once a second, at how much waits and how much comes."""
        self.behind = backlog_bytes > BEHIND_BYTES
        self._rate = self._bound + max(0.0, arrived_bytes_per_second)

    def may_send(self) -> bool:
        """Whether the next part may be read now."""
        if not self._bound or not self.behind:
            return True
        now = self._mono()
        self._tokens = min(self._tokens + (now - self._at) * self._rate, self._rate * BURST_SECONDS)
        self._at = now
        return self._tokens > 0

    def sent(self, size: int) -> None:
        """So many bytes were read to be sent."""
        if self._bound and self.behind:
            self._tokens -= size
