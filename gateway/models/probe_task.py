"""What `gateway.models.probe` and its child process say to each other: one task there, one report back."""

from contracts.wire import Contract


class ProbeTask(Contract, frozen=True, kw_only=True):
    """What to load and within which limits; see `gateway.models.probe.probe_in_child`. `path` is absolute."""

    path: str
    memory_bytes_max: int
    cpu_seconds_max: int
    threads: int


class ProbeReport(Contract, frozen=True, kw_only=True):
    """`rejected` is the reason, None where the version can be served."""

    rejected: str | None
