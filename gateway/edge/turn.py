"""A request's turn to be answered on its connection.

Enters: a connection, and the reply where the request is refused. Leaves: the reply's bytes, and a connection that goes on
or ends. Never chooses the reply.
"""

from typing import Any, Protocol

from gateway.edge.connection_edge import Edge
from gateway.edge.reply import Reply, reply_bytes


class Line(Protocol):
    """A connection, as a turn sees it."""

    edge: Edge
    transport: Any

    def on_response_complete(self) -> None:
        """Go on with what waits on the connection."""

    def part(self) -> None:
        """End the connection so that its client can read the last reply."""


class _Nothing:
    """Stands where uvicorn keeps an event that wakes an ASGI app; nobody waits here."""

    def set(self) -> None:
        pass


class Turn:
    """A request's turn to be answered, in the shape that uvicorn's protocol expects of a cycle; this one is refused."""

    message_event = _Nothing()

    refusal: Reply | None = None
    queued = False
    started = False
    disconnected = False
    response_complete = False
    size = 0

    def __init__(self, connection: Line, *, keep_alive: bool) -> None:
        self.connection = connection
        self.keep_alive = keep_alive

    @property
    def gone(self) -> bool:
        """Whether nobody would read the reply."""
        return self.disconnected or self.connection.transport.is_closing()

    def start(self) -> None:
        """Its turn on the connection has come: answer."""
        self.started = True
        assert self.refusal is not None, "the turn of a request that was not taken"
        self.send(self.refusal)

    def refuse(self, refusal: Reply) -> None:
        """Answer with this when the turn has come."""
        self.refusal = refusal
        self.keep_alive = False
        self.release()

    def release(self) -> None:
        """Give back what the body held."""
        self.connection.edge.held -= self.size
        self.size = 0

    def send(self, reply: Reply) -> None:
        """Write the reply, and go on with the connection or end it. Only the first reply is one."""
        if self.response_complete:
            return
        self.response_complete = True
        connection = self.connection
        connection.edge.held -= self.size
        self.size = 0
        transport = connection.transport
        if self.disconnected or transport.is_closing():
            return
        transport.write(reply_bytes(reply, keep_alive=self.keep_alive))
        if self.keep_alive:
            connection.on_response_complete()
        elif self.refusal is None:
            transport.close()
        else:
            connection.part()
