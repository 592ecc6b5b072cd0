"""Time and identity as values that are handed down, so that a test can hand down others."""

import time
from collections.abc import Callable
from typing import NamedTuple

import uuid_utils


class Clock(NamedTuple):
    """`now_us`: microseconds since the epoch, UTC. `mono_ns`: a clock that never goes back. `new_id`: a fresh UUIDv7."""

    now_us: Callable[[], int]
    mono_ns: Callable[[], int]
    new_id: Callable[[], str]


def system_clock() -> Clock:
    """The machine's own clock and random numbers."""
    return Clock(
        now_us=lambda: time.time_ns() // 1000,
        mono_ns=time.monotonic_ns,
        new_id=lambda: str(uuid_utils.uuid7()),
    )
