"""The writer of one log: records in, durable batches out; one write for all appends of an event-loop tick.

Enters: kinds and payloads. Leaves: batches in segments, and a word to everybody who waits: stored, or `LogUnavailable`.
Never acknowledges what is not stored at the level asked for, never writes on to a file that failed, never holds up the
loop for a sync: level `process` writes on the loop (microseconds, into the page cache); syncs, rotation and preparation
run in threads of its own.

A failed batch goes once more, whole, into a fresh segment. Where that fails too its seqs are given up, never used again
(they may be on the disk all the same), and the next batch says so in a LOSS frame.

Bounds: PENDING_BYTES_MAX wait at most, then `append` refuses; beyond LATER_BYTES_MAX `append_later` sheds.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from contracts.errors import InvalidInput, LogUnavailable
from prediction_log.spool.background import Background
from prediction_log.spool.clock import Clock, SystemClock
from prediction_log.spool.disk import Disk, boot_of_this_machine, demand_free, direct
from prediction_log.spool.home import Home, move_in
from prediction_log.spool.pending import Group, Pending, Single, Told, Waiters
from prediction_log.spool.segment import (
    LOG_ID_BYTES,
    PAYLOAD_BYTES_MAX,
    Encoded,
    Level,
    Record,
    encode_batch,
    encode_seal,
    root_of,
    seed_of,
)
from prediction_log.spool.segment_file import SegmentFile
from prediction_log.spool.supply import SegmentSupply, Surroundings, Terms

PENDING_BYTES_MAX: Final = 32 * 2**20
LATER_BYTES_MAX: Final = 8 * 2**20
LATER_SECONDS: Final = 0.05
"""A record that nobody waits for rides with the next commit; where none comes it gets its own after this long."""
SPACE_CHECK_NS: Final = 250_000_000


class _Flight(NamedTuple):
    """A batch on its way to the disk, and who waits for it."""

    batch: Encoded
    waiters: Waiters
    second_try: bool


async def open_writer(
    spool: Path,
    slot: str,
    *,
    durability: Level = "process",
    segment_bytes: int = 64 * 2**20,
    segment_seconds: float = 60.0,
    disk_reserve_bytes: int = 64 * 2**20,
    retry_seconds: float = 0.25,
    clock: Clock | None = None,
    disk: Disk = direct,
    entropy: Callable[[int], bytes] = os.urandom,
) -> "LogWriter":
    """Open a new log in `spool`/`slot`, after every fork. It belongs to this process and this event loop.

    Raises LogUnavailable where its directory cannot be made. Where only the space for its first segment is missing it
    opens unavailable, refuses appends, and serves as soon as there is space.
    """
    loop = asyncio.get_running_loop()
    background = Background(loop)
    try:
        home = await background.call(move_in, disk, spool, slot, entropy(LOG_ID_BYTES))
    except BaseException:
        background.close()
        raise
    terms = Terms(durability, segment_bytes, segment_seconds, disk_reserve_bytes, retry_seconds)
    world = Surroundings(clock or SystemClock(), disk, background, loop, boot_of_this_machine())
    writer = LogWriter(home, terms, world)
    await writer.start()
    return writer


class LogWriter:
    """One log. `last_seq` is the last acknowledged record. Counters since it was opened: `answers` (awaited records
    acknowledged), `bytes` written, `commits`, `refused` and `shed` records, `failures` of the disk.
    """

    def __init__(self, home: Home, terms: Terms, world: Surroundings) -> None:
        self.log_id = home.log_id.hex()
        self.last_seq = 0
        self.answers = self.bytes = self.commits = self.refused = self.shed = self.failures = 0
        self._home, self._terms, self._world = home, terms, world
        self._loop, self._mono_ns = world.loop, world.clock.mono_ns
        self._supply = SegmentSupply(home, terms, world, self._supply_changed)
        self._seed, self._chain = seed_of(home.log_id), root_of(home.log_id)
        self._pid = os.getpid()
        self._pending = Pending()
        self._flight: _Flight | None = None
        self._segment: SegmentFile | None = None
        self._handed_out = 0
        self._scheduled = self._writing = self._closing = False
        self._blocked: str | None = "the prediction log is not open yet"
        self._checked_ns = -SPACE_CHECK_NS
        self._later: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._told = ""

    @property
    def available(self) -> bool:
        """Whether appends are taken just now; where not, the writer keeps trying by itself."""
        return self._blocked is None

    def append(self, kind: int, payload: bytes) -> "asyncio.Future[None]":
        """Store one record; the future is done when it is durable at the writer's level.

        Each waiter has a future of its own: a caller that is cancelled takes nobody else along, and its record is stored
        all the same. Raises LogUnavailable, here or when awaited; InvalidInput for a payload beyond PAYLOAD_BYTES_MAX.
        """
        size, pending = len(payload), self._pending
        if self._blocked is not None or size > PAYLOAD_BYTES_MAX or pending.bytes + size > PENDING_BYTES_MAX:
            raise self._refusal(size)
        future: asyncio.Future[None] = self._loop.create_future()
        pending.records.append((kind, b"", payload))
        pending.waiters.append(Single(future))
        pending.bytes += size
        self._schedule()
        return future

    def append_all(self, records: Sequence[Record], told: Told) -> None:
        """Store records that came together, at least one; `told` hears None when all are durable at the writer's level,
        or why they are not. It is called from the event loop, after this call, and must not raise. What records share is
        written once a batch where it is the same in both.

        Raises LogUnavailable, or InvalidInput for a payload beyond PAYLOAD_BYTES_MAX; then none of them is stored.
        """
        sizes = [len(shared) + len(rest) for _, shared, rest in records]
        pending, largest, size = self._pending, max(sizes), sum(sizes)
        if self._blocked is not None or largest > PAYLOAD_BYTES_MAX or pending.bytes + size > PENDING_BYTES_MAX:
            raise self._refusal(largest)
        pending.records.extend(records)
        pending.waiters.extend([None] * (len(records) - 1))
        pending.waiters.append(Group(len(records), told))
        pending.bytes += size
        self._schedule()

    def commit(self) -> None:
        """Write what was appended in this step of the event loop now, instead of when it is over: for who knows that no more
        comes. Whoever waits is told before this returns, or later where a thread syncs.
        """
        if self._scheduled:
            self._tick()

    def _schedule(self) -> None:
        """Have what was appended in this step of the event loop written when it is over."""
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._tick)

    def _refusal(self, size: int) -> InvalidInput | LogUnavailable:
        if self._blocked is not None:
            return LogUnavailable(self._blocked)
        if size > PAYLOAD_BYTES_MAX:
            return InvalidInput(f"a record of {size} bytes: the log takes at most {PAYLOAD_BYTES_MAX}; send fewer rows")
        return LogUnavailable(f"{self._pending.bytes} bytes wait for the disk; at most {PENDING_BYTES_MAX} may")

    def append_later(self, kind: int, payload: bytes, shared: bytes = b"") -> bool:
        """Store one record some time soon; nobody waits. False where it was shed: counted, never stored. What the record
        begins with comes first where it may be shared.
        """
        size, pending = len(shared) + len(payload), self._pending
        if self._blocked is not None or size > PAYLOAD_BYTES_MAX or pending.bytes + size > LATER_BYTES_MAX:
            self.shed += 1
            return False
        pending.records.append((kind, shared, payload))
        pending.waiters.append(None)
        pending.bytes += size
        if not self._scheduled and self._later is None:
            self._later = self._loop.call_later(LATER_SECONDS, self._tick_later)
        return True

    async def start(self) -> None:
        """Make the first segment."""
        self._supply.prepare()
        await self._world.background.settle()

    async def aclose(self) -> None:
        """Store or refuse what waits, seal the log, let go of the lock. Later appends are refused."""
        if self._closing:
            return
        self._closing, self._blocked = True, "the prediction log is closed"
        self._supply.stop()
        if self._later is not None:
            self._later.cancel()
        self._tick()
        await self._idle.wait()
        await self._world.background.settle()
        await self._world.background.call(self._end)
        self._world.background.close()

    def _tick_later(self) -> None:
        self._later = None
        self._tick()

    def _tick(self) -> None:
        """Write what waits; ends when all is stored or refused, or when a thread will call again."""
        self._scheduled = False
        while not self._writing and (self._flight is not None or self._pending.records):
            if not self._advance():
                break
        if self._closing and not (self._flight or self._pending.records or self._writing or self._supply.preparing):
            self._idle.set()

    def _advance(self) -> bool:
        """One batch one step further; False where it has to wait for a thread, or was refused."""
        now_ns = self._mono_ns()
        if self._flight is None and not self._launch(now_ns):
            return False
        assert self._flight is not None
        batch = self._flight.batch
        segment = self._place(len(batch.data), now_ns)
        if segment is None:
            return False
        if self._terms.durability == "power":
            self._writing = True
            self._world.background.run(segment.store_synced, self._stored_in_thread, batch)
            return False
        try:
            segment.store(batch)
        except OSError as error:
            self._failed(error)
        else:
            self._stored()
        return True

    def _launch(self, now_ns: int) -> bool:
        """Turn what waits into a batch with seqs; False where nothing may be written now."""
        if os.getpid() != self._pid:
            self._block(f"process {os.getpid()} cannot use the log of process {self._pid}: open one after the fork")
            return False
        if now_ns - self._checked_ns >= SPACE_CHECK_NS:
            try:
                demand_free(self._world.disk, self._home.directory, self._terms.disk_reserve_bytes)
            except OSError as error:
                self._report(error)
                self._block(f"the prediction log's disk is full or gone: {error}; free space")
                return False
            self._checked_ns = now_ns
        records, waiters = self._pending.take()
        batch = encode_batch(self._seed, self.last_seq, self._handed_out, now_ns, records, self._chain)
        self._handed_out = batch.last_seq
        self._flight = _Flight(batch, waiters, second_try=False)
        return True

    def _place(self, size: int, now_ns: int) -> SegmentFile | None:
        """The segment that takes the next batch; None while one is being made. Changing to the next is a swap of names."""
        segment, supply = self._segment, self._supply
        if segment is not None and segment.has_room(size) and not (supply.spare and self._is_aged(segment, now_ns)):
            return segment
        if supply.spare is None:
            supply.prepare()
            return None
        if segment is not None:
            seal = encode_seal(self._seed, self.last_seq, now_ns, self._chain, final=False)
            self._world.background.run(segment.seal, self._let_go, seal)
        self._segment = supply.take(now_ns)
        return self._segment

    def _is_aged(self, segment: SegmentFile, now_ns: int) -> bool:
        assert segment.used_ns is not None
        return now_ns - segment.used_ns >= self._terms.segment_seconds * 1e9

    def _stored_in_thread(self, done: asyncio.Future[None]) -> None:
        self._writing = False
        error = done.exception()
        if error is None:
            self._stored()
        else:
            self._failed(error)
        self._tick()

    def _stored(self) -> None:
        """The batch is durable: tell everybody."""
        assert self._flight is not None
        batch, waiters, _ = self._flight
        self._flight = None
        self.last_seq, self._chain = batch.last_seq, batch.chain
        self.bytes += len(batch.data)
        self.commits += 1
        for waiter in waiters:
            if waiter is not None:
                self.answers += waiter.size
                waiter.stored()

    def _failed(self, error: BaseException) -> None:
        """The segment is poisoned: the batch goes into another one, once."""
        assert self._flight is not None
        assert self._segment is not None
        self._report(error)
        self._world.background.run(self._segment.close, self._let_go)
        self._segment = None
        if self._flight.second_try:
            self._block(f"the prediction log cannot be written: {error}; see to its disk")
        else:
            self._flight = self._flight._replace(second_try=True)

    def _supply_changed(self, error: BaseException | None) -> None:
        """There is a spare segment and space, or the disk refused one."""
        if error is not None:
            self._report(error)
            if self._segment is None or (self._flight is not None and not self._writing):
                self._block(f"the prediction log has no segment to write to: {error}; free space")
        else:
            self._told = ""
            if not self._closing:
                self._blocked = None
        self._tick()

    def _block(self, reason: str) -> None:
        """Refuse everybody who waits and whoever comes, until the disk serves again."""
        waiters = (self._flight.waiters if self._flight else []) + self._pending.clear()
        self._flight = None
        self.refused += len(waiters)
        if not self._closing:
            self._blocked = reason
        for waiter in waiters:
            if waiter is not None:
                waiter.refused(LogUnavailable(reason))
        self._supply.try_again_later()

    def _let_go(self, done: asyncio.Future[None]) -> None:
        """Where sealing or closing fails nothing is lost: the batches before it are stored, and the next segment says so."""
        error = done.exception()
        if error is not None:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        """Said once for each kind of trouble in a row: how many bytes are free differs at every look."""
        self.failures += 1
        kind = str(error.errno if isinstance(error, OSError) else error)
        if kind != self._told:
            self._told = kind
            logging.getLogger(__name__).warning("prediction log %s: %s", self.log_id, error)

    def _end(self) -> None:
        """Seal the log where that is still possible, in a thread; what is in it stays readable either way."""
        spare = self._supply.spare
        segment = self._segment or spare
        try:
            if segment is not None:
                self._seal_for_good(segment)
            if spare is not None and spare is not segment:
                spare.discard()
        except OSError as error:
            self._report(error)
        finally:
            os.close(self._home.lock_fd)

    def _seal_for_good(self, segment: SegmentFile) -> None:
        now_ns = self._mono_ns()
        if self._handed_out > self.last_seq:
            batch = encode_batch(self._seed, self.last_seq, self._handed_out, now_ns, [], self._chain)
            segment.store(batch)
            self.last_seq, self._chain = batch.last_seq, batch.chain
        segment.seal(encode_seal(self._seed, self.last_seq, now_ns, self._chain, final=True))
