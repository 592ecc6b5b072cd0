"""Decides when the truth of each flight is told: on landing, days late, wrong at first and corrected, or twice.

Enters: flights and a seed. Leaves: for each flight the labels to send and when, in event time. Never sends anything.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from examples.flights.sampling import Flight

SHARE_LATE: Final = 0.05
SHARE_CORRECTED: Final = 0.03
SHARE_TWICE: Final = 0.02

_HOUR_US: Final = 3_600 * 10**6
_DAY_US: Final = 24 * _HOUR_US
_LATE_DAYS: Final = (2.0, 10.0)
_CORRECTED_DAYS: Final = (1.0, 3.0)


class PlannedLabel(NamedTuple):
    """One label to be sent for flight number `flight` of the sample when event time reaches `due_us`."""

    due_us: int
    flight: int
    label: int
    observed_us: int
    label_version: int


def planned_labels(flights: Sequence[Flight], seed: int) -> list[PlannedLabel]:
    """All labels of these flights, ordered by when they are due; a flight that never landed as planned has none."""
    draws = np.random.default_rng([seed, 1]).random((len(flights), 2))
    planned = [
        label
        for number, (flight, (kind, delay)) in enumerate(zip(flights, draws, strict=True))
        for label in _labels_of(number, flight, float(kind), float(delay))
    ]
    return sorted(planned)


def _labels_of(number: int, flight: Flight, kind: float, delay: float) -> list[PlannedLabel]:
    """`kind` in [0, 1) picks one of the shares, `delay` in [0, 1) the place within its range of days."""
    if flight.landed_us is None or flight.late is None:
        return []
    truth = PlannedLabel(flight.landed_us, number, flight.late, flight.landed_us, 0)
    if kind < SHARE_LATE:
        return [truth._replace(due_us=truth.due_us + _days(_LATE_DAYS, delay))]
    if kind < SHARE_LATE + SHARE_CORRECTED:
        corrected_us = truth.due_us + _days(_CORRECTED_DAYS, delay)
        correction = truth._replace(due_us=corrected_us, observed_us=corrected_us, label_version=1)
        return [truth._replace(label=1 - truth.label), correction]
    if kind < SHARE_LATE + SHARE_CORRECTED + SHARE_TWICE:
        return [truth, truth._replace(due_us=truth.due_us + _HOUR_US)]
    return [truth]


def _days(between: tuple[float, float], place: float) -> int:
    first, last = between
    return round((first + (last - first) * place) * _DAY_US)
