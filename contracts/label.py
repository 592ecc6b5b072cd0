"""The label record: the truth for one row of one prediction, arriving seconds to weeks later.

Of several labels for the same row the winner is the greatest by (label_version, observed_us, received_us, the bytes of
the value): every part stands in the record, so the winner does not depend on the order of arrival. `SentLabel` is what
programs outside write, over HTTP or straight into Kafka: both ways lead to a record by the same checks.
"""

import re
from typing import Final, Literal

import msgspec

from contracts.errors import InvalidInput
from contracts.moment import parse_moment
from contracts.prediction import split_row
from contracts.wire import Contract, encode

LABEL_CHARS_MAX: Final = 1_000
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS: Final = re.compile(r"[0-9a-f]{32}")

LabelValue = bool | int | float | str


class Label(Contract, frozen=True, kw_only=True):
    """One label. `prediction_id` may end in `#row`. `label` is null only where `op` is `retract`: that takes the label
    back. Times are microseconds since the epoch, UTC; `received_us` is when the gateway took it, or Kafka.
    """

    schema: Literal[1] = 1
    prediction_id: str
    label: LabelValue | None
    observed_us: int
    received_us: int
    label_version: int = 0
    op: Literal["upsert", "retract"] = "upsert"


class SentLabel(Contract, frozen=True, kw_only=True):
    """One label as it is sent: `observed_at` is RFC 3339 with an offset, null is the moment of receipt."""

    prediction_id: str
    label: LabelValue | None = None
    observed_at: str | None = None
    label_version: int = 0
    op: Literal["upsert", "retract"] = "upsert"


def precedence(label: Label) -> tuple[int, int, int, bytes]:
    """The key by which the winner among several labels of one row is the greatest."""
    return (label.label_version, label.observed_us, label.received_us, encode(label))


def read_sent(data: bytes | msgspec.Raw, received_us: int) -> Label:
    """The record of a label that was sent; `InvalidInput` says which field is wrong, and how."""
    try:
        sent = msgspec.json.decode(data, type=SentLabel)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(error)) from None
    _check_id(sent.prediction_id)
    if sent.op == "upsert" and sent.label is None:
        raise InvalidInput('label: missing or null; to take a label back send "op": "retract"')
    if sent.op == "retract" and sent.label is not None:
        raise InvalidInput(f"label: {sent.label!r} with op retract; a retraction carries no label")
    if isinstance(sent.label, str) and len(sent.label) > LABEL_CHARS_MAX:
        raise InvalidInput(f"label: {len(sent.label)} characters; at most {LABEL_CHARS_MAX}")
    if not 0 <= sent.label_version < 2**31:
        raise InvalidInput(f"label_version: {sent.label_version}; a whole number from 0 to {2**31 - 1}")
    return Label(
        prediction_id=sent.prediction_id,
        label=sent.label,
        observed_us=received_us if sent.observed_at is None else parse_moment("observed_at", sent.observed_at),
        received_us=received_us,
        label_version=sent.label_version,
        op=sent.op,
    )


def _check_id(label_id: str) -> None:
    try:
        prediction_id, _ = split_row(label_id)
    except ValueError as error:
        raise InvalidInput(f"prediction_id: {label_id[:80]!r} is none that a reply carried: {error}") from None
    if _CANONICAL.fullmatch(prediction_id):
        return
    digits = prediction_id.lower().removeprefix("urn:uuid:").strip("{}").replace("-", "")
    if not _DIGITS.fullmatch(digits):
        raise InvalidInput(f"prediction_id: {label_id[:80]!r} is none that a reply carried: it is no UUID")
    canonical = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    raise InvalidInput(f"prediction_id: {label_id[:80]!r} is not in canonical form; expected {canonical!r}")
