"""An inference request, whatever protocol it came by: named tensors and what the caller asks beside them.

The wire protocols make it; the rest of the gateway knows no other. Never changes once made.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.protocol.tensors import Tensor

TENSORS_MAX: Final = 1024
"""Inputs, and requested outputs, of one request."""
ID_BYTES_MAX: Final = 256
"""UTF-8 bytes of a request id, a routing key and a variant's name."""


class InferRequest(Struct, frozen=True, kw_only=True):
    """`inputs` in the order sent, each with `rows` as its first dimension; `nulls` is False only where no element of any
    of them is None; `arrays` says that their data are arrays and not lists. `outputs` are the names asked for, None meaning
    all. `event_us` is in microseconds since the epoch, UTC, `timeout_us` in microseconds from arrival; None where the
    caller said nothing.
    """

    id: str | None = None
    rows: int
    inputs: Mapping[str, Tensor]
    nulls: bool
    arrays: bool = False
    outputs: tuple[str, ...] | None = None
    routing_key: str | None = None
    variant: str | None = None
    event_us: int | None = None
    timeout_us: int | None = None

    @property
    def values(self) -> int:
        """How many values all inputs have together."""
        return sum([len(tensor.data) for tensor in self.inputs.values()])
