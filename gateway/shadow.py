"""Asks challengers beside whoever answered, after the reply.

Enters: attempts whose callers were just told. Leaves: one record for each of their shadows: what it said, or why it was
not asked. Never delays an answer: at most `in_flight_max` shadows are under way, the shadow is shed while answers wait,
and every skip is a record, so that the comparison is not biased towards quiet hours.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from contracts.errors import Overloaded, Unavailable
from gateway.attempt import Attempt, said
from gateway.clock import Clock
from gateway.models.batching import Batcher
from gateway.recorder import Recorder
from gateway.traffic.routing import shadow_routes

ANSWERS_WAITING_MAX: Final = 64
"""Shadows are shed while more answers than this wait for the same model's champion."""


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
        self._running: set[Attempt] = set()
        self._draining = False
        self._idle = asyncio.Event()

    def ask(self, told: Sequence[Attempt]) -> None:
        """Ask the shadows of these calls as soon as the running step, the replies', is over."""
        shadowed = [attempt for attempt in told if attempt.serving.points.shadows]
        if shadowed:
            asyncio.get_running_loop().call_soon(self._ask, shadowed)

    async def drain(self, seconds: float) -> None:
        """Take no more work, give what is under way some seconds, and record the rest as skipped."""
        self._draining = True
        if self._running:
            self._idle.clear()
            await asyncio.wait([asyncio.ensure_future(self._idle.wait())], timeout=seconds)
        left = list(self._running)
        for attempt in left:
            attempt.end(Unavailable("the worker drained before the shadow ran"))
        if left:
            self._over(left)

    def _ask(self, told: Sequence[Attempt]) -> None:
        """Start every shadow that may be asked, all of one version together, and record those that may not."""
        groups: dict[Batcher, list[Attempt]] = {}
        shed = []
        for answered in told:
            call, points = answered.call, answered.serving.points
            deadline_ns = self._clock.mono_ns() + self._timeout_ns
            for taken in shadow_routes(points, call.unit, call.unit_source):
                attempt = Attempt(call, answered.serving, taken, deadline_ns)
                try:
                    groups.setdefault(self._queue(attempt), []).append(attempt)
                    self._running.add(attempt)
                except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                    attempt.end(said(error))
                    shed.append(attempt)
        for queue, group in groups.items():
            queue.run(group, self._over)
        if shed:
            self._over(shed, asked=False)

    def _queue(self, attempt: Attempt) -> Batcher:
        """The queue that takes this attempt, fitted; raises why it may not be asked."""
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
        self._running.difference_update(attempts)
        if not self._running:
            self._idle.set()
        for attempt in attempts:
            attempt.skipped = not asked or isinstance(attempt.failure, Unavailable)
        try:
            self._recorder.later(attempts)
        except Exception:
            logging.getLogger("pointsman.gateway").exception("records of shadows broke")
