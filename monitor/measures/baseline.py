"""The rule by which a version's performance is held against its reference's own.

Enters: a statistic with its interval. Leaves: a measurement with its status:
- insufficient below `policy.labels_min` labels, or below `policy.class_labels_min` of what the statistic divides by;
- warn where the value is worse than the reference's by more than the tolerance;
- alarm where its whole 95 % interval is, so that a loss is certain before it is called one;
- ok otherwise, and where the reference has no figure to hold it against.
"""

from collections.abc import Mapping
from typing import NamedTuple

from contracts.statistic import StatisticStatus
from monitor.measures.intervals import Interval
from monitor.measures.measurement import Measurement
from monitor.measures.policy import MonitorPolicy


class Baseline(NamedTuple):
    """The reference's figures by `statistic` or `statistic:feature`, and the labelled rows of the window that is judged."""

    figures: Mapping[str, float]
    labels: int
    policy: MonitorPolicy

    def gain(
        self, statistic: str, interval: Interval, n: int, tolerance: float, *, smallest: int, feature: str = ""
    ) -> Measurement:
        """A statistic of which more is better; `smallest` is the least count that it divides by."""
        figure = self._figure(statistic, feature)
        status = worse(figure, interval, tolerance) if self._enough(interval, smallest) else "insufficient"
        return Measurement(statistic, interval, n, status, feature)

    def cost(
        self, statistic: str, interval: Interval, n: int, tolerance: float, *, smallest: int, feature: str = ""
    ) -> Measurement:
        """A statistic of which less is better."""
        figure = self._figure(statistic, feature)
        enough = self._enough(interval, smallest)
        status = worse(_negative(figure), _mirrored(interval), tolerance) if enough else "insufficient"
        return Measurement(statistic, interval, n, status, feature)

    def balance(self, statistic: str, interval: Interval, n: int, tolerance: float) -> Measurement:
        """A statistic that should stay where the reference has it, or at 0 where that has none."""
        figure = self.figures.get(statistic, 0.0)
        ways = {worse(figure, interval, tolerance), worse(-figure, _mirrored(interval), tolerance)}
        worst: StatisticStatus = "alarm" if "alarm" in ways else "warn" if "warn" in ways else "ok"
        return Measurement(statistic, interval, n, worst if self._enough(interval, n) else "insufficient")

    def loss(self, statistic: str, interval: Interval, n: int) -> Measurement:
        """A mean loss, whose tolerance is relative to the reference's own."""
        tolerance = self.policy.loss_tolerance * abs(self.figures.get(statistic, 0.0))
        return self.cost(statistic, interval, n, tolerance, smallest=n)

    def _figure(self, statistic: str, feature: str) -> float | None:
        return self.figures.get(f"{statistic}:{feature}" if feature else statistic)

    def _enough(self, interval: Interval, smallest: int) -> bool:
        few = self.labels < self.policy.labels_min or smallest < self.policy.class_labels_min
        return interval.value is not None and not few


def worse(figure: float | None, interval: Interval, tolerance: float) -> StatisticStatus:
    """Whether a value, and with it its whole interval, is under the figure by more than the tolerance."""
    if figure is None or interval.value is None or interval.value >= figure - tolerance:
        return "ok"
    return "alarm" if interval.high is not None and interval.high < figure - tolerance else "warn"


def _mirrored(interval: Interval) -> Interval:
    return Interval(_negative(interval.value), _negative(interval.high), _negative(interval.low))


def _negative(value: float | None) -> float | None:
    return None if value is None else -value
