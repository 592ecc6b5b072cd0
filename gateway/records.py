"""What became of an attempt -> its prediction record; pure.

Enters: an attempt that is over. Leaves: the bytes of its record: compact where a version ran, JSON where none did. Never
decides anything.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from contracts.errors import DeadlineExceeded, ModelFailed
from contracts.prediction import Latency, Prediction, Status
from gateway.attempt import Attempt
from gateway.models.run import Form
from gateway.traffic.routing import Variant
from prediction_log.compact import REASONS, UNIT_SOURCES, Layout, Odd, odd_of, pack, prefix_of

ERROR_CHARS_MAX: Final = 500
PREFIXES_MAX: Final = 1024
"""Beginnings of compact records that a worker keeps; beyond that it starts anew."""
_REASON_CODES: Final = {reason: code for code, reason in enumerate(REASONS)}
_UNIT_SOURCE_CODES: Final = {source: code for code, source in enumerate(UNIT_SOURCES)}


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


class Prefixes:
    """How compact records begin: all that those of one variant under one plan share. At most PREFIXES_MAX are kept."""

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._kept: dict[tuple[str, int, Variant, str, Form], bytes] = {}

    def of(self, attempt: Attempt) -> bytes:
        """The beginning of an attempt's record; it ran."""
        assert attempt.ran is not None, "only what ran has a form"
        variant, salt, plan = attempt.route.variant, attempt.route.salt, attempt.serving.points.plan
        key = (plan.model, plan.revision, variant, salt, attempt.ran.run.form)
        prefix = self._kept.get(key)
        if prefix is None:
            if len(self._kept) >= PREFIXES_MAX:
                self._kept.clear()
            prefix = self._kept[key] = prefix_of(layout_of(*key, self._origin))
        return prefix


def layout_of(model: str, revision: int, variant: Variant, salt: str, form: Form, origin: Origin) -> Layout:
    """What the records of one variant under one plan share."""
    return Layout(
        model=model,
        version=variant.ref.version,
        digest=variant.ref.digest,
        variant=variant.name,
        role=variant.role,
        revision=revision,
        salt=salt,
        share=variant.share,
        worker=origin.worker,
        gateway_version=origin.gateway_version,
        features=form.features,
        outputs=form.outputs,
    )


def in_runs(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    """The attempts in their order, those together that stand beside each other and had all that a record's beginning and a
    count say in common: the run, the variant, the plan, and for whom it stood in. What never ran stands alone.
    """
    groups: list[list[Attempt]] = []
    last: Attempt | None = None
    for attempt in attempts:
        if last is not None and _alike(attempt, last):
            groups[-1].append(attempt)
        else:
            groups.append([attempt])
        last = attempt
    return groups


def _alike(one: Attempt, other: Attempt) -> bool:
    """Whether both are answers of one run under one plan; the same objects, not equal ones."""
    return (
        one.ran is not None
        and other.ran is not None
        and one.ran.run is other.ran.run
        and one.route.variant is other.route.variant
        and one.serving is other.serving
        and one.answered is other.answered
        and one.fallback_from == other.fallback_from
    )


def compact_records(alike: Sequence[Attempt], now_ns: int) -> list[bytes]:
    """The records of attempts that `in_runs` put together, behind the prefix that they share; `now_ns` is on the monotonic
    clock.
    """
    records = []
    for attempt in alike:
        call, route, ran = attempt.call, attempt.route, attempt.ran
        assert ran is not None, "only what ran has a compact record"
        assert len(call.prediction_id) == 36, call.prediction_id
        odd = b""
        if call.request_id is not None or attempt.extra or attempt.fallback_from is not None:
            odd = odd_of(
                Odd(request_id=call.request_id, extra_features=attempt.extra, fallback_from=attempt.fallback_from)
            )
        fixed = (
            call.prediction_id.encode(),
            call.received_us,
            call.event_us,
            route.unit_hash,
            route.propensity,
            ran.queue_us,
            ran.run.run_us,
            (now_ns - call.arrived_ns) // 1000,
            call.request.rows,
            ran.run.rows,
            _REASON_CODES[route.reason],
            _UNIT_SOURCE_CODES[route.unit_source],
            attempt.answered,
        )
        records.append(pack(fixed, odd, ran.sections()))
    return records


def failure_record(attempt: Attempt, origin: Origin, now_ns: int) -> Prediction:
    """The record of an attempt in which nothing ran, or not to the end; `now_ns` is on the monotonic clock."""
    call, failure, variant = attempt.call, attempt.failure, attempt.route.variant
    assert failure is not None, "what did not run has failed"
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
        assignment=attempt.route.assignment,
        rows=call.request.rows,
        features={},
        extra_features=attempt.extra,
        outputs={},
        status=status_of(attempt),
        error_code=failure.code,
        error=str(failure)[:ERROR_CHARS_MAX],
        fallback_from=attempt.fallback_from,
        latency=Latency(queue_us=0, run_us=0, total_us=(now_ns - call.arrived_ns) // 1000),
        batch_rows=0,
        worker=origin.worker,
        gateway_version=origin.gateway_version,
    )
