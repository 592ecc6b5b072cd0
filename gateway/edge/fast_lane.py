"""The shortest way from a connection to an inference and back.

Enters: bytes of a connection. Leaves: bytes of replies. Inference requests skip the ASGI machinery (scope, header lists,
events, a task, two sends), which costs more than a small model; everything else takes uvicorn's own road on the same
connection, inside the same bounds (`connection.py`). All inference requests that became whole in one step of the event
loop are handed over together. Never decides what to answer: `gateway.http` does.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import unquote

from gateway.edge.connection import Connection
from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import BETWEEN, BODY, PLAIN_BODY, Refuse, Refused
from gateway.edge.reply import Reply
from gateway.edge.turn import Turn

INFER_PREFIX: Final = b"/v2/models/"
INFER_SUFFIX: Final = b"/infer"
TARGETS_MAX: Final = 1024
HEADS_MAX: Final = 1024
HEAD_BYTES_MAX: Final = 2048
"""The longest head that is worth remembering."""
HEAD_END: Final = b"\r\n\r\n"
ARRIVALS_A_STEP: Final = 256
"""Requests that are answered together; those behind them wait for the next step of the event loop, so that under any load
replies go out and other work has its turn after so many.
"""


class Target(NamedTuple):
    """What an inference path names."""

    model: str
    pin: str | None


class Head(NamedTuple):
    """A request's head that was parsed before: what the same bytes mean where the connection is between two requests.
    Only heads of which nothing else needs to be known are remembered: HTTP/1.1, a plain body of `length` bytes that was
    not asked for, a connection that goes on.
    """

    target: Target
    headers: list[tuple[bytes, bytes]]
    length: int


class Asker(Protocol):
    """Who sent a request and waits for the reply."""

    @property
    def client(self) -> str:
        """Whom it speaks for: its address."""

    @property
    def gone(self) -> bool:
        """Whether nobody would read the reply any more."""

    def send(self, reply: Reply) -> None:
        """This is the reply; further ones are ignored."""


class Arrival(NamedTuple):
    """An inference request as it came off the wire, at `arrived_ns` on the monotonic clock."""

    target: Target
    headers: list[tuple[bytes, bytes]]
    body: bytes
    asker: Asker
    arrived_ns: int


Infer = Callable[[list[Arrival]], None]
"""Answers requests that came together: each asker is sent one reply, now or later."""


def target_of(path: bytes) -> Target | None:
    """The model and version that an inference path names; None where it is another path."""
    if not (path.startswith(INFER_PREFIX) and path.endswith(INFER_SUFFIX)):
        return None
    parts = path[len(INFER_PREFIX) : -len(INFER_SUFFIX)].split(b"/")
    try:
        names = [unquote(part.decode("ascii"), errors="strict") for part in parts]
    except UnicodeDecodeError:
        return None
    if len(names) == 1 and names[0]:
        return Target(names[0], None)
    if len(names) == 3 and names[1] == "versions" and names[0] and names[2]:
        return Target(names[0], names[2])
    return None


class Lane:
    """What all fast connections of a worker share. At most `TARGETS_MAX` parsed paths and `HEADS_MAX` parsed heads are kept,
    then it starts anew. What arrived and is not handed over yet is at most one request a connection. `mono_ns` is the
    monotonic clock.
    """

    def __init__(
        self, infer: Infer, refuse: Refuse, body_bytes_max: int, edge: Edge, mono_ns: Callable[[], int]
    ) -> None:
        self.refuse = refuse
        self.body_bytes_max = body_bytes_max
        self.edge = edge
        self.mono_ns = mono_ns
        self._infer = infer
        self._arrived: list[Arrival] = []
        self._targets: dict[bytes, Target | None] = {}
        self.heads: dict[bytes, Head] = {}

    def learn(self, head: bytes, meaning: Head) -> None:
        """Remember a parsed head: clients send the same bytes again and again, and parsing them costs more than looking."""
        if len(self.heads) >= HEADS_MAX:
            self.heads.clear()
        self.heads[head] = meaning

    def take(self, arrival: Arrival, loop: asyncio.AbstractEventLoop) -> None:
        """Hand a request over with all others of this step of the event loop."""
        self._arrived.append(arrival)
        if len(self._arrived) == 1:
            loop.call_soon(self._hand_over, loop)

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        arrived = self._arrived
        self._arrived = arrived[ARRIVALS_A_STEP:]
        if self._arrived:
            loop.call_soon(self._hand_over, loop)
            arrived = arrived[:ARRIVALS_A_STEP]
        self._infer(arrived)

    def target(self, url: bytes) -> Target | None:
        """The target of a request line's URL, query left out."""
        try:
            return self._targets[url]
        except KeyError:
            if len(self._targets) >= TARGETS_MAX:
                self._targets.clear()
            target = self._targets[url] = target_of(url.partition(b"?")[0])
            return target


class InferCycle(Turn):
    """The turn of one inference request."""

    body: bytes | bytearray = b""
    more_body = True

    def __init__(
        self, connection: "FastLane", target: Target, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        self.connection: FastLane = connection
        self.keep_alive = keep_alive
        self.target = target
        self.headers = headers

    @property
    def client(self) -> str:
        """The address of the connection."""
        return self.connection.address

    def take(self, chunk: bytes) -> None:
        """Keep a piece of the body: the usual one is the only one; many small ones cost no more than their bytes."""
        self.size += len(chunk)
        if not self.body:
            self.body = chunk
        else:
            if isinstance(self.body, bytes):
                self.body = bytearray(self.body)
            self.body += chunk

    def finish(self) -> None:
        """The body is whole."""
        self.more_body = False
        if self.started:
            self._hand_over()

    def refuse(self, refusal: Reply) -> None:
        """Answer with this when the turn has come."""
        super().refuse(refusal)
        self.body = b""
        if self.started:
            self.send(refusal)

    def start(self) -> None:
        """Its turn on the connection has come: answer, once the body is whole."""
        self.started = True
        if self.refusal is not None:
            self.send(self.refusal)
        elif not self.more_body:
            self._hand_over()

    def _hand_over(self) -> None:
        connection, body = self.connection, bytes(self.body)
        self.body = b""  # this turn may be known long after its reply: by shadows
        lane = connection.lane
        lane.take(Arrival(self.target, self.headers, body, self, lane.mono_ns()), connection.loop)


class FastLane(Connection):
    """A connection with a lane of its own for inference requests."""

    def __init__(self, lane: Lane, **uvicorn_arguments: Any) -> None:
        super().__init__(lane.edge, lane.refuse, **uvicorn_arguments)
        self.lane = lane

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of requests that will never be whole, or never answered."""
        waiting: list[Any] = [cycle for cycle, _ in self.pipeline]
        for cycle in (*waiting, self.cycle):
            if isinstance(cycle, InferCycle) and (cycle.more_body or not cycle.started):
                cycle.release()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take a whole request whose head is known at once; have everything else parsed."""
        if self.stage or not self.idle:
            super().data_received(data)
            return
        end = data.find(HEAD_END) + len(HEAD_END)
        head = data[:end]
        known = self.lane.heads.get(head)
        if known is not None and len(data) == end + known.length and self._has_room(known.length):
            self._take_known(known, data[end:])
            return
        super().data_received(data)
        self._learn(head, len(data) - end)

    def _has_room(self, size: int) -> bool:
        return not self.flow.write_paused and self.edge.held + size <= self.limits.held_bytes

    def _take_known(self, head: Head, body: bytes) -> None:
        self.asked, self.since = True, self.edge.now
        cycle = InferCycle(self, head.target, head.headers, keep_alive=not self.leaving)
        self.cycle = cycle  # type: ignore[assignment]  # a cycle of our own, of the same shape
        cycle.take(body)
        self.edge.held += len(body)
        cycle.more_body = False
        cycle.start()

    def _learn(self, head: bytes, length: int) -> None:
        """Remember the head of a request that came in one piece and was taken as it should be."""
        cycle: Any = self.cycle
        if not (
            len(HEAD_END) < len(head) <= HEAD_BYTES_MAX
            and isinstance(cycle, InferCycle)
            and cycle.headers is self.headers
            and cycle.keep_alive
            and not (cycle.more_body or cycle.queued or self.chunked or self.upgrades or self.stage)
            and length == self.declared == self.body_bytes
        ):
            return
        self.lane.learn(head, Head(cycle.target, cycle.headers, length))

    def on_headers_complete(self) -> None:
        """Choose the lane."""
        parser, lane = self.parser, self.lane
        version = parser.get_http_version()
        if version != "1.1" or self.hosts != 1 or self.upgrades:
            self.check_head(version)
        if self.declared > lane.body_bytes_max:
            raise self._too_large()
        if len(self.pipeline) >= self.limits.pipelined:
            message = f"more than {self.limits.pipelined} requests wait on this connection: read the replies first"
            raise Refused(503, message, "pipelined")
        target = lane.target(self.url) if parser.get_method() == b"POST" else None
        self.asked = True
        if target is None or self.expect_100_continue:
            self.take_slow_road()
            self.stage = BODY
            return
        keep_alive = version != "1.0" and parser.should_keep_alive() and not self.leaving
        earlier: Any = self.cycle
        cycle: Any = InferCycle(self, target, self.headers, keep_alive=keep_alive)
        self.cycle = cycle
        self.stage = BODY
        if earlier is not None and not earlier.response_complete:
            cycle.queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body to the request it belongs to."""
        self.body_bytes += len(body)
        if self.body_bytes > self.lane.body_bytes_max:
            raise self._too_large()
        edge = self.edge
        if edge.held + len(body) > self.limits.held_bytes:
            raise Refused(503, f"bodies of {edge.held} bytes wait already: try again later", "bodies_held")
        cycle: Any = self.cycle
        if isinstance(cycle, InferCycle):
            cycle.take(body)
            edge.held += len(body)
        else:
            self.take_slow_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: an inference starts now, unless earlier requests of the connection come first."""
        if self.body_bytes < self.declared:
            self.stage = PLAIN_BODY  # the parser takes the body for another protocol's: see `_stay`
            return
        self.stage = BETWEEN
        cycle: Any = self.cycle
        if not isinstance(cycle, InferCycle):
            super().on_message_complete()
            return
        cycle.finish()
        if not cycle.queued and not cycle.started:
            cycle.start()

    def _too_large(self) -> Refused:
        most = self.lane.body_bytes_max
        return Refused(
            413, f"the body has more than {most} bytes (body_bytes_max); send less at once", "body_too_large"
        )
