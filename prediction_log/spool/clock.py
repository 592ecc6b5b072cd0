"""Time as the log needs it; passed in, so that a test can hand over another."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for people, monotonic time for ages: records are ordered by seq, never by time."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def mono_ns(self) -> int:
        """Nanoseconds that never go back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """Microseconds since the epoch, UTC."""
        return time.time_ns() // 1000

    def mono_ns(self) -> int:
        """Nanoseconds since some moment before this process."""
        return time.monotonic_ns()
