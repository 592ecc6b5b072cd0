"""What `gateway.models.probe` and its child process say to each other: one task there, one report back."""

from typing import Final

from contracts.signature import Signature
from contracts.wire import Contract

SIGNATURE_BYTES_MAX: Final = 2**20
"""As JSON; a longer one, of tens of thousands of named features, is left out of the report."""


class ProbeTask(Contract, frozen=True, kw_only=True):
    """What to load and within which limits; see `gateway.models.probe.probe_in_child`. `path` is absolute."""

    path: str
    memory_bytes_max: int
    cpu_seconds_max: int
    threads: int


class ProbeReport(Contract, frozen=True, kw_only=True):
    """`rejected` is the reason, None where the version can be served; then `signature` is what it is served by."""

    rejected: str | None
    signature: Signature | None = None
