"""One version's part in one call: what it is asked, until when, and how that ended.

Enters: a call, the snapshot it is answered under, a route. Leaves: the same, over: with what ran, or why nothing did. A call
has one attempt, two where the champion stands in for a challenger, and one more for each of its shadows.
"""

import asyncio
import logging

from contracts.errors import InvalidInput, PointsmanError
from gateway.call import Answer, Call
from gateway.models.inputs import Fitted, Missing, fit
from gateway.models.run import Ran
from gateway.models.serving import Runner, Serving
from gateway.traffic.routing import Route


class Attempt:
    """Made by who routes, ended by the version's queue or by who cannot even ask it. `deadline_ns` and `since_ns` (queued
    since) are on the monotonic clock. `answered` says that this is the answer, `skipped` that a shadow was not asked,
    `fallback_from` for which variant the champion stands in.
    """

    __slots__ = (
        "answered",
        "call",
        "deadline_ns",
        "failure",
        "fallback_from",
        "fitted",
        "over",
        "ran",
        "route",
        "serving",
        "since_ns",
        "skipped",
        "timer",
    )

    def __init__(self, call: Call, serving: Serving, route: Route, deadline_ns: int) -> None:
        self.call = call
        self.serving = serving
        self.route = route
        self.deadline_ns = deadline_ns
        self.since_ns = 0
        self.fitted: Fitted | None = None
        self.ran: Ran | None = None
        self.failure: PointsmanError | None = None
        self.fallback_from: str | None = None
        self.answered = self.skipped = self.over = False
        self.timer: asyncio.TimerHandle | None = None

    def fit(self, runner: Runner) -> None:
        """Take from the request what the version behind this attempt takes; raises `InvalidInput` where it cannot."""
        fitted = fit(self.call.request, runner.session.signature)
        if isinstance(fitted, Missing):
            raise InvalidInput(fitted.message(runner.label))
        self.fitted = fitted

    @property
    def extra(self) -> list[str]:
        """The request's inputs that this version does not take; none where it was never fitted."""
        return self.fitted.extra if self.fitted else []

    @property
    def gone(self) -> bool:
        """Whether nobody would read the answer any more; a shadow's is for the log."""
        return self.route.variant.role != "shadow" and self.call.caller.gone

    def answer(self) -> Answer:
        """The answer, with only the outputs that were asked for, in the order asked."""
        call, variant = self.call, self.route.variant
        assert self.ran is not None, "an attempt without a failure ran"
        outputs = self.ran.outputs
        if call.request.outputs is not None:
            outputs = {name: outputs[name] for name in call.request.outputs}
        return Answer(call.prediction_id, call.model, variant.ref.version, variant.name, call.request_id, outputs)

    def end(self, result: "Ran | PointsmanError") -> None:
        """What became of it; nothing changes that any more."""
        assert not self.over, "an attempt ends once"
        self.over = True
        if isinstance(result, PointsmanError):
            # its frames hold this attempt: garbage that only the collector finds, a tenth of a second at a time
            self.failure = result.with_traceback(None)
        else:
            self.ran = result
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


def said(error: Exception) -> PointsmanError:
    """What a caller is told of an error: one of the tree as it is; of a bug of ours no more than that there is one."""
    if isinstance(error, PointsmanError):
        return error
    logging.getLogger("pointsman.gateway").error("a request broke the gateway", exc_info=error)
    return PointsmanError("internal error; the gateway's log has the details")
