"""Deadlines and bounds: what a request may take, decided before it takes it.

Enters: the caller's timeout, the gateway's own, the length of a queue and how long it takes. Leaves: a deadline, or an error
that tells the cause apart: `Overloaded` for a queue that is full or too long for the caller's patience, `DeadlineExceeded`
for time that ran out. Never waits and never drops work that was let in.
"""

from contracts.errors import DeadlineExceeded, Overloaded

CHALLENGER_TIME_SHARE = 0.5
"""The part of the remaining time that a challenger may use; the rest is kept for the champion to stand in."""
STANDING_TIME_SHARE = 0.25
"""The part of the remaining time that may be spent waiting where a queue stands (`gateway.models.standing`)."""


def deadline_ns(arrived_ns: int, timeout_us: int | None, timeout_ms_max: float) -> int:
    """When the caller's time is up, on the monotonic clock: a request may shorten the gateway's limit, never extend it."""
    limit_ns = int(timeout_ms_max * 1e6)
    return arrived_ns + (limit_ns if timeout_us is None else min(limit_ns, timeout_us * 1000))


def challenger_deadline_ns(now_ns: int, deadline: int) -> int:
    """When a challenger must have answered, so that the champion can still stand in before `deadline`."""
    return now_ns + int((deadline - now_ns) * CHALLENGER_TIME_SHARE)


def check_queue(waiting: int, queue_max: int, label: str) -> None:
    """`Overloaded` where one more request would pass the bound."""
    if waiting >= queue_max:
        raise Overloaded(f"{label}: {waiting} requests wait already ({queue_max} at most); try again later")


def check_wait(wait_ns: int, remaining_ns: int, label: str, *, stands: bool) -> None:
    """`Overloaded` where the caller's time would run out before its turn comes: told now it can still go elsewhere, and what
    nobody could use is not run. Where the queue stands a part of that time is the bound, so that those who are let in are
    answered well inside theirs.
    """
    if wait_ns > remaining_ns > 0:
        raise Overloaded(
            f"{label}: whoever comes now waits about {wait_ns / 1e6:.0f} ms, and this caller gives"
            f" {remaining_ns / 1e6:.0f} ms; try again later, or allow more time"
        )
    if stands and wait_ns > STANDING_TIME_SHARE * remaining_ns > 0:
        raise Overloaded(
            f"{label}: more is asked than it can answer; whoever comes now waits about {wait_ns / 1e6:.0f} ms of the"
            f" {remaining_ns / 1e6:.0f} ms given; ask less at once, or add workers"
        )


def expired(label: str, waited_us: int) -> DeadlineExceeded:
    """The error of a request whose time ran out in a queue."""
    return DeadlineExceeded(
        f"{label}: the deadline passed after {waited_us} microseconds in the queue; allow more time"
    )
