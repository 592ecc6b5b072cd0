"""Records that wait for the next commit, and who waits for them.

Enters: records. Leaves: batches within BATCH_RECORDS_MAX and BATCH_BYTES_MAX, in order. Its own bound is the writer's: it
asks for `bytes` before it adds.
"""

import asyncio
from collections.abc import Callable

from contracts.errors import LogUnavailable
from prediction_log.spool.segment import BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Record

Told = Callable[[LogUnavailable | None], None]


class Group:
    """Waits for records that came together, at the last of them: batches are stored in order, so that all are stored when
    it is. Where one of their batches is refused all count as refused, though those before it are stored.
    """

    __slots__ = ("_told", "size")

    def __init__(self, size: int, told: Told) -> None:
        self.size = size
        self._told = told

    def stored(self) -> None:
        """All of them are durable."""
        self._told(None)

    def refused(self, error: LogUnavailable) -> None:
        """They are not."""
        self._told(error)


class Single:
    """Waits for one record, as a future that its caller may cancel."""

    __slots__ = ("future",)
    size = 1

    def __init__(self, future: "asyncio.Future[None]") -> None:
        self.future = future

    def stored(self) -> None:
        """It is durable."""
        if not self.future.done():
            self.future.set_result(None)

    def refused(self, error: LogUnavailable) -> None:
        """It is not."""
        if not self.future.done():
            self.future.set_exception(error)


Waiter = Group | Single
Waiters = list[Waiter | None]
Records = list[Record]


class Pending:
    """`records`, and for each its waiter or None; `bytes` are the payloads' together, what they share
    counted each time. The writer adds to them itself: a call a record is a tenth of an append.
    """

    def __init__(self) -> None:
        self.records: Records = []
        self.waiters: Waiters = []
        self.bytes = 0

    def take(self) -> tuple[Records, Waiters]:
        """Take the next batch's records and waiters out."""
        records, waiters = self.records, self.waiters
        if len(records) <= BATCH_RECORDS_MAX and self.bytes <= BATCH_BYTES_MAX:
            self.records, self.waiters, self.bytes = [], [], 0
            return records, waiters
        count = size = 0
        while count < len(records) and count < BATCH_RECORDS_MAX and size < BATCH_BYTES_MAX:
            size += len(records[count][1]) + len(records[count][2])
            count += 1
        self.records, self.waiters = records[count:], waiters[count:]
        self.bytes -= size
        return records[:count], waiters[:count]

    def clear(self) -> Waiters:
        """Drop all records; the waiters, who must be told."""
        waiters = self.waiters
        self.records, self.waiters, self.bytes = [], [], 0
        return waiters
