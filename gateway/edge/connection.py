"""A connection of the data plane: HTTP/1.1 as uvicorn speaks it, inside bounds that uvicorn does not know.

Enters: bytes of a client. Leaves: requests, each in its turn, and refusals of what is too large, too slow or no HTTP; a
refusal waits until what was asked before it is answered, and the client is given time to read it. Bounds: those of
`Limits`. Replies that nobody reads stop the reading. Never answers a request: `fast_lane.py` and the ASGI app do.
"""

from functools import partial
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import (
    BETWEEN,
    BODY,
    HEAD,
    LEFT,
    PLAIN_BODY,
    Refuse,
    Refused,
    framing_refusal,
    head_refusal,
)
from gateway.edge.reply import reply_bytes
from gateway.edge.turn import Turn

LINGER_SECONDS: Final = 1.0
"""How long a draining worker waits for one more request on an idle connection, to tell its client to go elsewhere."""
NOTED: Final = frozenset({b"host", b"content-length", b"expect", b"upgrade", b"transfer-encoding"})
VERSIONS: Final = ("1.1", "1.0")


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with bounds."""

    def __init__(self, edge: Edge, refuse: Refuse, **uvicorn_arguments: Any) -> None:
        super().__init__(**uvicorn_arguments)
        self.edge = edge
        self.limits = edge.limits
        self.address = ""
        self.stage = BETWEEN
        self.since = edge.now
        self.asked = self.left = self.leaving = False
        self.body_bytes = self.declared = 0
        self.hosts = 0
        self.upgrades = self.chunked = False
        self._refuse = refuse
        self._head_bytes = self._frames = 0
        self._waits_for_reader = False
        self._held: dict[Any, int] = {}

    def connection_made(self, transport: Any) -> None:
        """Take the client in, or tell it that there are too many."""
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if refused := self.edge.admit(self):
            self.edge.closed(refused.reason)
            if self.edge.swamped:
                transport.abort()
                return
            reply = self._refuse(refused.status, refused.message, refused.reason)
            transport.write(reply_bytes(reply, keep_alive=False))
            self.part()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client, and what it held."""
        self.edge.forget(self)
        self.edge.held -= sum(self._held.values())
        self._held.clear()
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Whether nothing has been asked, or all that was asked is answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def held_up(self) -> bool:
        """Whether the worker does not read on: an earlier request is being answered."""
        return self.flow.read_paused

    @property
    def stalled(self) -> bool:
        """Whether replies wait for a client that does not read."""
        return self.flow.write_paused or self.transport.is_closing()

    def unsent(self) -> int:
        """How many bytes of replies wait for the client."""
        return self.transport.get_write_buffer_size()

    def data_received(self, data: bytes) -> None:
        """Read on, and count what is neither header nor body: requests can be long without ever getting on."""
        stage = self.stage
        if stage > BODY:
            self._skim(data)
            return
        headers, body_bytes = self.headers, self.body_bytes
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        except HttpParserError as error:
            self.refuse(refusal_of(error))
        if stage and stage == self.stage and headers is self.headers:
            self._count_frames(len(data) - (self.body_bytes - body_bytes))

    def eof_received(self) -> bool | None:  # type: ignore[override]  # what the transport asks for
        """The client sends no more: what it asked is answered, what it did not finish is dropped with the connection."""
        if self.stage != BETWEEN or self.idle:
            return None
        self.stage, self.cycle.keep_alive = LEFT, False
        return True

    def on_message_begin(self) -> None:
        """Start a request; the ASGI scope is made only where it is needed."""
        self.stage, self.since = HEAD, self.edge.now
        self.url = b""
        self.headers = []
        self.expect_100_continue = self.upgrades = self.chunked = False
        self._head_bytes = self._frames = self.hosts = self.declared = self.body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the request line."""
        self.url += url
        self._head_bytes += len(url)
        if self._head_bytes > self.limits.head_bytes:
            raise head_refusal(self.limits)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; a trailer is counted only."""
        self._head_bytes += len(name) + len(value)
        headers, limits = self.headers, self.limits
        if self._head_bytes > limits.head_bytes or len(headers) >= limits.headers:
            raise head_refusal(limits)
        if self.stage == HEAD:
            name = name.lower()
            if name in NOTED:
                self._note(name, value)
            headers.append((name, value))

    def check_head(self, http_version: str) -> None:
        """Raise `Refused` for a head of which nobody can say for whom, or how long, the request is."""
        if http_version not in VERSIONS:
            raise Refused(505, f"HTTP/{http_version} is not spoken here: use HTTP/1.1", "malformed")
        if self.hosts > 1 or (self.hosts == 0 and http_version == "1.1"):
            raise Refused(400, f"{self.hosts} Host headers: send exactly one", "malformed")
        if self.upgrades and self.chunked and self.parser.should_upgrade():
            raise Refused(400, "a chunked body with an Upgrade: send it without the one or the other", "malformed")

    def take_slow_road(self) -> None:
        """Have the ASGI app answer the request whose head is complete."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)
        try:
            super().on_headers_complete()
        except (HttpParserError, AttributeError, UnicodeDecodeError):
            raise Refused(400, f"{url[:100]!r} names no path here", "malformed") from None
        cycle = self.cycle
        if self.leaving:
            cycle.keep_alive = False
        self._held[cycle] = 0
        cycle.on_response = partial(self._slow_answered, cycle)

    def take_slow_body(self, body: bytes) -> None:
        """Hand a piece of a body to the ASGI app."""
        cycle = self.cycle
        if cycle in self._held:
            self._held[cycle] += len(body)
            self.edge.held += len(body)
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Go on with what waits on this connection, once the client has read what it was told."""
        if self.flow.write_paused:
            self._waits_for_reader = True
            self.flow.pause_reading()
        elif not self.transport.is_closing():
            self._next()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._waits_for_reader and not self.transport.is_closing():
            self._waits_for_reader = False
            self._next()

    def refuse(self, refused: Refused) -> None:
        """Take nothing more: the refusal is the last answer, in the turn of the request that it is about."""
        self.edge.closed(refused.reason)
        own: Any = self.cycle
        within = self.stage > HEAD
        self.stage = LEFT
        if within and own.response_complete:
            self.part()
            return
        reply = self._refuse(refused.status, refused.message, refused.reason)
        if within and isinstance(own, Turn):
            own.refuse(reply)
            if not own.queued and not own.started:
                own.start()
            return
        turn = Turn(self, keep_alive=False)
        turn.refuse(reply)
        self.cycle = turn  # type: ignore[assignment]  # a cycle of our own, of the same shape
        if within:
            self._replace(own, turn)
        elif own is not None and not own.response_complete:
            turn.queued = True
            self.flow.pause_reading()
            self.pipeline.appendleft((turn, self.app))  # type: ignore[arg-type]  # likewise
        else:
            turn.start()

    def part(self) -> None:
        """The last reply is out: end from this side, so that the client reads it, and wait a little for its end."""
        self.stage, self.since, self.left = LEFT, self.edge.now, True
        if not self.transport.is_closing():
            self.flow.resume_reading()
            self.transport.write_eof()

    def close(self, reason: str) -> None:
        """End a connection on which nothing is asked."""
        self.edge.closed(reason)
        self.transport.close()

    def abort(self, reason: str | None) -> None:
        """End the connection whatever it is at."""
        if reason is not None:
            self.edge.closed(reason)
        self.transport.abort()

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
        if self.idle and self.stage in {BETWEEN, LEFT} and not self.transport.is_closing():
            self.transport.close()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Start what has its turn: only the slow road needs a task."""
        if isinstance(cycle, Turn):
            cycle.start()
        else:
            super()._start_asgi_task(cycle, app)

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.hosts += 1
        elif name == b"content-length":
            self.declared = int(value)
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"upgrade":
            self.upgrades = True
        else:
            self.chunked = True

    def _count_frames(self, size: int) -> None:
        self._frames += size
        if self.stage == HEAD and self._frames > self.limits.head_bytes:
            self.refuse(head_refusal(self.limits))
        elif self.stage == BODY and self._frames > self.limits.framing_bytes + self.body_bytes:
            self.refuse(framing_refusal(self.limits))

    def _stay(self, data: bytes) -> None:
        """Go on in HTTP/1.1 with a client that asked for another protocol: the parser takes its body for that one's."""
        while data and self.stage != LEFT:
            if self.stage == PLAIN_BODY:
                missing = self.declared - self.body_bytes
                self._take_plain(data[:missing])
                data = data[missing:]
                continue
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
            except HttpParserError as error:
                self.refuse(refusal_of(error))
            else:
                return

    def _take_plain(self, data: bytes) -> None:
        try:
            self.on_body(data)
            if self.body_bytes == self.declared:
                self.on_message_complete()
        except Refused as refused:
            self.refuse(refused)

    def _skim(self, data: bytes) -> None:
        """Pass over what comes after the last answer; only a body without a parser is taken."""
        if self.stage == PLAIN_BODY:
            self._stay(data)

    def _next(self) -> None:
        if not self.pipeline:
            self.flow.resume_reading()
            if self.stage == BETWEEN:
                self.since = self.edge.now
            return
        cycle, app = self.pipeline.pop()
        if not self.pipeline:
            self.flow.resume_reading()
        self._start_asgi_task(cycle, app)

    def _slow_answered(self, cycle: Any) -> None:
        self.edge.held -= self._held.pop(cycle, 0)
        self.on_response_complete()

    def _replace(self, cycle: Any, turn: Any) -> None:
        """Give the turn of an ASGI request whose body will never be whole to its refusal."""
        self.edge.held -= self._held.pop(cycle, 0)
        if self.pipeline and self.pipeline[0][0] is cycle:
            turn.queued = True
            self.pipeline[0] = (turn, self.app)
        elif cycle.response_started:
            self.abort(None)
        else:
            cycle.disconnected = True
            cycle.message_event.set()
            turn.start()


def refusal_of(error: HttpParserError) -> Refused:
    """What stopped the parser: a refusal of ours, or bytes that are no HTTP."""
    cause = error.__context__
    return cause if isinstance(cause, Refused) else Refused(400, f"this is no HTTP request: {error}", "malformed")
