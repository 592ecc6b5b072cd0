"""How long a version's runs take just now, and so how long whoever comes would wait.

Enters: what a run of one row and each further row took when the version was loaded, and then how long each run takes.
Leaves: estimates. Never decides who may wait.

The law is the trial's line, run + row * (rows - 1), times one factor that follows what is seen: a moving average of seen
over expected with weight FOLLOW, so that one run that the kernel interrupted moves it little and a changed load is
followed within some ten runs.
"""

import math
from typing import Final

FOLLOW: Final = 0.2
FIXED_SHARE: Final = 0.1
"""A run is large enough where so much of its time, at most, is the part that does not grow with the rows: larger ones would
answer hardly more rows a second, only later.
"""
FACTOR_MAX: Final = 100.0
"""A run that took longer than so many times the expected counts as so many: it was held up, not slow."""


class Pace:
    """`run_us` and `row_us` as in `gateway.models.sessions.Session`; microseconds."""

    def __init__(self, run_us: float, row_us: float) -> None:
        self._run_us = max(run_us, 1.0)
        self._row_us = row_us
        self.factor = 1.0

    def seen(self, rows: int, spent_us: float) -> None:
        """A run of so many rows, at least one, took so long."""
        seen = min(spent_us / self._expected_us(rows, 1), FACTOR_MAX)
        self.factor += FOLLOW * (seen - self.factor)

    def wait_us(self, rows: int, rows_max: int) -> float:
        """How long so many rows take, in runs of at most `rows_max`."""
        return self.factor * self._expected_us(rows, -(-rows // rows_max)) if rows else 0.0

    def large_run_us(self, rows_max: int) -> float:
        """How long a run takes that is as large as is of use, and has at most `rows_max` rows."""
        fixed_us = max(self._run_us - self._row_us, 0.0)
        of_use = fixed_us * (1 - FIXED_SHARE) / (max(self._row_us, 0.01) * FIXED_SHARE)
        rows = min(rows_max, max(1, math.ceil(of_use)))
        return self.factor * self._expected_us(rows, 1)

    def _expected_us(self, rows: int, runs: int) -> float:
        return runs * self._run_us + max(0, rows - runs) * self._row_us
