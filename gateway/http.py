"""Bytes in, status and bytes out: the data plane over HTTP.

Enters: requests of applications. Leaves: replies in the Open Inference Protocol; every error is `{"error": ...}`.
Never routes, runs or records anything itself.
"""

from collections.abc import Sequence

from contracts.errors import InvalidInput, Overloaded, PointsmanError
from gateway.admission import deadline_ns
from gateway.answer import Gateway
from gateway.attempt import said
from gateway.call import Answer, Call
from gateway.clock import Clock
from gateway.edge.fast_lane import Arrival, Asker
from gateway.edge.reply import Reply
from gateway.metrics import Meter
from gateway.models.inputs import check_rows
from gateway.protocol.v2 import decode_infer, encode_infer
from gateway.quota import Quota
from gateway.status import error_reply, status_of

REQUEST_ID_CHARS_MAX = 256


class Inference:
    """Answers inference requests as they come off the wire."""

    def __init__(
        self, gateway: Gateway, meter: Meter, clock: Clock, quota: Quota | None, *, timeout_ms: float, rows_max: int
    ) -> None:
        self._gateway = gateway
        self._quota = quota
        self._meter = meter
        self._clock = clock
        self._timeout_ms = timeout_ms
        self._rows_max = rows_max

    def answer(self, arrivals: Sequence[Arrival]) -> None:
        """Answer requests that came together; each asker is sent its reply, before this returns or later."""
        calls = []
        shed: dict[str, Reply | None] = {}
        for arrival in arrivals:
            try:
                if arrival.target.pin is None:
                    model = arrival.target.model
                    if model not in shed:
                        shed[model] = self._shed(model)
                    if (refusal := shed[model]) is not None:
                        self._meter.reject(refusal.status, Overloaded.code)
                        arrival.asker.send(refusal)
                        continue
                calls.append(self._call(arrival))
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                arrival.asker.send(self._refusal(said(error)))
        self._gateway.answer(calls)

    def _shed(self, model: str) -> Reply | None:
        """What is said to all requests of this step for a model of which more is asked than it can answer; else None."""
        if not self._gateway.sheds(model):
            return None
        return error_reply(503, f"more is asked of {model!r} than it can answer: ask less at once, or add workers")

    def refuse(self, status: int, message: str, reason: str = "invalid_input") -> Reply:
        """A counted refusal."""
        self._meter.reject(status, reason)
        return error_reply(status, message)

    def _tell(self, call: Call, end: Answer | PointsmanError) -> None:
        if isinstance(end, Answer):
            try:
                reply = Reply(200, encode_answer(end))
            except Exception as error:  # noqa: BLE001  one request's trouble is not its neighbours'
                reply = self._refusal(said(error))
        else:
            reply = self._refusal(end)
        asker: Asker = call.caller
        asker.send(reply)

    def _refusal(self, error: PointsmanError) -> Reply:
        return self.refuse(status_of(error), str(error), error.code)

    def _call(self, arrival: Arrival) -> Call:
        clock, arrived_ns = self._clock, arrival.arrived_ns
        if self._quota is not None:
            self._quota.take(arrival.asker.client, arrived_ns)
        received_us = clock.now_us()
        routing_key, request_id = headers_of(arrival.headers)
        request = decode_infer(arrival.body)
        check_rows(request, self._rows_max)
        return Call(
            model=arrival.target.model,
            pin=arrival.target.pin,
            request=request,
            prediction_id=clock.new_id(),
            routing_key=request.routing_key or routing_key,
            request_id=request.id or request_id,
            received_us=received_us,
            event_us=received_us if request.event_us is None else request.event_us,
            arrived_ns=arrived_ns,
            deadline_ns=deadline_ns(arrived_ns, request.timeout_us, self._timeout_ms),
            caller=arrival.asker,
            tell=self._tell,
        )


def headers_of(headers: list[tuple[bytes, bytes]]) -> tuple[str | None, str | None]:
    """The routing key and the request id that headers carry; raises `InvalidInput` for a coding we do not undo."""
    routing_key = request_id = None
    for name, value in headers:
        if name == b"x-routing-key":
            routing_key = _text(value)
        elif name == b"x-request-id":
            request_id = _text(value)[:REQUEST_ID_CHARS_MAX]
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise InvalidInput(f"content-encoding {value.decode('latin-1')!r} is not undone here: send plain JSON")
        elif name == b"inference-header-content-length":
            raise InvalidInput(
                "binary tensors (Inference-Header-Content-Length) are not spoken here: send JSON tensors"
            )
    return routing_key or None, request_id or None


def _text(value: bytes) -> str:
    """UTF-8, so that a unit is the same whether its key comes in a header or in the body; else Latin-1, as HTTP had it."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def encode_answer(answer: Answer) -> bytes:
    """The reply body of an answer."""
    return encode_infer(
        answer.model,
        answer.version,
        answer.request_id,
        answer.outputs,
        {"prediction_id": answer.prediction_id, "variant": answer.variant},
    )
