"""Labels over HTTP -> label records: the truth, as it comes in.

Enters: the body of `POST /v2/labels`. Leaves: the labels that are sound, and for each other one its index and the reason.
Never knows which predictions exist: a label may come before its prediction is counted; the monitor joins them.
"""

from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from contracts.errors import InvalidInput
from contracts.label import Label
from contracts.moment import parse_moment
from contracts.prediction import split_row

LABELS_MAX: Final = 10_000
LABEL_CHARS_MAX: Final = 1_000


class _Sent(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    prediction_id: str
    label: bool | int | float | str | None = None
    observed_at: str | None = None
    label_version: int = 0
    op: Literal["upsert", "retract"] = "upsert"


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[msgspec.Raw]


class Refused(msgspec.Struct, frozen=True):
    """One label that was not taken: its place in the request, and why."""

    index: int
    reason: str


class Taken(NamedTuple):
    """What a request's labels came to."""

    labels: list[Label]
    refused: list[Refused]


def take_labels(body: bytes, now_us: int) -> Taken:
    """The sound labels of a request; `InvalidInput` where the request itself is not one."""
    try:
        sent = msgspec.json.decode(body, type=_Body).labels
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f'labels: {error}; send {{"labels": [{{"prediction_id": "...", "label": 1}}]}}') from None
    if len(sent) > LABELS_MAX:
        raise InvalidInput(f"labels: {len(sent)} in one request; send at most {LABELS_MAX} at once")
    taken = Taken([], [])
    for index, raw in enumerate(sent):
        try:
            taken.labels.append(_label(raw, now_us))
        except InvalidInput as error:
            taken.refused.append(Refused(index, str(error)))
    return taken


def _label(raw: msgspec.Raw, now_us: int) -> Label:
    try:
        sent = msgspec.json.decode(raw, type=_Sent)
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
        observed_us=now_us if sent.observed_at is None else parse_moment("observed_at", sent.observed_at),
        received_us=now_us,
        label_version=sent.label_version,
        op=sent.op,
    )


def _check_id(label_id: str) -> None:
    try:
        prediction_id, _ = split_row(label_id)
        canonical = str(UUID(prediction_id))
    except ValueError as error:
        raise InvalidInput(f"prediction_id: {label_id[:80]!r} is none that a reply carried: {error}") from None
    if canonical != prediction_id:
        raise InvalidInput(f"prediction_id: {label_id[:80]!r} is not in canonical form; expected {canonical!r}")


class Summary(msgspec.Struct, frozen=True):
    """The answer to a labels request."""

    accepted: int
    refused: list[Refused]


def encode_summary(taken: Taken) -> bytes:
    """The reply body."""
    return msgspec.json.encode(Summary(len(taken.labels), taken.refused))
