"""What became of an attempt -> its prediction record; pure.

Enters: an attempt that is over. Leaves: the record. Never decides anything.
"""

from typing import NamedTuple

from contracts.errors import DeadlineExceeded, ModelFailed
from contracts.prediction import Latency, Prediction, Status
from gateway.attempt import Attempt

ERROR_CHARS_MAX = 500


class Origin(NamedTuple):
    """Who writes the record: the worker's slot and process, and the gateway's version."""

    worker: str
    gateway_version: str


def status_of(attempt: Attempt) -> Status:
    """The record's status."""
    if attempt.skipped:
        return "skipped"
    if attempt.failure is None:
        return "ok"
    if isinstance(attempt.failure, DeadlineExceeded):
        return "timeout"
    return "error" if isinstance(attempt.failure, ModelFailed) else "refused"


def record_of(attempt: Attempt, origin: Origin, now_ns: int) -> Prediction:
    """The record of one version's part in a request; `now_ns` is on the monotonic clock."""
    call, ran, failure = attempt.call, attempt.ran, attempt.failure
    variant, assignment = attempt.route
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
        answered=attempt.answered,
        revision=attempt.serving.points.plan.revision,
        assignment=assignment,
        rows=call.request.rows,
        features=ran.features if ran else {},
        extra_features=attempt.extra,
        outputs=ran.outputs if ran else {},
        status=status_of(attempt),
        error_code=failure.code if failure else None,
        error=str(failure)[:ERROR_CHARS_MAX] if failure else None,
        fallback_from=attempt.fallback_from,
        latency=Latency(
            queue_us=ran.queue_us if ran else 0,
            run_us=ran.run_us if ran else 0,
            total_us=(now_ns - call.arrived_ns) // 1000,
        ),
        batch_rows=ran.batch_rows if ran else 0,
        worker=origin.worker,
        gateway_version=origin.gateway_version,
    )
