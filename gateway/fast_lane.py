"""The shortest way from a connection to an inference and back.

Enters: bytes of a connection. Leaves: bytes of replies. Inference requests skip the ASGI machinery (scope, header lists,
events, two sends), which costs twice as much and more than a small model; everything else takes uvicorn's own road on the
same connection. Keep-alive, pipelining, flow control and drain stay uvicorn's: this class only replaces the cycle of one
request. Never decides what to answer: `gateway.http` does.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

INFER_PREFIX: Final = b"/v2/models/"
INFER_SUFFIX: Final = b"/infer"
TARGETS_MAX: Final = 1024
KEEP_ALIVE_SECONDS: Final = 75.0
LINGER_SECONDS: Final = 1.0
"""How long a draining worker waits for one more request on an idle connection, to tell its client to go elsewhere."""
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 32 * 1024

JSON_HEAD: Final = b"content-type: application/json\r\ncontent-length: "
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Reply(NamedTuple):
    """A status, a JSON body, and further headers."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Target(NamedTuple):
    """What an inference path names."""

    model: str
    pin: str | None


class Arrival(NamedTuple):
    """An inference request as it came off the wire."""

    target: Target
    headers: list[tuple[bytes, bytes]]
    body: bytes


Infer = Callable[[Arrival], Awaitable[Reply]]


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
    """What all fast connections of a worker share; at most `TARGETS_MAX` parsed paths are kept, then it starts anew."""

    def __init__(self, infer: Infer, refuse: Callable[[int, str], Reply], body_bytes_max: int) -> None:
        self.infer = infer
        self.refuse = refuse
        self.body_bytes_max = body_bytes_max
        self.connections: set[FastLane] = set()
        self._targets: dict[bytes, Target | None] = {}

    def target(self, url: bytes) -> Target | None:
        """The target of a request line's URL, query left out."""
        try:
            return self._targets[url]
        except KeyError:
            if len(self._targets) >= TARGETS_MAX:
                self._targets.clear()
            target = self._targets[url] = target_of(url.partition(b"?")[0])
            return target

    def sweep(self, now: float) -> None:
        """Close connections that have been idle for too long; `now` is the event loop's time in seconds."""
        for connection in [one for one in self.connections if one.idle]:
            if now - connection.idle_since > KEEP_ALIVE_SECONDS:
                connection.timeout_keep_alive_handler()


class _Nothing:
    """Stands where uvicorn keeps an event that wakes an ASGI app; nobody waits here."""

    def set(self) -> None:
        pass


class InferCycle:
    """One inference request on a connection, in the shape that uvicorn's protocol expects of a cycle."""

    message_event = _Nothing()

    def __init__(self, connection: "FastLane", target: Target, *, keep_alive: bool) -> None:
        self._connection = connection
        self._target = target
        self._headers = connection.headers
        self._chunks: list[bytes] = []
        self._size = 0
        self._whole: asyncio.Event | None = None
        self.queued = False
        self.started = False
        self.too_large = _declared(self._headers) > connection.lane.body_bytes_max
        self.more_body = True
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def take(self, chunk: bytes) -> None:
        """Keep a piece of the body; over the bound nothing is kept any more."""
        self._size += len(chunk)
        if self._size > self._connection.lane.body_bytes_max:
            self.too_large = True
        if self.too_large:
            self._chunks.clear()
        else:
            self._chunks.append(chunk)

    def finish(self) -> None:
        """The body is whole."""
        self.more_body = False
        if self._whole is not None:
            self._whole.set()

    async def run_asgi(self, _app: Any) -> None:
        """Answer; uvicorn starts this as a task where the request's turn on the connection has come."""
        self.started = True
        if self.more_body and not self.too_large:
            self._whole = asyncio.Event()
            await self._whole.wait()
        lane = self._connection.lane
        if self.too_large:
            self.keep_alive = False
            reply = lane.refuse(
                413, f"the body has more than {lane.body_bytes_max} bytes (body_bytes_max); send less at once"
            )
        else:
            chunks = self._chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            reply = await lane.infer(Arrival(self._target, self._headers, body))
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        self.response_complete = True
        connection = self._connection
        if self.disconnected or connection.transport.is_closing():
            return
        connection.transport.write(b"".join(reply_bytes(reply, keep_alive=self.keep_alive)))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class FastLane(HttpToolsProtocol):
    """uvicorn's connection, with a lane of its own for inference requests."""

    def __init__(self, lane: Lane, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self.lane = lane
        self.idle_since = self.loop.time()
        self.leaving = False
        self._header_bytes = 0
        lane.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.lane.connections.discard(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether nothing has been asked, or all that was asked is answered."""
        return self.cycle is None or self.cycle.response_complete

    def on_message_begin(self) -> None:
        """Start a request; the ASGI scope is made only where it is needed."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._header_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; more than the bound is a malformed request."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEADER_BYTES_MAX or len(self.headers) >= HEADERS_MAX:
            raise ValueError(f"more than {HEADERS_MAX} headers or {HEADER_BYTES_MAX} bytes of them")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Choose the lane."""
        target = self.lane.target(self.url) if self.parser.get_method() == b"POST" else None
        if target is None or self.expect_100_continue:
            self._take_the_slow_road()
            return
        keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive() and not self.leaving
        earlier: Any = self.cycle
        cycle: Any = InferCycle(self, target, keep_alive=keep_alive)
        self.cycle = cycle
        if earlier is not None and not earlier.response_complete:
            cycle.queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
            self._refuse_early(cycle)

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body to the request it belongs to."""
        cycle: Any = self.cycle
        if isinstance(cycle, InferCycle):
            cycle.take(body)
            self._refuse_early(cycle)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: an inference starts now, unless earlier requests of the connection come first."""
        cycle: Any = self.cycle
        if not isinstance(cycle, InferCycle):
            super().on_message_complete()
            return
        cycle.finish()
        if not cycle.queued and not cycle.started:
            self._start_asgi_task(cycle, self.app)  # type: ignore[arg-type]  # a cycle of our own, of the same shape

    def _refuse_early(self, cycle: Any) -> None:
        """Answer a body over the bound before the rest of it comes."""
        if cycle.too_large and not cycle.queued and not cycle.started:
            cycle.started = True
            self._start_asgi_task(cycle, self.app)

    def on_response_complete(self) -> None:
        """Go on with what waits on this connection; an idle one is noted, for `sweep`, instead of arming a timer."""
        if self.pipeline:
            super().on_response_complete()
        else:
            self.flow.resume_reading()
            self.idle_since = self.loop.time()

    def shutdown(self) -> None:
        """Leave without cutting anybody off: the next reply says `connection: close`, and only a connection on which
        nothing more is asked for a while is closed from here.
        """
        self.leaving = True
        if self.idle:
            self.loop.call_later(LINGER_SECONDS, self._leave)
        else:
            self.cycle.keep_alive = False

    def _leave(self) -> None:
        if self.idle and not self.transport.is_closing():
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, in the one error shape that all clients read."""
        reply = self.lane.refuse(400, msg)
        self.transport.write(b"".join(reply_bytes(reply, keep_alive=False)))
        self.transport.close()

    def _take_the_slow_road(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        super().on_headers_complete()
        if self.leaving:
            self.cycle.keep_alive = False


def _declared(headers: list[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name == b"content-length":
            return int(value)
    return 0


def reply_bytes(reply: Reply, *, keep_alive: bool) -> list[bytes]:
    """A reply as it goes on the wire."""
    parts = [STATUS_LINES[reply.status], JSON_HEAD, str(len(reply.body)).encode()]
    for name, value in reply.headers:
        parts += (b"\r\n", name, b": ", value)
    if not keep_alive:
        parts.append(b"\r\nconnection: close")
    parts += (b"\r\n\r\n", reply.body)
    return parts
