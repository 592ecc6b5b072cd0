"""What became of an attempt -> its prediction record; pure.

Enters: an attempt that is over. Leaves: the bytes of its record: compact where a version ran, JSON where none did. Never
decides anything.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from contracts.errors import DeadlineExceeded, ModelFailed
from contracts.prediction import SCHEMA, Assignment, Latency, Output, Role, Status
from contracts.wire import Contract, encode
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
    count say in common: the run, or why nothing ran, the variant, the plan, and for whom it stood in.
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
    """Whether both are answers of one run, or failures of one kind, under one plan; the same objects, not equal ones."""
    return (
        one.route.variant is other.route.variant
        and one.serving is other.serving
        and one.answered is other.answered
        and one.fallback_from == other.fallback_from
        and (_fail_alike(one, other) if one.ran is None or other.ran is None else one.ran.run is other.ran.run)
    )


def _fail_alike(one: Attempt, other: Attempt) -> bool:
    mine, its = one.failure, other.failure
    if mine is None or its is None:
        return False
    return one.skipped is other.skipped and (mine is its or (type(mine) is type(its) and mine.args == its.args))


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


class _Shared(Contract, frozen=True, kw_only=True):
    """What the records of failures of one kind have in common: a part of `contracts.prediction.Prediction`."""

    schema: int = SCHEMA
    model: str
    version: str
    digest: str
    variant: str
    role: Role
    answered: bool
    revision: int
    features: dict[str, list[Any]] = {}
    outputs: dict[str, Output] = {}
    status: Status
    error_code: str
    error: str
    fallback_from: str | None
    batch_rows: int = 0
    worker: str
    gateway_version: str


class _Own(Contract, frozen=True, kw_only=True):
    """The rest of such a record."""

    prediction_id: str
    request_id: str | None
    received_us: int
    event_us: int
    assignment: Assignment
    rows: int
    extra_features: list[str]
    latency: Latency


def failure_records(alike: Sequence[Attempt], origin: Origin, now_ns: int) -> tuple[bytes, list[bytes]]:
    """How the records of attempts that `in_runs` put together begin, in which nothing ran, or not to the end; and how each
    goes on. `now_ns` is on the monotonic clock.
    """
    first = alike[0]
    failure, variant = first.failure, first.route.variant
    assert failure is not None, "what did not run has failed"
    shared = _Shared(
        model=first.call.model,
        version=variant.ref.version,
        digest=variant.ref.digest,
        variant=variant.name,
        role=variant.role,
        answered=first.answered,
        revision=first.serving.points.plan.revision,
        status=status_of(first),
        error_code=failure.code,
        error=str(failure)[:ERROR_CHARS_MAX],
        fallback_from=first.fallback_from,
        worker=origin.worker,
        gateway_version=origin.gateway_version,
    )
    return encode(shared)[:-1] + b",", [encode(_own(attempt, now_ns))[1:] for attempt in alike]


def _own(attempt: Attempt, now_ns: int) -> _Own:
    call = attempt.call
    return _Own(
        prediction_id=call.prediction_id,
        request_id=call.request_id,
        received_us=call.received_us,
        event_us=call.event_us,
        assignment=attempt.route.assignment,
        rows=call.request.rows,
        extra_features=attempt.extra,
        latency=Latency(queue_us=0, run_us=0, total_us=(now_ns - call.arrived_ns) // 1000),
    )
