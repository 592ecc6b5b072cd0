"""One request on its way: what the caller sent, when it came, the unit that routes it, and who waits for the answer."""

from collections.abc import Callable
from typing import Any, NamedTuple

from contracts.errors import PointsmanError
from contracts.prediction import Output, UnitSource
from gateway.protocol.request import InferRequest


class Call(NamedTuple):
    """A decoded request with everything that its record needs. `pin` is the version or alias in the path, if any;
    `routing_key` and `request_id` are the caller's own, from parameters or headers. Times: `received_us` since the
    epoch, `arrived_ns` and `deadline_ns` on the monotonic clock, `event_us` when the predicted event happened. `caller`
    is who `tell` tells: whatever the wire it came by knows it as, with `gone` true where nobody would read an answer any
    more. `tell` is called once, with the call's end, and never raises.
    """

    model: str
    pin: str | None
    request: InferRequest
    prediction_id: str
    routing_key: str | None
    request_id: str | None
    received_us: int
    event_us: int
    arrived_ns: int
    deadline_ns: int
    caller: Any
    tell: "Callable[[Call, Answer | PointsmanError], None]"

    @property
    def unit(self) -> str:
        """What is assigned to a variant: the routing key, else the caller's request id, else the prediction id."""
        return self.routing_key or self.request_id or self.prediction_id

    @property
    def unit_source(self) -> UnitSource:
        """Where the unit came from."""
        return "routing_key" if self.routing_key else "request_id"


class Answer(NamedTuple):
    """What goes back to the caller."""

    prediction_id: str
    model: str
    version: str
    variant: str
    request_id: str | None
    outputs: dict[str, Output]
