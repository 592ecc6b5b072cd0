"""The prediction record: one answered, failed, refused or shadowed request, as one version saw it.

A request has one `prediction_id`. Every version that was asked, or should have been asked, leaves one record under that
id: the answer (`answered`), a canary that failed before the champion answered, a shadow, a shadow that was skipped.
Row i of a request of n > 1 rows is called `<prediction_id>#i`; features and outputs are columns with one value a row.
"""

from typing import Any, Literal

from contracts.wire import Contract

SCHEMA = 1

Role = Literal["champion", "challenger", "shadow"]
Status = Literal["ok", "error", "timeout", "refused", "skipped"]
UnitSource = Literal["routing_key", "request_id"]
Reason = Literal["hash", "forced", "pinned", "fallback", "shadow"]
"""Why this version was asked: the hash of the unit; a forced variant; a version in the path; the champion standing in
for a challenger that could not answer; the hash of a shadow's sample."""


class Assignment(Contract, frozen=True, kw_only=True):
    """How the unit came to its variant; enough to compute it again and to weigh it.

    `unit_hash` is xxh3_64(salt, unit) in 16 hex digits (the unit itself is never stored). `share` is the variant's part
    of the units under this plan, `propensity` the probability that this request was sent there (1.0 where it was forced
    or pinned); both in [0, 1].
    """

    unit_hash: str
    unit_source: UnitSource
    salt: str
    share: float
    propensity: float
    reason: Reason


class Output(Contract, frozen=True, kw_only=True):
    """One output tensor: V2 datatype, shape, and the values row-major. NaN and infinities are the strings
    "NaN", "Infinity" and "-Infinity", so that the record stays JSON and loses nothing.
    """

    datatype: str
    shape: list[int]
    data: list[Any]


class Latency(Contract, frozen=True, kw_only=True):
    """Microseconds: waiting for a run, running (of the whole batch), and from the request's arrival to its record."""

    queue_us: int
    run_us: int
    total_us: int


class Prediction(Contract, frozen=True, kw_only=True):
    """One record. `features` maps a feature's name to one value a row, as the model saw them after every cast; null is
    a missing value, an infinity is a string as in `Output`. A feature of rank above two holds one nested list a row.
    `fallback_from` names the variant that should have answered where the champion stood in for it. `request_id` is the
    caller's own. Times are microseconds since the epoch, UTC.
    """

    schema: Literal[1] = 1
    prediction_id: str
    request_id: str | None
    received_us: int
    event_us: int
    model: str
    version: str
    digest: str
    variant: str
    role: Role
    answered: bool
    revision: int
    assignment: Assignment
    rows: int
    features: dict[str, list[Any]]
    extra_features: list[str]
    outputs: dict[str, Output]
    status: Status
    error_code: str | None
    error: str | None
    fallback_from: str | None
    latency: Latency
    batch_rows: int
    worker: str
    gateway_version: str


def split_row(label_id: str) -> tuple[str, int]:
    """`<prediction_id>#<row>` as (prediction id, row); without `#` the row is 0.

    Raises ValueError where what follows `#` is not a row number.
    """
    prediction_id, mark, row = label_id.partition("#")
    if not mark:
        return prediction_id, 0
    if not row.isascii() or not row.isdigit():
        raise ValueError(f"{label_id!r}: after '#' comes a row number such as 0")
    return prediction_id, int(row)
