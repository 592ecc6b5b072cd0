"""Sums of errors -> how good a regression model is: MAE, RMSE, bias and R2, with intervals.

Enters: a layout, a vector, the reference's figures. Leaves: measurements, in the units of the labels. An error is the
prediction less the label. Rows beyond `ERROR_CLIP` were clipped: where there are any, MAE, RMSE and R2 are bounds on the
good side only, and their far end is null. Sums of squares of very many rows with very large values leave their 64 bits:
what would rest on them is undefined then.
"""

import math
from typing import NamedTuple

from monitor.counts.counting import Counts
from monitor.counts.layout import SCALE, Layout
from monitor.measures.baseline import Baseline
from monitor.measures.intervals import UNDEFINED, Interval, kurtosis_of, log_interval, mean, scaled
from monitor.measures.measurement import Measurement


class Errors(NamedTuple):
    """Means over `n` rows, in units of `Layout.target_scale`; those of squares are null where their sum left its 64 bits."""

    n: int
    bias: float
    absolute: float
    square: float | None
    label_variance: float | None
    clipped: int


def errors_of(layout: Layout, vector: Counts) -> Errors | None:
    """The means behind all statistics; null without labelled rows."""
    n = int(vector[layout.sections["labelled"].start])
    if n == 0:
        return None
    *sums, clipped = vector[layout.sections["error"].cells].tolist()
    bias, absolute, square, label, label_square = (total / SCALE / n for total in sums)
    labels = _mean_square(label_square, label)
    variance = None if labels is None else max(0.0, labels - label * label)
    return Errors(n, bias, absolute, _mean_square(square, absolute), variance, clipped)


def regression(layout: Layout, vector: Counts, baseline: Baseline) -> list[Measurement]:
    """All performance of a regression model."""
    errors = errors_of(layout, vector)
    if errors is None:
        return [Measurement(name, UNDEFINED, 0, "insufficient") for name in ("mae", "rmse", "bias", "r2")]
    n, scale = errors.n, layout.target_scale
    mae, bias = (_mean(value, errors) for value in (errors.absolute, errors.bias))
    return [
        baseline.loss("mae", scaled(_open_above(mae, errors), scale), n),
        baseline.loss("rmse", scaled(_open_above(_rmse(errors), errors), scale), n),
        baseline.balance("bias", scaled(bias, scale), n, baseline.policy.bias_tolerance * scale),
        baseline.gain("r2", _r2(errors), n, baseline.policy.r2_tolerance, smallest=n),
    ]


def _mean_square(found: float, middle: float) -> float | None:
    """Null where it cannot be: but for the rounding of each row no mean of squares is below the square of the mean."""
    return found if found >= max(0.0, middle**2 - (1 + 2 * abs(middle)) / SCALE) else None


def _mean(value: float, errors: Errors) -> Interval:
    return Interval(value, None, None) if errors.square is None else mean(value, errors.square - value**2, errors.n)


def _rmse(errors: Errors) -> Interval:
    """The variance of ln(MSE) is (kurtosis - 1) / n; the kurtosis is that of `monitor.measures.intervals.kurtosis_of`."""
    if errors.square is None:
        return UNDEFINED
    tail = kurtosis_of(errors.absolute, errors.square)
    return log_interval(math.sqrt(errors.square), (tail - 1) / errors.n / 4)


def _r2(errors: Errors) -> Interval:
    """1 - MSE / var(y), its ends from ln(MSE / var(y)) with the two taken as independent, which makes them wide.

    The labels' kurtosis is taken as the normal's. Undefined where the labels do not vary.
    """
    if errors.square is None or errors.label_variance is None or errors.label_variance * SCALE < 1:
        return UNDEFINED
    tail = kurtosis_of(errors.absolute, errors.square)
    unexplained = log_interval(errors.square / errors.label_variance, (tail - 1 + 2) / errors.n)
    value, low, high = (None if part is None else 1 - part for part in unexplained)
    return Interval(value, None if errors.clipped else high, low)


def _open_above(interval: Interval, errors: Errors) -> Interval:
    return Interval(interval.value, interval.low, None if errors.clipped else interval.high)
