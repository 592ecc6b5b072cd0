"""The forwarder, spool to Kafka: the story.

    connect -> gather parts of all logs, in turn -> ship -> Kafka acknowledges -> cursors move -> segments go in time

Enters: the feeds of a spool, and a way to connect. Leaves: every committed record in its topic-partition at least once, with
what it takes to tell it from its second sending and to prove that none is missing. Never skips a record for anything that
may be different tomorrow: after any error the producer is let go, another one made, and everything goes on from what was
acknowledged. The spool is the truth; nothing here is worth waiting for at the end.

Bounds: DEPTH shipments of at most `Pace.bytes` and one batch of a writer are under way; a shipment of which nothing is
acknowledged for STALL_SECONDS is given up, and the next ones are smaller.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from contracts.errors import InvalidSettings, Unavailable
from prediction_log.forward.backlog import Throttle
from prediction_log.forward.feed import Feed, Part
from prediction_log.forward.feeds import Feeds
from prediction_log.forward.outgoing import Message
from prediction_log.forward.pace import Pace
from prediction_log.forward.shipping import BatchRefused, Lanes
from prediction_log.forward.tally import Tally
from prediction_log.kafka.producer import let_go
from prediction_log.kafka.topics import Topics
from prediction_log.spool.clock import Clock

DEPTH: Final = 3
SAVE_SECONDS: Final = 0.2
DISCOVER_SECONDS: Final = 0.25
LINGER_SECONDS: Final = 0.01
"""After a shipment that was not full: what comes meanwhile shares the next one."""
IDLE_SECONDS_MAX: Final = 0.1
STALL_SECONDS: Final = 30.0
DRAIN_SECONDS: Final = 3.0
BACKOFF_SECONDS: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 5.0
LET_GO_SECONDS: Final = 1.0
PART_COST_MIN: Final = 1024

_LOG: Final = logging.getLogger(__name__)

Stopping = asyncio.Task[Literal[True]]
Connect = Callable[[], Awaitable[AIOKafkaProducer]]


class _Shipment(NamedTuple):
    parts: list[tuple[Feed, Part]]
    shipped: "asyncio.Future[None]"
    begun: float


class Forwarder:
    """Owns the feeds and one producer at a time. `announce` takes a message that belongs to no log, such as a manifest."""

    def __init__(
        self, feeds: Feeds, connect: Connect, topics: Topics, throttle: Throttle, tally: Tally, clock: Clock
    ) -> None:
        self._feeds = feeds
        self._connect = connect
        self._topics = topics
        self._throttle = throttle
        self._tally = tally
        self._clock = clock
        self._pace = Pace()
        self._under_way: deque[_Shipment] = deque()
        self._announcement: Message | None = None
        self._saving: asyncio.Future[None] | None = None
        self._saved = self._discovered = self._progress = -1.0

    def announce(self, message: Message) -> None:
        """Send this with the next shipment; one that has not gone by then is replaced."""
        self._announcement = message

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until `stop` is set, then what is committed by then, for at most DRAIN_SECONDS."""
        pause = BACKOFF_SECONDS
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                acked = self._tally.acked
                refused = await self._one_producer(stopping)
                if self._tally.acked > acked or refused:
                    pause = BACKOFF_SECONDS
                await asyncio.wait({stopping}, timeout=pause)
                pause = min(pause * 2, BACKOFF_SECONDS_MAX)
        finally:
            stopping.cancel()
            if self._saving is not None:
                await self._saving
            await self._save()

    async def _one_producer(self, stopping: Stopping) -> bool:
        """The life of one producer; whether it ended because a record was refused."""
        producer = None
        try:
            producer = await self._connected(stopping)
            if producer is None:
                return False
            self._progress = self._now()
            self._tally.state = "forwarding"
            await self._forward(Lanes(producer, self._topics, self._acknowledged), stopping)
        except BatchRefused as error:
            self._blame(error)
            return True
        except (KafkaError, Unavailable, InvalidSettings, OSError, TimeoutError) as error:
            if isinstance(error, TimeoutError | KafkaTimeoutError):
                self._pace.stalled()
            self._tally.alarm(f"{type(error).__name__}: {error}" if isinstance(error, KafkaError) else str(error))
        finally:
            self._tally.rebuilds += producer is not None and not stopping.done()
            await self._start_over(producer, LET_GO_SECONDS if stopping.done() else 0.0)
        return False

    async def _connected(self, stopping: Stopping) -> AIOKafkaProducer | None:
        """A producer; None where we were told to stop first."""
        self._tally.state = "connecting"
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return connecting.result() if connecting.done() else None
        finally:
            if not connecting.done():
                connecting.cancel()
                await asyncio.wait({connecting}, timeout=LET_GO_SECONDS)

    async def _start_over(self, producer: AIOKafkaProducer | None, patience: float) -> None:
        """Give up what is under way: the next producer sends it again."""
        shipped = [shipment.shipped for shipment in self._under_way]
        self._under_way.clear()
        for shipment in shipped:
            shipment.cancel()
        await asyncio.gather(*shipped, return_exceptions=True)
        self._feeds.rewind()
        if producer is not None:
            await let_go(producer, patience)

    async def _forward(self, lanes: Lanes, stopping: Stopping) -> None:
        """Gather and ship until it is time to stop; raises the first error of any shipment."""
        pause, deadline = LINGER_SECONDS, None
        while True:
            self._settle()
            if stopping.done() and deadline is None:
                deadline = self._now() + DRAIN_SECONDS
                self._discovered = -DISCOVER_SECONDS  # a log that was begun a moment ago has committed records too
            if deadline is not None and self._now() >= deadline:
                return
            self._discover()
            may_ship = len(self._under_way) < DEPTH
            gathered = self._gather() if may_ship else []
            if gathered or (may_ship and self._announcement is not None):
                self._ship(lanes, gathered)
            elif stopping.done() and not self._under_way:
                return
            self._save_soon()
            full = sum(part.bytes for _, part in gathered) >= self._pace.bytes
            pause = 0.0 if full else LINGER_SECONDS if gathered else min(pause * 1.5, IDLE_SECONDS_MAX)
            await self._rest(pause, stopping, wake=not gathered)
            pause = max(pause, LINGER_SECONDS)

    async def _rest(self, pause: float, stopping: Stopping, *, wake: bool) -> None:
        """Until there may be something to do; with `wake` an acknowledgement ends it."""
        if pause == 0.0 and len(self._under_way) < DEPTH:
            await asyncio.sleep(0)
            return
        awaited: set[asyncio.Future[Any]] = set() if stopping.done() else {stopping}
        if self._under_way and (wake or len(self._under_way) >= DEPTH):
            awaited.add(self._under_way[0].shipped)
        if awaited:
            await asyncio.wait(awaited, timeout=pause or IDLE_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(pause)

    def _gather(self) -> list[tuple[Feed, Part]]:
        """Parts of all logs that have any, in turn, each its share of the next shipment; what it leaves goes to others."""
        left = self._pace.bytes
        parts: list[tuple[Feed, Part]] = []
        waiting = self._feeds.in_turn()
        while waiting:
            hungry = []
            for index, feed in enumerate(waiting):
                if left <= 0 or not self._throttle.may_send():
                    return parts
                share = max(1, left // (len(waiting) - index))
                part = self._feeds.take(feed, share)
                if part is None:
                    continue
                parts.append((feed, part))
                self._throttle.sent(part.bytes)
                left -= max(part.bytes, PART_COST_MIN)
                if part.more:
                    hungry.append(feed)
            waiting = hungry
        return parts

    def _ship(self, lanes: Lanes, parts: list[tuple[Feed, Part]]) -> None:
        groups: list[tuple[str, list[Message]]] = [(feed.log.log_id, part.messages) for feed, part in parts]
        if self._announcement is not None:
            groups.append(("", [self._announcement]))
            self._announcement = None
        if not self._under_way:
            self._progress = self._now()
        self._under_way.append(_Shipment(parts, lanes.ship(groups), self._now()))
        self._tally.sent += sum(part.records for _, part in parts)

    def _acknowledged(self) -> None:
        """Kafka has another batch."""
        self._progress = self._now()

    def _settle(self) -> None:
        """Take note of what is acknowledged, in order; raise the first error; give up on what stands still."""
        under_way = self._under_way
        while under_way and under_way[0].shipped.done():
            under_way[0].shipped.result()
            shipment = under_way.popleft()
            for feed, part in shipment.parts:
                feed.acknowledge(part)
                self._tally.acknowledged(part)
            if not shipment.parts or any(part.messages for _, part in shipment.parts):
                self._tally.heard()
            self._pace.acknowledged(self._now() - shipment.begun)
        for shipment in under_way:
            if shipment.shipped.done():
                shipment.shipped.result()
        silent = self._now() - self._progress if under_way else 0.0
        self._tally.silent_seconds = silent
        if silent > STALL_SECONDS:
            raise TimeoutError(f"Kafka has acknowledged nothing for {silent:.0f} s; everything is sent again, in less")

    def _blame(self, refused: BatchRefused) -> None:
        """Find out which record it is; when that is known a tombstone goes in its place."""
        if len(refused.sources) > 1:
            by_log: dict[str, list[int]] = {}
            for log_id, seq in refused.sources:
                by_log.setdefault(log_id, []).append(seq)
            for log_id, seqs in by_log.items():
                feed = self._feeds.get(log_id)
                if feed is not None:
                    feed.suspect(seqs)
            return
        log_id, seq = refused.sources[0]
        feed = self._feeds.get(log_id)
        if feed is None or not seq or not feed.condemn(seq, f"Kafka refuses it: {refused}"):
            self._tally.alarm(f"Kafka refuses a message of ours about log {log_id or '(none)'}: {refused}")

    def _discover(self) -> None:
        if self._now() - self._discovered >= DISCOVER_SECONDS:
            self._discovered = self._now()
            self._feeds.discover()
            self._tally.repairs = self._feeds.repairs

    def _save_soon(self) -> None:
        """Bring cursors up to date in a thread, at most every SAVE_SECONDS."""
        now = self._now()
        if now - self._saved < SAVE_SECONDS or (self._saving is not None and not self._saving.done()):
            return
        self._saved = now
        if any(not feed.is_saved for feed in self._feeds.active):
            self._saving = asyncio.ensure_future(self._save())

    async def _save(self) -> None:
        try:
            await asyncio.to_thread(self._feeds.save, self._clock.now_us())
        except OSError as error:
            self._tally.stored_cursors(f"a cursor cannot be stored: {error}; see to the spool's disk")
        else:
            self._tally.stored_cursors(None)

    def _now(self) -> float:
        return self._clock.mono_ns() / 1e9
