"""What a count or a mean is known to within: 95 % intervals of proportions, means and ratios.

Enters: counts and sums. Leaves: intervals whose parts are null where they are undefined, never 0 and never NaN. Judges
nothing. Every interval is two-sided at 95 %, so an end of it alone is wrong at most 2.5 times in a hundred.
"""

import math
from typing import Final, NamedTuple

Z95: Final = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class Interval(NamedTuple):
    """A value and the ends between which the truth lies; null where there is nothing to say."""

    value: float | None
    low: float | None
    high: float | None


UNDEFINED: Final = Interval(None, None, None)


def proportion(hits: float, n: float) -> Interval:
    """Wilson's score interval (Wilson 1927): holds its level near 0 and 1 and for small n, where hits +- 2 sd does not."""
    if n <= 0:
        return UNDEFINED
    rate, z2 = hits / n, Z95 * Z95
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(rate, 0.0 if hits == 0 else max(0.0, middle - half), 1.0 if hits == n else min(1.0, middle + half))


def mean(value: float, variance: float, n: float) -> Interval:
    """A mean of n terms of this variance, by the central limit theorem; without ends below two terms."""
    if n < 2:
        return Interval(value, None, None)
    half = Z95 * math.sqrt(max(0.0, variance) / (n - 1))
    return Interval(value, value - half, value + half)


def f1_of(hits: int, misses: int) -> Interval:
    """F1 from its true positives, and its false positives plus false negatives.

    F1 = 2J / (1 + J) grows with J = hits / (hits + misses), which is a proportion: Wilson's ends are carried over.
    """
    jaccard = proportion(hits, hits + misses)
    return Interval(*(None if part is None else 2 * part / (1 + part) for part in jaccard))


def scaled(interval: Interval, factor: float) -> Interval:
    """The interval in other units; `factor` must be positive."""
    assert factor > 0, "a negative factor would swap the ends"
    return Interval(*(None if part is None else part * factor for part in interval))


def log_interval(value: float, log_variance: float) -> Interval:
    """A positive value whose logarithm has this variance."""
    if value <= 0:
        return Interval(value, None, None)
    factor = math.exp(Z95 * math.sqrt(log_variance))
    return Interval(value, value / factor, value * factor)


def logit_interval(value: float, variance: float) -> Interval:
    """A value strictly between 0 and 1 with this variance, on the scale where it cannot leave (0, 1)."""
    half = Z95 * math.sqrt(variance) / (value * (1 - value))
    centre = math.log(value / (1 - value))
    return Interval(value, _expit(centre - half), _expit(centre + half))


def kurtosis_of(mean_absolute: float, mean_square: float) -> float:
    """E[e^4] / E[e^2]^2 of the generalised normal distribution that has this E|e| and E[e^2]; in [1.8, 35].

    Mallat's moment match (IEEE PAMI 1989): the ratio E|e| / sqrt(E[e^2]) fixes the shape b (2 is the normal, 1 the
    Laplace distribution), and the shape fixes the tail. It lets an RMSE have an interval without a sum of fourth powers.
    """
    ratio = mean_absolute / math.sqrt(mean_square) if mean_square > 0 else 1.0
    low, high = 0.45, 100.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _absolute_ratio(middle) < ratio else (low, middle)
    shape = math.sqrt(low * high)
    return math.exp(math.lgamma(5 / shape) + math.lgamma(1 / shape) - 2 * math.lgamma(3 / shape))


def _absolute_ratio(shape: float) -> float:
    return math.exp(math.lgamma(2 / shape) - (math.lgamma(1 / shape) + math.lgamma(3 / shape)) / 2)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
