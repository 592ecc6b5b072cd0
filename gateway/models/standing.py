"""Whether a queue stands: longer than it needs to be, for longer than a burst lasts.

Enters: how long whoever comes now would wait, and how long a run takes that is as large as is of use. Leaves: whether the
queue stands. A wait of RUNS_AHEAD such runs keeps the next ones full; what waits beyond that makes nobody's answer come
sooner. A burst is over before it hurts; but in a queue that has been that long for INTERVAL_NS everybody would soon be
answered just before the deadline, or just after it. This is the controlled delay of "Fail at Scale" (B. Maurer, ACM Queue
13(8), 2015; after CoDel), told on arrival and not when the wait is over. Never looks at a clock, never refuses anybody.
"""

from typing import Final

INTERVAL_NS: Final = 100_000_000
RUNS_AHEAD: Final = 2
"""One to start when the running one ends, and one that fills meanwhile."""


class Standing:
    """Of one queue. Times are on one monotonic clock, in nanoseconds."""

    def __init__(self) -> None:
        self._since_ns: int | None = None

    def seen(self, now_ns: int, wait_ns: int, run_ns: int) -> bool:
        """Whether the queue stands, now that whoever comes would wait so long."""
        if wait_ns <= RUNS_AHEAD * run_ns:
            self._since_ns = None
            return False
        if self._since_ns is None:
            self._since_ns = now_ns
        return now_ns - self._since_ns >= INTERVAL_NS
