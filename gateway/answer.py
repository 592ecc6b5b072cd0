"""The whole request path: one snapshot, one route, one run, one record, then the reply.

Enters: a call. Leaves: an answer whose record is durable, or an error whose record is (where a route was taken). A
challenger that cannot answer is replaced by the champion inside the caller's deadline, and both facts are recorded.
Never knows a status code, a wire format or a clock of its own.
"""

import asyncio
from collections.abc import Callable

from contracts.errors import DeadlineExceeded, InvalidInput, PointsmanError
from gateway.admission import challenger_deadline_ns
from gateway.call import Answer, Call
from gateway.clock import Clock
from gateway.models.batching import Ran
from gateway.models.inputs import Missing, check_names, fit
from gateway.models.serving import Serving
from gateway.recorder import Recorder
from gateway.records import Fate
from gateway.shadow import Shadows
from gateway.traffic.routing import Route, named_variant, route, route_to, stand_in


class Gateway:
    """Answers calls."""

    def __init__(
        self,
        serving: Callable[[str], Serving],
        recorder: Recorder,
        shadows: Shadows,
        clock: Clock,
    ) -> None:
        self._serving = serving
        self._recorder = recorder
        self._shadows = shadows
        self._clock = clock

    async def answer(self, call: Call) -> Answer:
        """The answer to one call; any `PointsmanError` says why there is none."""
        serving = self._serving(call.model)
        check_names(call.request, serving.union)
        revision = serving.points.plan.revision
        chosen = choose(serving, call)
        fate = await self._run(serving, chosen, call)
        if fate.failure is not None and may_stand_in(chosen):
            await self._recorder.durably(revision, call, fate)
            fate = await self._run(serving, stand_in(serving.points, chosen), call)
            fate = fate._replace(fallback_from=chosen.variant.name)
        await self._recorder.durably(revision, call, fate)
        self._shadows.ask(serving, call)
        if fate.ran is None:
            assert fate.failure is not None, "a run without an answer says why"
            raise fate.failure
        return reply_of(call, fate.route, fate.ran)

    async def _run(self, serving: Serving, taken: Route, call: Call) -> Fate:
        """Ask one version for the answer; a failure is a fate too."""
        extra: list[str] = []
        deadline_ns = call.deadline_ns
        if may_stand_in(taken):
            deadline_ns = challenger_deadline_ns(self._clock.mono_ns(), deadline_ns)
        try:
            runner = serving.runner(taken.variant)
            fitted = fit(call.request, runner.session.signature)
            if isinstance(fitted, Missing):
                raise InvalidInput(fitted.message(runner.label))
            extra = fitted.extra
            running = runner.answers.run(fitted, deadline_ns)
            ran = await (running if runner.answers.inline else self._in_time(running, deadline_ns, runner.label))
        except PointsmanError as failure:
            return Fate(taken, call.request.rows, extra, None, failure, answered=False)
        return Fate(taken, call.request.rows, extra, ran, None, answered=True)

    async def _in_time(self, running: "asyncio.Future[Ran]", deadline_ns: int, label: str) -> Ran:
        seconds = (deadline_ns - self._clock.mono_ns()) / 1e9
        try:
            async with asyncio.timeout(seconds):
                return await running
        except TimeoutError:
            raise DeadlineExceeded(f"{label}: no answer within {seconds * 1000:.0f} ms; allow more time") from None


def choose(serving: Serving, call: Call) -> Route:
    """The route of a call: pinned by a version in the path, forced by the parameter `variant`, else by the unit's hash."""
    points = serving.points
    if call.pin is not None:
        pinned = serving.variant_of(serving.pinned(call.pin).ref)
        return route_to(points, pinned, call.unit, call.unit_source, "pinned")
    if call.request.variant is not None:
        forced = named_variant(points, call.request.variant)
        if forced.role == "shadow":
            forced = forced._replace(role="challenger")
        return route_to(points, forced, call.unit, call.unit_source, "forced")
    return route(points, call.unit, call.unit_source)


def may_stand_in(taken: Route) -> bool:
    """Whether the champion may answer instead: only where the hash chose, never where the caller named the version."""
    return taken.variant.role == "challenger" and taken.assignment.reason == "hash"


def reply_of(call: Call, taken: Route, ran: Ran) -> Answer:
    """The answer, with only the outputs that were asked for, in the order asked."""
    outputs = ran.outputs
    if call.request.outputs is not None:
        outputs = {name: outputs[name] for name in call.request.outputs}
    return Answer(
        call.prediction_id, call.model, taken.variant.ref.version, taken.variant.name, call.request_id, outputs
    )
