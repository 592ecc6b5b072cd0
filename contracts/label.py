"""The label record: the truth for one row of one prediction, arriving seconds to weeks later.

Of several labels for the same row the winner is the greatest by (label_version, observed_us, received_us, the bytes of
the value): every part stands in the record, so the winner does not depend on the order of arrival.
"""

from typing import Literal

from contracts.wire import Contract, encode

LabelValue = bool | int | float | str


class Label(Contract, frozen=True, kw_only=True):
    """One label. `prediction_id` may end in `#row`. `label` is null only where `op` is `retract`: that takes the label
    back. Times are microseconds since the epoch, UTC; `received_us` is when the gateway took it.
    """

    schema: Literal[1] = 1
    prediction_id: str
    label: LabelValue | None
    observed_us: int
    received_us: int
    label_version: int = 0
    op: Literal["upsert", "retract"] = "upsert"


def precedence(label: Label) -> tuple[int, int, int, bytes]:
    """The key by which the winner among several labels of one row is the greatest."""
    return (label.label_version, label.observed_us, label.received_us, encode(label))
