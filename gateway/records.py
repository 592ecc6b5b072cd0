"""A request and what became of it -> its prediction record; pure.

Enters: the call, its route, and either what ran or why nothing did. Leaves: the record. Never decides anything.
"""

from typing import NamedTuple

from contracts.errors import DeadlineExceeded, ModelFailed, PointsmanError
from contracts.prediction import Latency, Prediction, Status
from gateway.call import Call
from gateway.models.batching import Ran
from gateway.traffic.routing import Route

ERROR_CHARS_MAX = 500


class Origin(NamedTuple):
    """Who writes the record: the worker's slot and process, and the gateway's version."""

    worker: str
    gateway_version: str


class Fate(NamedTuple):
    """How one version's part in a request ended. `extra` are inputs of the request that this version does not take."""

    route: Route
    rows: int
    extra: list[str]
    ran: Ran | None
    failure: PointsmanError | None
    answered: bool
    skipped: bool = False
    fallback_from: str | None = None


def status_of(fate: Fate) -> Status:
    """The record's status."""
    if fate.skipped:
        return "skipped"
    if fate.failure is None:
        return "ok"
    if isinstance(fate.failure, DeadlineExceeded):
        return "timeout"
    return "error" if isinstance(fate.failure, ModelFailed) else "refused"


def record_of(call: Call, fate: Fate, revision: int, origin: Origin, now_ns: int) -> Prediction:
    """The record of one version's part in a request; `now_ns` is on the monotonic clock."""
    variant, assignment = fate.route
    ran, failure = fate.ran, fate.failure
    return Prediction(
        prediction_id=call.prediction_id,
        request_id=call.request_id,
        received_us=call.received_us,
        event_us=call.event_us,
        model=call.model,
        version=variant.ref.version,
        digest=variant.ref.digest,
        variant=variant.name,
        role=variant.role,
        answered=fate.answered,
        revision=revision,
        assignment=assignment,
        rows=fate.rows,
        features=ran.features if ran else {},
        extra_features=fate.extra,
        outputs=ran.outputs if ran else {},
        status=status_of(fate),
        error_code=failure.code if failure else None,
        error=str(failure)[:ERROR_CHARS_MAX] if failure else None,
        fallback_from=fate.fallback_from,
        latency=Latency(
            queue_us=ran.queue_us if ran else 0,
            run_us=ran.run_us if ran else 0,
            total_us=(now_ns - call.arrived_ns) // 1000,
        ),
        batch_rows=ran.batch_rows if ran else 0,
        worker=origin.worker,
        gateway_version=origin.gateway_version,
    )
