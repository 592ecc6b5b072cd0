"""What a client may keep a worker waiting for, and how much of it.

Enters: what a connection is at, and since when. Leaves: the reason why it has had its time, or None. Pure: the clock is
the caller's, and so is what happens then.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gateway.edge.reply import Reply

BETWEEN: Final = 0
"""No request is on its way in."""
HEAD: Final = 1
"""The request line or headers have begun."""
BODY: Final = 2
"""The headers are complete, the body is not."""
PLAIN_BODY: Final = 3
"""As BODY, but the parser is passed by."""
LEFT: Final = 4
"""Nothing is read any more: the last reply is out, or waits for its turn."""


class Limits(NamedTuple):
    """Bounds of one connection, then those of all connections of a worker. `keep_alive_seconds` is above the 60 s for which
    the usual load balancers keep a connection, so that they, who can retry, let go first; where more than half of
    `connections` is taken it is `crowded_seconds`. A reply that its client does not read is given `unread_seconds` for
    each `body_bytes_per_second` that go.
    """

    head_seconds: float = 5.0
    head_bytes: int = 32 * 2**10
    headers: int = 100
    body_grace_seconds: float = 5.0
    body_bytes_per_second: int = 2**10
    body_seconds: float = 30.0
    framing_bytes: int = 64 * 2**10
    silent_seconds: float = 10.0
    keep_alive_seconds: float = 65.0
    crowded_seconds: float = 5.0
    unread_seconds: float = 30.0
    farewell_seconds: float = 2.0
    pipelined: int = 1024
    connections: int = 8192
    connections_per_address: int = 1024
    farewells: int = 256
    held_bytes: int = 256 * 2**20


class Refused(Exception):
    """What comes in is not taken: a status, a message for the client, and the reason by which it is counted."""

    def __init__(self, status: int, message: str, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason


Refuse = Callable[[int, str, str], Reply]
"""Counts a refusal by status, message and reason, and words it."""


def reading_overdue(limits: Limits, stage: int, seconds: float, body_bytes: int) -> Refused | None:
    """Whether a request that has been coming in for so long has had its time."""
    if stage == HEAD and seconds > limits.head_seconds:
        return Refused(408, f"the headers were not complete after {limits.head_seconds:g} s", "head_timeout")
    if stage not in {BODY, PLAIN_BODY}:
        return None
    if seconds > limits.body_seconds:
        return Refused(408, f"the body was not complete after {limits.body_seconds:g} s", "body_timeout")
    counted = seconds - limits.body_grace_seconds
    if counted > 0 and body_bytes < counted * limits.body_bytes_per_second:
        slowest = f"{limits.body_bytes_per_second} bytes/s"
        return Refused(
            408, f"the body comes in at less than {slowest}: {body_bytes} in {seconds:.0f} s", "body_timeout"
        )
    return None


def quiet_overdue(limits: Limits, seconds: float, *, asked: bool, crowded: bool) -> str | None:
    """Whether a connection that asks nothing has had its time; `asked` where it ever did."""
    if not asked:
        return "silent" if seconds > limits.silent_seconds else None
    patience = limits.crowded_seconds if crowded else limits.keep_alive_seconds
    return "idle" if seconds > patience else None


def head_refusal(limits: Limits) -> Refused:
    """The refusal of a request line and headers that are too large."""
    bounds = f"{limits.head_bytes} bytes of request line and headers, or {limits.headers} headers"
    return Refused(431, f"more than {bounds}: send less", "head_too_large")


def framing_refusal(limits: Limits) -> Refused:
    """The refusal of chunks that are mostly frames."""
    excess = f"{limits.framing_bytes} bytes more of chunk sizes, extensions and trailers than of body"
    return Refused(400, f"{excess}: send larger chunks", "framing")
