"""The threads that all versions' long runs share, handed out in the order of asking.

Enters: queues that have something to run. Leaves: their turn, once a thread is free. A queue makes up its batch when its
turn has come and not when it asks, so that what arrives while others run joins it. Bound: one place in line for each queue.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple


class Slots:
    """`free` threads; whoever is given one gives it back."""

    def __init__(self, threads: int) -> None:
        self.free = threads
        self._line: deque[Callable[[], None]] = deque()

    def ask(self, start: Callable[[], None]) -> None:
        """Call `start` when a thread is free, perhaps at once. It gives the thread back by `give_back`."""
        if self.free:
            self.free -= 1
            start()
        else:
            self._line.append(start)

    def give_back(self) -> None:
        """A thread is free: whoever is first in line starts."""
        if self._line:
            self._line.popleft()()
        else:
            self.free += 1


class Threads(NamedTuple):
    """Threads, and the line in front of them; as many slots as threads."""

    executor: Executor
    slots: Slots
