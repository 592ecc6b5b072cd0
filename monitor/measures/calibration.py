"""Counts per calibration bin -> whether probabilities mean what they say.

Enters: a layout, a vector, the reference's figures. Leaves: measurements.

ECE of finite samples is above 0 even for a perfect model. `ece_null_p95` is what such a model with these predictions would
stay under 95 times in 100; the same noise, taken around the observed rates, gives ECE its interval (the triangle inequality
bounds how far noise can move it). ECE warns when it is above its null level and above the reference's by the gate, and
alarms when the low end of its interval is.
"""

import math
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from scipy.special import ndtr

from contracts.statistic import StatisticStatus
from monitor.counts.counting import Counts
from monitor.counts.layout import CALIBRATION_BINS, SCALE, Layout
from monitor.measures.baseline import Baseline
from monitor.measures.intervals import UNDEFINED, Interval, proportion, scaled
from monitor.measures.measurement import Measurement, counted, past
from monitor.measures.policy import Gate

Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"

ECE_BINS: Final = 10
ECE_BINS_FINE: Final = 15
"""Equal widths of [0, 1]; both numbers divide `CALIBRATION_BINS`, so the values are exact. 15 is what torchmetrics and many
papers use: that ECE is shown, and only the one in 10 bins is judged."""
Z_P95: Final = 1.6448536269514722
"""The 95 % quantile of the normal distribution."""


class Ece(NamedTuple):
    """The expected calibration error, its interval, and the level that a perfectly calibrated model stays under (95 %)."""

    interval: Interval
    null_p95: float
    n: int


class Bins(NamedTuple):
    """Per bin: rows, rows whose outcome was positive, and the sum of the predictions."""

    n: Counts
    positive: Counts
    predicted: Floats


def bins_of(layout: Layout, vector: Counts, bins: int = CALIBRATION_BINS) -> Bins:
    """The calibration counts merged into this many bins of equal width; `bins` divides `CALIBRATION_BINS`."""
    assert CALIBRATION_BINS % bins == 0, f"{CALIBRATION_BINS} bins do not merge into {bins}"
    n, positive, predicted = (
        vector[layout.sections[f"calibration_{part}"].cells].reshape(bins, -1).sum(axis=1)
        for part in ("n", "positive", "p")
    )
    return Bins(n, positive, predicted / SCALE)


def ece_of(bins: Bins) -> Ece | None:
    """Sum of |observed - predicted| over the bins, per row; null without rows."""
    total = int(bins.n.sum())
    if total == 0:
        return None
    filled = bins.n > 0
    n, positive, predicted = bins.n[filled], bins.positive[filled], bins.predicted[filled]
    value = float(np.abs(positive - predicted).sum()) / total
    null = _noise_p95(n, predicted / n, total)
    noise = _noise_p95(n, (positive + 0.5) / (n + 1), total)
    return Ece(Interval(value, max(0.0, value - noise), min(1.0, value + noise)), null, total)


def calibration(layout: Layout, vector: Counts, baseline: Baseline) -> list[Measurement]:
    """Of the positive class (binary) or of the predicted class (multiclass); Spiegelhalter and O/E for binary only."""
    coarse, fine = (ece_of(bins_of(layout, vector, count)) for count in (ECE_BINS, ECE_BINS_FINE))
    n = coarse.n if coarse else 0
    found = [
        *_measure_ece(coarse, baseline),
        Measurement("ece_15", fine.interval if fine else UNDEFINED, n, counted(n)),
    ]
    if "spiegelhalter" in layout.sections:
        bins = bins_of(layout, vector)
        found += [_observed_expected(bins, baseline), *_spiegelhalter(layout, vector, int(bins.n.sum()), baseline)]
    return found


def _measure_ece(found: Ece | None, baseline: Baseline) -> list[Measurement]:
    if found is None:
        return [Measurement(name, UNDEFINED, 0, "insufficient") for name in ("ece", "ece_null_p95")]
    status = _ece_status(found, baseline.figures.get("ece", 0.0), baseline.policy.ece)
    return [
        Measurement(
            "ece", found.interval, found.n, status if found.n >= baseline.policy.labels_min else "insufficient"
        ),
        Measurement("ece_null_p95", Interval(found.null_p95, None, None), found.n, counted(found.n)),
    ]


def _ece_status(found: Ece, usual: float, gate: Gate) -> StatisticStatus:
    value, low, _ = found.interval
    assert value is not None, "an ECE that was found has a value"
    if value <= found.null_p95 or past(gate, value - usual) == "ok":
        return "ok"
    return "alarm" if low is not None and past(gate, low - usual) == "alarm" else "warn"


def _noise_p95(n: Counts, rates: Floats, total: int) -> float:
    """The 95 % quantile of sum |noise| / total, where the noise of a bin is normal with variance n r (1 - r).

    Each |noise| has mean sqrt(2/pi) sd and variance (1 - 2/pi) sd^2; their sum is taken as normal.
    """
    variance = n * rates * np.clip(1 - rates, 0.0, 1.0)
    middle = math.sqrt(2 / math.pi) * float(np.sqrt(variance).sum())
    return (middle + Z_P95 * math.sqrt((1 - 2 / math.pi) * float(variance.sum()))) / total


def _observed_expected(bins: Bins, baseline: Baseline) -> Measurement:
    """Observed positives over expected ones; Wilson's interval of the observed, in units of the expected."""
    observed, expected, n = int(bins.positive.sum()), float(bins.predicted.sum()), int(bins.n.sum())
    if expected <= 0:
        return Measurement("observed_expected", UNDEFINED, n, "insufficient")
    interval = scaled(proportion(observed, n), n / expected)
    few = n < baseline.policy.labels_min or min(observed, n - observed) < baseline.policy.class_labels_min
    status = "insufficient" if few else _factor_status(interval, baseline.policy.observed_expected)
    return Measurement("observed_expected", interval, n, status)


def _factor_status(interval: Interval, gate: Gate) -> StatisticStatus:
    """Warn where the value is beyond the factor and 1 is outside the interval; alarm where the whole interval is beyond."""
    value, low, high = interval
    assert value is not None, "O/E has a value"
    assert low is not None, "O/E has a low end"
    assert high is not None, "O/E has a high end"
    if low >= gate.alarm or high <= 1 / gate.alarm:
        return "alarm"
    beyond = value >= gate.warn or value <= 1 / gate.warn
    return "warn" if beyond and not low <= 1 <= high else "ok"


def _spiegelhalter(layout: Layout, vector: Counts, n: int, baseline: Baseline) -> list[Measurement]:
    """Z = sum (y - p)(1 - 2p) / sqrt(sum (1 - 2p)^2 p (1 - p)) (Spiegelhalter 1986): standard normal when calibrated.

    It says whether, not how much: with many labels the smallest miscalibration is significant, so it never alarms.
    """
    difference, variance = (vector[layout.sections["spiegelhalter"].cells] / SCALE).tolist()
    names = ("spiegelhalter_z", "spiegelhalter_p_value")
    if n == 0 or variance <= 0:
        return [Measurement(name, UNDEFINED, n, "insufficient") for name in names]
    z = difference / math.sqrt(variance)
    p_value = float(2 * ndtr(-abs(z)))
    status: StatisticStatus = "warn" if p_value < baseline.policy.alpha else "ok"
    return [
        Measurement(
            names[0], Interval(z, None, None), n, status if n >= baseline.policy.labels_min else "insufficient"
        ),
        Measurement(names[1], Interval(p_value, None, None), n, counted(n)),
    ]
