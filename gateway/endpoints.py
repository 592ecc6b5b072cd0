"""The slower paths of the data plane: health, metadata, labels, metrics; and inference where the fast lane passes.

Enters: ASGI requests. Leaves: JSON. Never computes anything: each endpoint asks the room that knows.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from contracts.errors import InvalidInput, LogUnavailable, PointsmanError
from contracts.wire import encode
from gateway.clock import Clock
from gateway.edge.fast_lane import Arrival, target_of
from gateway.edge.reply import Reply
from gateway.exposition import CONTENT_TYPE
from gateway.http import Inference
from gateway.labels import encode_summary, take_labels
from gateway.metrics import Meter
from gateway.protocol import metadata
from gateway.status import status_of
from gateway.traffic.plans import Models
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import LogWriter

Endpoint = Callable[[Request], Awaitable[Response]]


class SlowAsker:
    """Waits for the reply to a request that came by the ASGI app."""

    gone = False

    def __init__(self, reply: "asyncio.Future[Reply]", client: str) -> None:
        self.reply = reply
        self.client = client

    def send(self, reply: Reply) -> None:
        """This is the reply; nobody may be there to take it."""
        if not self.reply.done():
            self.reply.set_result(reply)


class DataPlane:
    """The endpoints of one worker."""

    def __init__(
        self,
        inference: Inference,
        models: Models,
        log: LogWriter | None,
        meter: Meter,
        metrics_page: Callable[[], Awaitable[bytes]],
        clock: Clock,
        *,
        body_bytes_max: int,
    ) -> None:
        self._inference = inference
        self._models = models
        self._log = log
        self._meter = meter
        self._metrics_page = metrics_page
        self._clock = clock
        self._body_bytes_max = body_bytes_max
        self.draining = False

    def app(self) -> Starlette:
        """The ASGI app; every error, also for unknown paths and methods, is `{"error": ...}`."""
        infer = self._refusing(self.infer)
        routes = [
            Route("/v2/health/live", self._refusing(self.live)),
            Route("/v2/health/ready", self._refusing(self.ready)),
            Route("/v2", self._refusing(self.server)),
            Route("/v2/models", self._refusing(self.models)),
            Route("/v2/repository/index", self._refusing(self.index), methods=["POST"]),
            Route("/v2/labels", self._refusing(self.labels), methods=["POST"]),
            Route("/v2/models/{model}", self._refusing(self.model)),
            Route("/v2/models/{model}/ready", self._refusing(self.model_ready)),
            Route("/v2/models/{model}/infer", infer, methods=["POST"]),
            Route("/v2/models/{model}/versions/{pin}", self._refusing(self.model)),
            Route("/v2/models/{model}/versions/{pin}/ready", self._refusing(self.model_ready)),
            Route("/v2/models/{model}/versions/{pin}/infer", infer, methods=["POST"]),
            Route("/metrics", self._refusing(self.metrics)),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: self._unknown})

    async def live(self, _request: Request) -> Response:
        """200 as long as the event loop turns."""
        return _json({"live": True})

    async def ready(self, _request: Request) -> Response:
        """200 where every known model is served and can be logged."""
        reason = self._not_ready()
        return _json({"ready": reason is None, **({"error": reason} if reason else {})}, 200 if reason is None else 503)

    async def server(self, _request: Request) -> Response:
        """Who answers here and what it speaks."""
        return _json(metadata.server_metadata(version("pointsman")))

    async def models(self, _request: Request) -> Response:
        """The names of all models that are served."""
        return _json({"models": sorted(self._models.servings)})

    async def index(self, request: Request) -> Response:
        """Every registered version with its state, as Triton's repository index."""
        wanted = await self._body(request)
        only_ready = bool(wanted.strip()) and msgspec.json.decode(wanted, type=dict[str, Any]).get("ready") is True
        return _json([row for row in self._models.index() if row["state"] == "READY" or not only_ready])

    async def model(self, request: Request) -> Response:
        """Names, datatypes and shapes of what a model or one version of it takes and gives."""
        serving = self._models.serving(request.path_params["model"])
        pin = request.path_params.get("pin")
        runner = serving.pinned(pin) if pin else serving.runners[serving.points.champion.ref]
        ready = sorted({runner.session.fetched.version for runner in serving.runners.values()})
        return _json(metadata.model_metadata(serving.points.plan.model, ready, runner.session.signature))

    async def model_ready(self, request: Request) -> Response:
        """200 where the model, or that version of it, would answer now."""
        name, pin = request.path_params["model"], request.path_params.get("pin")
        serving = self._models.serving(name)
        if pin:
            serving.pinned(pin)
        return _json(metadata.model_ready(name, ready=True))

    async def infer(self, request: Request) -> Response:
        """An inference that did not come by the fast lane (it asked for `100 Continue`)."""
        body = await self._body(request)
        target = target_of(request.scope["raw_path"])
        if target is None:  # the route saw the path without its escapes
            raise HTTPException(404)
        client = request.client.host if request.client else ""
        asker = SlowAsker(asyncio.get_running_loop().create_future(), client)
        self._inference.answer([Arrival(target, request.headers.raw, body, asker, self._clock.mono_ns())])
        return _response(await asker.reply)

    async def labels(self, request: Request) -> Response:
        """202 once every accepted label is durable."""
        taken = take_labels(await self._body(request), self._clock.now_us())
        if self._log is None and taken.labels:
            raise LogUnavailable("logging is switched off (log_enabled), so labels cannot be kept")
        if self._log is not None:
            log = self._log
            await asyncio.gather(*(log.append(Kind.LABEL, encode(label)) for label in taken.labels))
        self._meter.count_labels("accepted", len(taken.labels))
        self._meter.count_labels("refused", len(taken.refused))
        return Response(encode_summary(taken), 202, media_type="application/json")

    async def metrics(self, _request: Request) -> Response:
        """The counts of all workers of this host."""
        return Response(await self._metrics_page(), headers={"content-type": CONTENT_TYPE})

    def _not_ready(self) -> str | None:
        if self.draining:
            return "draining"
        if self._log is not None and not self._log.available:
            return "the prediction log cannot be written"
        return self._models.not_ready()

    async def _body(self, request: Request) -> bytes:
        size, chunks = 0, []
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._body_bytes_max:
                raise HTTPException(413, f"the body has more than {self._body_bytes_max} bytes (body_bytes_max)")
            chunks.append(chunk)
        return b"".join(chunks)

    def _refusing(self, endpoint: Endpoint) -> Endpoint:
        async def refusing(request: Request) -> Response:
            try:
                return await endpoint(request)
            except PointsmanError as error:
                return _response(self._inference.refuse(status_of(error), str(error), error.code))
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                return _response(self._inference.refuse(400, f"body: {error}", InvalidInput.code))

        return refusing

    async def _unknown(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for that only"
        message = f"{request.method} {request.url.path}: {error.detail}"
        return _response(
            self._inference.refuse(error.status_code, message, "not_found" if error.status_code == 404 else "http")
        )


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, headers={"content-type": "application/json"})


def _response(reply: Reply) -> Response:
    headers = {"content-type": "application/json"} | {name.decode(): value.decode() for name, value in reply.headers}
    return Response(reply.body, reply.status, headers=headers)
