"""Asks challengers beside whoever answered, after the reply.

Enters: the snapshot and the call that was just answered. Leaves: one record for each shadow: what it said, or why it was
not asked. Never delays an answer: at most `in_flight_max` shadows are under way, the shadow is shed while answers wait,
and every skip is a record, so that the comparison is not biased towards quiet hours.
"""

import asyncio

from contracts.errors import InvalidInput, Overloaded, PointsmanError, Unavailable
from gateway.call import Call
from gateway.clock import Clock
from gateway.models.batching import Ran
from gateway.models.inputs import Missing, fit
from gateway.models.serving import Serving
from gateway.recorder import Recorder
from gateway.records import Fate
from gateway.traffic.routing import Route, shadow_routes

ANSWERS_WAITING_MAX = 64
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
        self._running: set[asyncio.Future[Ran]] = set()
        self._draining = False

    def ask(self, serving: Serving, call: Call) -> None:
        """Ask the shadows of this call as soon as the running step, the reply's, is over."""
        if serving.points.shadows:
            asyncio.get_running_loop().call_soon(self._ask, serving, call)

    async def drain(self, seconds: float) -> None:
        """Take no more work, give what is under way some seconds, and record the rest as skipped."""
        self._draining = True
        if self._running:
            await asyncio.wait(self._running, timeout=seconds)
        for running in list(self._running):
            running.cancel()
        await asyncio.sleep(0)

    def _ask(self, serving: Serving, call: Call) -> None:
        for taken in shadow_routes(serving.points, call.unit, call.unit_source):
            try:
                self._start(serving, call, taken)
            except PointsmanError as failure:
                self._write(
                    serving, call, Fate(taken, call.request.rows, [], None, failure, answered=False, skipped=True)
                )

    def _start(self, serving: Serving, call: Call, taken: Route) -> None:
        runner = serving.runner(taken.variant)
        if self._draining:
            raise Unavailable("the worker is draining")
        if len(self._running) >= self._in_flight_max:
            raise Overloaded(f"{self._in_flight_max} shadows are under way already")
        if serving.runner(serving.points.champion).answers.waiting > ANSWERS_WAITING_MAX:
            raise Overloaded(f"more than {ANSWERS_WAITING_MAX} answers wait: shadows are shed first")
        fitted = fit(call.request, runner.session.signature)
        if isinstance(fitted, Missing):
            raise InvalidInput(fitted.message(runner.label))
        running = runner.shadows.run(fitted, self._clock.mono_ns() + self._timeout_ns)
        self._running.add(running)
        running.add_done_callback(lambda done: self._finished(serving, call, taken, fitted.extra, done))

    def _finished(
        self, serving: Serving, call: Call, taken: Route, extra: list[str], done: "asyncio.Future[Ran]"
    ) -> None:
        self._running.discard(done)
        ran: Ran | None = None
        failure: PointsmanError | None = None
        if done.cancelled():
            failure = Unavailable("the worker drained before the shadow ran")
        elif isinstance(error := done.exception(), PointsmanError):
            failure = error
        else:
            ran = done.result()
        skipped = isinstance(failure, Unavailable)
        self._write(serving, call, Fate(taken, call.request.rows, extra, ran, failure, answered=False, skipped=skipped))

    def _write(self, serving: Serving, call: Call, fate: Fate) -> None:
        self._recorder.later(serving.points.plan.revision, call, fate)
