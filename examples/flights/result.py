"""What the demo came to, as one value that is also its `--json`."""

from typing import Any

import msgspec

from examples.flights.closing import Closing
from examples.flights.steering import Done


class Made(msgspec.Struct, frozen=True):
    """One trained version and its figures on the held-out days."""

    version: str
    algorithm: str
    window: str
    threshold: float
    metrics: dict[str, float]


class Result(msgspec.Struct, frozen=True):
    """`certificate` is what `pointsman log verify --json` said; `complete` whether it found the log complete and every
    record counted once; `agrees` whether every figure of the monitor stands up to the recount; `*_seconds` are wall time.
    """

    seed: int
    versions: list[Made]
    predictions: int
    labels: int
    replay_seconds: float
    predictions_per_second: float
    steps: list[Done]
    closings: list[Closing]
    agrees: bool
    certificate: dict[str, Any]
    complete: bool
    report: str
    gateway: str
    admin: str
    monitor: str
    total_seconds: float

    @property
    def ok(self) -> bool:
        """The log is complete and all figures agree."""
        return self.agrees and self.complete
