"""What all connections of a worker share: how many there are, whose, what they hold, and who has had their time.

Enters: connections that come and go, and the time once in a while. Leaves: a refusal for a connection too many; calls to
connections whose client kept the worker waiting. One look at all connections a second instead of a timer a request: a
deadline is kept to within two looks, and nobody is cut off early. Never reads or answers anything itself.
"""

import resource
from collections.abc import Callable
from typing import Final, Protocol

from gateway.edge.connection_limits import Limits, Refused, quiet_overdue, reading_overdue

SPARE_FILES: Final = 128
"""Open files that connections leave to models, log, stores and refusals."""


class Client(Protocol):
    """A connection, as the edge sees it."""

    address: str
    stage: int
    since: float
    body_bytes: int
    asked: bool
    left: bool
    """The last reply is out, and only the client's end is waited for."""

    @property
    def idle(self) -> bool:
        """Whether all that was asked is answered."""

    @property
    def held_up(self) -> bool:
        """Whether the worker itself keeps this client from sending on."""

    @property
    def stalled(self) -> bool:
        """Whether replies wait for a client that does not read."""

    def unsent(self) -> int:
        """How many bytes of replies wait for the client."""

    def refuse(self, refused: Refused) -> None:
        """Answer with a refusal, in its turn, and end."""

    def close(self, reason: str) -> None:
        """End a connection on which nothing is asked."""

    def abort(self, reason: str | None) -> None:
        """End a connection whatever it is at."""


class Edge:
    """The connections of one worker. `now` is the time of the last sweep: what connections note as the beginning of
    something; `held` counts the bytes of bodies that came in and are not answered.
    """

    def __init__(self, limits: Limits, closed: Callable[[str], None], now: float = 0.0) -> None:
        self.limits = limits
        self.closed = closed
        self.now = now
        self.held = 0
        self.connections: set[Client] = set()
        self._by_address: dict[str, int] = {}
        self._unsent: dict[Client, tuple[float, int]] = {}

    def admit(self, connection: Client) -> Refused | None:
        """Take a connection in; a refusal where there are too many already. It is let go by `forget` all the same."""
        limits, address = self.limits, connection.address
        self.connections.add(connection)
        own = self._by_address[address] = self._by_address.get(address, 0) + 1
        if len(self.connections) > limits.connections:
            return Refused(503, f"{limits.connections} connections are open already: try again later", "connections")
        if own > limits.connections_per_address:
            message = f"{limits.connections_per_address} connections of {address} are open already: use those"
            return Refused(503, message, "connections_per_address")
        return None

    @property
    def swamped(self) -> bool:
        """Whether there are so many connections too many that no more is explained to anybody."""
        return len(self.connections) > self.limits.connections + self.limits.farewells

    def forget(self, connection: Client) -> None:
        """Let a connection go."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self._unsent.pop(connection, None)
        left = self._by_address[connection.address] - 1
        if left:
            self._by_address[connection.address] = left
        else:
            del self._by_address[connection.address]

    def sweep(self, now: float) -> None:
        """End what has had its time. Judged by the time of the sweep before this one: what began between the two was
        noted as beginning then, so it is given up to one sweep more than its limit, never less.
        """
        before, self.now = self.now, now
        crowded = len(self.connections) > self.limits.connections // 2
        self._unsent = {one: seen for one, seen in self._unsent.items() if one.stalled}
        for connection in list(self.connections):
            self._judge(connection, before, crowded=crowded)

    def _judge(self, one: Client, before: float, *, crowded: bool) -> None:
        seconds = before - one.since
        if one.stalled:
            if self._unread(one, before):
                one.abort("unread")
        elif one.left:
            if seconds > self.limits.farewell_seconds:
                one.abort(None)
        elif one.held_up:
            one.since = self.now
        elif refused := reading_overdue(self.limits, one.stage, seconds, one.body_bytes):
            one.refuse(refused)
        elif (
            one.idle
            and not one.stage
            and (reason := quiet_overdue(self.limits, seconds, asked=one.asked, crowded=crowded))
        ):
            one.close(reason)

    def _unread(self, one: Client, before: float) -> bool:
        """Whether a client has not taken enough of its replies since it was last seen to."""
        unsent = one.unsent()
        since, then = self._unsent.setdefault(one, (self.now, unsent))
        # a worker that was held up between two looks wrote nothing meanwhile that could have been read
        seconds = before - since
        if then - unsent >= self.limits.body_bytes_per_second * max(seconds, 1.0):
            self._unsent[one] = (self.now, unsent)
            return False
        return seconds > self.limits.unread_seconds


def fitted_to_process(limits: Limits) -> Limits:
    """The limits, with as many connections as this process may have open files; it is allowed more where it can be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.connections + limits.farewells + SPARE_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    room = max(soft - limits.farewells - SPARE_FILES, 16)
    return limits._replace(
        connections=min(limits.connections, room), connections_per_address=min(limits.connections_per_address, room)
    )
