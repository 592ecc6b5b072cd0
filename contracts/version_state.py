"""What is known of a registered version beside its files: whether somebody loads it, serves by it, or had to reject it."""

from typing import Literal

from contracts.wire import Contract

State = Literal["available", "loading", "loaded", "serving", "rejected"]
"""`available`: registered, and nobody has tried it, so it may be bad; `loaded`: in some worker's memory; `serving`: loaded,
and behind the plan."""


class VersionState(Contract, frozen=True, kw_only=True):
    """What one process says of a version that it has not loaded. `reason` says why it is rejected; `since_us` is when that
    was first found, or when loading began: microseconds since the epoch, UTC.
    """

    version: str
    state: Literal["loading", "rejected"]
    reason: str = ""
    since_us: int
