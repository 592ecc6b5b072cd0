"""HTTP of the monitor: summaries, reports, metrics, health.

Enters: requests. Leaves: JSON, HTML or the Prometheus text; every error is `{"error": "..."}`. Never computes anything
itself: answers come from `answers.py`, off the event loop, and are kept for a few seconds.
"""

from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from contracts.errors import InvalidInput, NotFound, PointsmanError, Unavailable
from contracts.statistic import Statistic
from monitor.pages.answers import Answers
from monitor.pages.kept import Kept
from monitor.pages.metrics import CONTENT_TYPE, exposition
from monitor.pages.question import question_of
from monitor.pages.report import index, page

KEPT_SECONDS: Final = 2.0
METRICS_KEPT_SECONDS: Final = 5.0
"""How old an answer may be: whoever reloads every second costs no more than one computation every so often."""
ANSWERS_KEPT_MAX: Final = 32
RUNNING_MAX: Final = 16
STATUS_OF: Final = MappingProxyType({InvalidInput: 400, NotFound: 404, Unavailable: 503, PointsmanError: 500})
"""By the first that fits."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Body(msgspec.Struct, frozen=True):
    """The body of `GET /summaries`."""

    rows: list[Statistic]


class MonitorHttp:
    """The endpoints. `not_ready` says why the monitor is not ready, or null; `clock` gives seconds that never go back."""

    def __init__(self, answers: Answers, not_ready: Callable[[], str | None], clock: Callable[[], float]) -> None:
        self._answers = answers
        self._not_ready = not_ready
        self._kept: Kept[bytes] = Kept(
            clock, seconds=KEPT_SECONDS, answers_max=ANSWERS_KEPT_MAX, running_max=RUNNING_MAX
        )
        self._scrapes: Kept[bytes] = Kept(clock, seconds=METRICS_KEPT_SECONDS, answers_max=1, running_max=1)

    def app(self) -> Starlette:
        """The ASGI app; every error, also one of ours, is `{"error": ...}`."""
        endpoints = {
            "/": self.index,
            "/summaries": self.summaries,
            "/report": self.report,
            "/status": self.status,
            "/metrics": self.metrics,
            "/health/live": self.live,
            "/health/ready": self.ready,
        }
        routes = [Route(path, _refusing(endpoint)) for path, endpoint in endpoints.items()]
        return Starlette(routes=routes, exception_handlers={HTTPException: _unknown, Exception: _broken})

    async def index(self, _request: Request) -> Response:
        """Every model, with a link to its report."""
        return HTMLResponse(await self._kept.get("index", lambda: index(self._answers.models()).encode()))

    async def summaries(self, request: Request) -> Response:
        """The rows that the query parameters ask for."""
        question = question_of(request.query_params.multi_items())
        body = await self._kept.get(question, lambda: msgspec.json.encode(Body(self._answers.rows(question))))
        return Response(body, media_type="application/json")

    async def report(self, request: Request) -> Response:
        """The report on one model, as a page that can be saved as it is."""
        asked = question_of(request.query_params.multi_items(), ("model", "from", "to"))
        if asked.model is None:
            raise InvalidInput("parameter 'model' is missing: /report?model=NAME; / lists the models")
        body = await self._kept.get(("report", asked), lambda: page(self._answers.content(asked)).encode())
        return HTMLResponse(body)

    async def status(self, _request: Request) -> Response:
        """How far the log was read, what was counted and what was found damaged."""
        body = await self._kept.get("status", lambda: msgspec.json.encode(self._answers.standing()))
        return Response(body, media_type="application/json")

    async def metrics(self, _request: Request) -> Response:
        """The Prometheus text."""
        body = await self._scrapes.get("metrics", lambda: exposition(self._answers.snapshot()))
        return Response(body, headers={"content-type": CONTENT_TYPE})

    async def live(self, _request: Request) -> Response:
        """200 as long as the event loop turns."""
        return _json({"live": True})

    async def ready(self, _request: Request) -> Response:
        """200 while the log is being read and counted."""
        reason = self._not_ready()
        return _json({"ready": True}) if reason is None else _json({"ready": False, "error": reason}, 503)


def status_of(error: PointsmanError) -> int:
    """The status of an error: its own, or that of its nearest ancestor in the table."""
    return next(status for kind, status in STATUS_OF.items() if isinstance(error, kind))


def _refusing(endpoint: Endpoint) -> Endpoint:
    async def refusing(request: Request) -> Response:
        try:
            return await endpoint(request)
        except PointsmanError as error:
            return _json({"error": str(error)}, status_of(error))

    return refusing


async def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for that only"
    return _json({"error": f"{request.method} {request.url.path}: {error.detail}"}, error.status_code)


async def _broken(request: Request, error: Exception) -> Response:
    """A bug of ours: the traceback goes to the log, as the server re-raises what this answers."""
    return _json({"error": f"{request.method} {request.url.path}: {type(error).__name__}, see the monitor's log"}, 500)


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, headers={"content-type": "application/json"})
