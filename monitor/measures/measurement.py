"""One measured statistic, before it is put into a row: what was measured, how sure, on how many, and what it means.

Enters and leaves: values only. The key (model, version, variant, slice, window) is added where rows are made.
"""

from typing import NamedTuple

from contracts.statistic import StatisticStatus
from monitor.measures.intervals import Interval
from monitor.measures.policy import Gate


class Measurement(NamedTuple):
    """`feature` is empty where the statistic is of the whole model; `n` observations stand behind it."""

    statistic: str
    interval: Interval
    n: int
    status: StatisticStatus
    feature: str = ""


def past(gate: Gate, value: float) -> StatisticStatus:
    """Where a value stands against its gate; the value itself is past it when it is equal."""
    return "alarm" if value >= gate.alarm else "warn" if value >= gate.warn else "ok"


def counted(n: int) -> StatisticStatus:
    """The status of what nothing is held against: ok as soon as anything was observed."""
    return "ok" if n > 0 else "insufficient"
