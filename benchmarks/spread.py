"""Many measurements in, a middle and how wide they lie out: medians, quartiles, and ratios of neighbours in time.

Enters: numbers of the same thing, turn by turn. Leaves: a `Spread`, which prints itself. It never drops a measurement: a
turn that went badly is part of how wide they lie.
"""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some measurements, between their quartiles."""

    low: float
    middle: float
    high: float

    def shown(self, places: int = 2) -> str:
        """`1.23 (1.20-1.31)`, with thousands separated."""
        low, middle, high = (f"{value:,.{places}f}" for value in self)
        return f"{middle} ({low}-{high})"


def spread(values: Sequence[float]) -> Spread:
    """The quartiles of at least one value; of a single one, that one three times."""
    if len(values) < 2:
        return Spread(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(low, middle, high)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Each of ours over the one of theirs that was measured right beside it; a pair with nothing of theirs has no ratio."""
    return [one / other for one, other in zip(ours, theirs, strict=True) if other > 0]
