"""The whole request path: one snapshot, one route, one run, one record, then the reply.

Enters: the calls of one step of the event loop. Leaves: each is told its end: an answer whose record is durable, or an
error whose record is (where a route was taken). A challenger that cannot answer is replaced by the champion inside the
caller's deadline, and both facts are recorded. Calls go on together, step by step, as far as they go the same way; none
waits for another's deadline, and none fails with another. Never knows a status code, a wire format or a clock of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial

from contracts.errors import PointsmanError
from gateway.admission import challenger_deadline_ns
from gateway.attempt import Attempt, said
from gateway.call import Call
from gateway.clock import Clock
from gateway.models.batching import Batcher
from gateway.models.inputs import check_names
from gateway.models.serving import Serving
from gateway.recorder import Recorder
from gateway.shadow import Shadows
from gateway.traffic.routing import Route, named_variant, route, route_to, stand_in


class Gateway:
    """Answers calls."""

    def __init__(self, serving: Callable[[str], Serving], recorder: Recorder, shadows: Shadows, clock: Clock) -> None:
        self._serving = serving
        self._recorder = recorder
        self._shadows = shadows
        self._clock = clock

    def answer(self, calls: Sequence[Call]) -> None:
        """Answer calls that came together; each is told its end, before this returns or later."""
        self._shadows.answers_first()
        attempts = []
        for call in calls:
            try:
                attempts.append(self._routed(call))
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                call.tell(call, said(error))
        self._run(attempts)
        self._recorder.commit()

    def sheds(self, model: str) -> bool:
        """Whether requests for this model are refused before they are read."""
        return self._serving(model).sheds()

    def _routed(self, call: Call) -> Attempt:
        """The first attempt of a call: its route under the snapshot of this moment."""
        serving = self._serving(call.model)
        check_names(call.request, serving.union)
        chosen = choose(serving, call)
        deadline_ns = call.deadline_ns
        if may_stand_in(chosen):
            deadline_ns = challenger_deadline_ns(self._clock.mono_ns(), deadline_ns)
        return Attempt(call, serving, chosen, deadline_ns)

    def _run(self, attempts: Sequence[Attempt]) -> None:
        """Ask each attempt's version, all attempts of one version together."""
        groups: dict[Batcher, list[Attempt]] = {}
        unfit = []
        for attempt in attempts:
            try:
                runner = attempt.serving.runner(attempt.route.variant)
                attempt.fit(runner)
                groups.setdefault(runner.answers, []).append(attempt)
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                attempt.end(said(error))
                unfit.append(attempt)
        if unfit:
            self._ran(unfit)
        for answers, group in groups.items():
            answers.run(group, self._ran)

    def _ran(self, attempts: Sequence[Attempt]) -> None:
        """Record what became of attempts that are over; then the champion stands in, or the caller is told."""
        final: list[Attempt] = []
        missed: list[Attempt] = []
        for attempt in attempts:
            attempt.answered = attempt.failure is None
            stands_in = not attempt.answered and may_stand_in(attempt.route) and not attempt.gone
            (missed if stands_in else final).append(attempt)
        if missed:
            self._record(missed, self._stand_in)
        if final:
            self._record(final, self._tell)

    def _record(self, attempts: Sequence[Attempt], then: Callable[[Sequence[Attempt]], None]) -> None:
        """Go on with `then` once the records are durable; who cannot be recorded is not answered."""

        def recorded(those: Sequence[Attempt], refused: PointsmanError | None) -> None:
            try:
                (then if refused is None else partial(refuse, error=refused))(those)
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                refuse(those, said(error))

        try:
            self._recorder.durably(attempts, recorded)
        except Exception as error:  # noqa: BLE001  a record that cannot be made is told to its callers
            refuse(attempts, said(error))

    def _stand_in(self, attempts: Sequence[Attempt]) -> None:
        """Ask the champion instead, for as long as the caller gives."""
        again = []
        for missed in attempts:
            champion = stand_in(missed.serving.points, missed.route)
            attempt = Attempt(missed.call, missed.serving, champion, missed.call.deadline_ns)
            attempt.fallback_from = missed.route.variant.name
            again.append(attempt)
        self._run(again)

    def _tell(self, attempts: Sequence[Attempt]) -> None:
        """Reply, and only then ask the shadows."""
        for attempt in attempts:
            call = attempt.call
            call.tell(call, attempt.failure or attempt.answer())
        self._shadows.ask(attempts)


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
    return taken.variant.role == "challenger" and taken.reason == "hash"


def refuse(attempts: Sequence[Attempt], error: PointsmanError) -> None:
    """Tell every caller why there is no answer."""
    for attempt in attempts:
        attempt.call.tell(attempt.call, error)
