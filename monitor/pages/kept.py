"""Answers kept for a few seconds: a question is computed once, off the event loop, however many ask it meanwhile.

Bounds: `answers_max` answers are kept, the oldest given up first, and none that is too old once there is a newer one;
`running_max` computations run or wait at a time, one after the other, and who asks for one more is refused with
`Overloaded`. An error reaches all who wait and is never kept.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from contracts.errors import Overloaded

Answer = TypeVar("Answer")


class Kept(Generic[Answer]):
    """Computed answers by question. `clock` gives seconds that never go back."""

    def __init__(self, clock: Callable[[], float], *, seconds: float, answers_max: int, running_max: int) -> None:
        self._clock = clock
        self._seconds = seconds
        self._answers_max = answers_max
        self._running_max = running_max
        self._ready: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Answer]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def get(self, question: Hashable, compute: Callable[[], Answer]) -> Answer:
        """The kept answer if it is young enough, else a new one; raises what `compute` raises, and `Overloaded`."""
        ready = self._ready.get(question)
        if ready is not None and self._clock() - ready[0] <= self._seconds:
            return ready[1]
        task = self._running.get(question)
        if task is None:
            task = self._start(question, compute)
        # Shielded, because others may wait for the same answer when one of them hangs up.
        return await asyncio.shield(task)

    def _start(self, question: Hashable, compute: Callable[[], Answer]) -> "asyncio.Task[Answer]":
        if len(self._running) >= self._running_max:
            raise Overloaded(f"{self._running_max} questions are being computed already: ask again in a few seconds")
        task = asyncio.get_running_loop().create_task(self._compute(question, compute))
        self._running[question] = task
        return task

    async def _compute(self, question: Hashable, compute: Callable[[], Answer]) -> Answer:
        try:
            async with self._one_at_a_time:
                answer = await asyncio.to_thread(compute)
        finally:
            del self._running[question]
        now = self._clock()
        self._ready[question] = (now, answer)
        self._ready.move_to_end(question)
        while len(self._ready) > self._answers_max or now - next(iter(self._ready.values()))[0] > self._seconds:
            self._ready.popitem(last=False)
        return answer
