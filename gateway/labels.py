"""Labels over HTTP -> label records: the truth, as it comes in.

Enters: the body of `POST /v2/labels`. Leaves: the labels that are sound, and for each other one its index and the reason.
Never knows which predictions exist: a label may come before its prediction is counted; the monitor joins them.
"""

from typing import Final, NamedTuple

import msgspec

from contracts.errors import InvalidInput
from contracts.label import Label, read_sent

LABELS_MAX: Final = 10_000


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
            taken.labels.append(read_sent(raw, now_us))
        except InvalidInput as error:
            taken.refused.append(Refused(index, str(error)))
    return taken


class Summary(msgspec.Struct, frozen=True):
    """The answer to a labels request."""

    accepted: int
    refused: list[Refused]


def encode_summary(taken: Taken) -> bytes:
    """The reply body."""
    return msgspec.json.encode(Summary(len(taken.labels), taken.refused))
