"""Asks challengers beside whoever answered, after the reply.

Enters: attempts whose callers were just told. Leaves: one record for each of their shadows: what it said, or why it was
not asked. Never delays an answer: a few shadows are asked in a step of the event loop in which nobody wants an answer. At
most `in_flight_max` requests wait for such a step and as many shadows are under way, of VALUES_MAX values in all; every skip
is a record, so that the comparison is not biased towards quiet hours.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from contracts.errors import Overloaded, PointsmanError, Unavailable
from gateway.attempt import Attempt, said
from gateway.clock import Clock
from gateway.models.batching import Batcher
from gateway.recorder import Recorder
from gateway.traffic.routing import shadow_routes

ANSWERS_WAITING_MAX: Final = 64
"""Shadows are shed while more answers than this wait for the same model's champion."""
ASKED_A_STEP: Final = 8
"""Requests whose shadows are asked in one step: who comes meanwhile waits for them."""
VALUES_MAX: Final = 2**24
"""Values in all inputs of the requests that wait and of the shadows under way: 64 MB of floats."""


Waiting = tuple[Attempt, int]
"""An attempt that is answered, and until when its shadows may be."""


class Shadows:
    """The shadow work of one worker."""

    def __init__(
        self,
        recorder: Recorder,
        clock: Clock,
        *,
        in_flight_max: int,
        timeout_ms: float,
    ) -> None:
        self._recorder = recorder
        self._clock = clock
        self._in_flight_max = in_flight_max
        self._timeout_ns = int(timeout_ms * 1e6)
        self._running: dict[Attempt, int] = {}
        self._waiting: deque[Waiting] = deque()
        self._values = 0
        self._looking = self._answering = self._draining = False
        self._idle = asyncio.Event()

    def answers_first(self) -> None:
        """Somebody wants an answer in this step of the event loop."""
        self._answering = True

    def ask(self, told: Sequence[Attempt]) -> None:
        """Ask the shadows of these calls, in their turn, in steps in which nobody wants an answer."""
        shadowed = [attempt for attempt in told if attempt.serving.points.shadows]
        if not shadowed:
            return
        deadline_ns, shed = self._clock.mono_ns() + self._timeout_ns, []
        for attempt in shadowed:
            values = attempt.call.request.values
            if len(self._waiting) < self._in_flight_max and self._values + values <= VALUES_MAX:
                self._waiting.append((attempt, deadline_ns))
                self._values += values
            else:
                shed.append((attempt, deadline_ns))
        if shed:
            waiting = f"{len(self._waiting)} requests wait already for a moment to ask their shadows"
            self._skip(shed, Overloaded(f"{waiting}; with those under way they hold {self._values} values"))
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    async def drain(self, seconds: float) -> None:
        """Ask what still waits, as nobody wants answers any more; give it some seconds, and record the rest as skipped."""
        self._ask(self._taken(len(self._waiting)))
        self._draining = True
        if self._running:
            self._idle.clear()
            await asyncio.wait([asyncio.ensure_future(self._idle.wait())], timeout=seconds)
        left = list(self._running)
        for attempt in left:
            attempt.end(Unavailable("the worker drained before the shadow ran"))
        if left:
            self._over(left)

    def _look(self) -> None:
        """Ask a few shadows if nobody wanted an answer since the last step; in the next step look again."""
        if self._answering:
            self._answering = False
        else:
            self._ask(self._taken(ASKED_A_STEP))
        self._looking = bool(self._waiting)
        if self._looking:
            asyncio.get_running_loop().call_soon(self._look)

    def _taken(self, count: int) -> list[Waiting]:
        """The first of those that wait, at most so many; they wait no more."""
        taken = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
        self._values -= sum([attempt.call.request.values for attempt, _ in taken])
        return taken

    def _skip(self, waiting: Iterable[Waiting], why: PointsmanError) -> None:
        """Record that the shadows of these are not asked."""
        shed = list(shadows_of(waiting))
        for attempt in shed:
            attempt.end(why)
        self._over(shed, asked=False)

    def _ask(self, waiting: Iterable[Waiting]) -> None:
        """Start every shadow that may be asked, all of one version together, and record those that may not."""
        groups: dict[Batcher, list[Attempt]] = {}
        shed = []
        for attempt in shadows_of(waiting):
            try:
                groups.setdefault(self._queue(attempt), []).append(attempt)
                self._running[attempt] = values = attempt.call.request.values
                self._values += values
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                attempt.end(said(error))
                shed.append(attempt)
        for queue, group in groups.items():
            queue.run(group, self._over)
        if shed:
            self._over(shed, asked=False)

    def _queue(self, attempt: Attempt) -> Batcher:
        """The queue that takes this attempt, fitted; raises why it may not be asked."""
        if attempt.deadline_ns <= self._clock.mono_ns():
            raise Overloaded("its time was up before there was a moment to ask it")
        serving = attempt.serving
        runner = serving.runner(attempt.route.variant)
        if self._draining:
            raise Unavailable("the worker is draining")
        if len(self._running) >= self._in_flight_max:
            raise Overloaded(f"{self._in_flight_max} shadows are under way already")
        if serving.runner(serving.points.champion).answers.waiting > ANSWERS_WAITING_MAX:
            raise Overloaded(f"more than {ANSWERS_WAITING_MAX} answers wait: shadows are shed first")
        attempt.fit(runner)
        return runner.shadows

    def _over(self, attempts: Sequence[Attempt], *, asked: bool = True) -> None:
        """Record what became of shadows: those that could not be asked just now, and those never asked, were skipped."""
        self._values -= sum([self._running.pop(attempt, 0) for attempt in attempts])
        if not self._running:
            self._idle.set()
        for attempt in attempts:
            attempt.skipped = not asked or isinstance(attempt.failure, Unavailable)
        try:
            self._recorder.later(attempts)
        except Exception:
            logging.getLogger("pointsman.gateway").exception("records of shadows broke")


def shadows_of(waiting: Iterable[Waiting]) -> Iterator[Attempt]:
    """One attempt for each shadow that these requests have."""
    for answered, deadline_ns in waiting:
        call, serving = answered.call, answered.serving
        for taken in shadow_routes(serving.points, call.unit, call.unit_source):
            yield Attempt(call, serving, taken, deadline_ns)
