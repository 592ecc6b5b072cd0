"""Two versions on the same rows -> by how much the candidate is worse, with a 95 % interval that uses the pairing.

Enters: per-row terms of both. Leaves: differences with intervals; ends are null where they are undefined. Closed forms where
there are any, a paired bootstrap where there are none. Judges nothing; randomness is passed in.
"""

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from monitor.measures.intervals import UNDEFINED, Z95, Interval, mean, proportion

Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
Flags: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"
Terms: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
Statistic = Callable[[Terms], Floats]
"""From sums of terms, [b, k], to a figure of each, [b]; NaN where it is undefined."""

BLOCK_CELLS: Final = 4_000_000
"""Weights that are in memory at a time: 32 MB."""
PERCENTS: Final = (2.5, 97.5)


def auc_of(positive: Flags, scores: Floats) -> float | None:
    """The tie-corrected area under the ROC curve: the mean placement of the positives; null where a class is missing."""
    if positive.all() or not positive.any():
        return None
    return float(_placements(scores[positive], scores[~positive]).mean())


def auc_worse(positive: Flags, candidate: Floats, baseline: Floats) -> Interval:
    """The champion's AUC less the candidate's; the variance of their difference is DeLong's (Biometrics 1988), of the
    differences of placements, class by class. Undefined below two rows of a class.
    """
    p, n = int(positive.sum()), int((~positive).sum())
    if min(p, n) < 2:
        return UNDEFINED
    of_positives, of_negatives = (
        _placements(baseline[own], baseline[~own]) - _placements(candidate[own], candidate[~own])
        for own in (positive, ~positive)
    )
    value = float(of_positives.mean())
    half = Z95 * math.sqrt(of_positives.var(ddof=1) / p + of_negatives.var(ddof=1) / n)
    return Interval(value, value - half, value + half)


def mean_worse(candidate: Floats, baseline: Floats) -> Interval:
    """The mean of losses that the candidate has more of, by the central limit theorem over the rows' differences."""
    more = candidate - baseline
    return mean(float(more.mean()), float(more.var()), len(more)) if len(more) else UNDEFINED


def rate_worse(candidate: Flags, baseline: Flags) -> Interval:
    """The rate of errors that the candidate has more of, from rows that only one of them gets wrong.

    The difference of two shares of the same rows, worse and better ones, has ends by Newcombe's square-and-add method over
    Wilson's (Statistics in Medicine 1998), with the correlation of a multinomial's shares. Rows on which both agree still
    count: where they always agree the interval is narrow, and not empty.
    """
    n = len(candidate)
    if n == 0:
        return UNDEFINED
    worse, better = (_ends(int(hits.sum()), n) for hits in (candidate & ~baseline, baseline & ~candidate))
    odds = worse[0] * better[0] / ((1 - worse[0]) * (1 - better[0])) if max(worse[0], better[0]) < 1 else 0.0
    value = worse[0] - better[0]
    return Interval(
        value,
        value - _added(worse[0] - worse[1], better[2] - better[0], math.sqrt(odds)),
        value + _added(worse[2] - worse[0], better[0] - better[1], math.sqrt(odds)),
    )


def rate_gap(one: tuple[int, int], other: tuple[int, int]) -> Interval:
    """The first rate less the second, of two separate groups as (hits, rows): Newcombe's method 10 (1998)."""
    if not (one[1] and other[1]):
        return UNDEFINED
    first, second = _ends(*one), _ends(*other)
    value = first[0] - second[0]
    return Interval(
        value,
        value - math.hypot(first[0] - first[1], second[2] - second[0]),
        value + math.hypot(first[2] - first[0], second[0] - second[1]),
    )


def bootstrapped(
    terms: Terms, statistic: Statistic, random: np.random.Generator, resamples: int, *, reflected: bool = False
) -> Interval:
    """A figure of sums over rows, [n, k], with its interval from so many resamples of the rows (Efron 1979).

    The ends are percentiles of the resamples; `reflected`, they are mirrored at the value, which takes off the bias of a
    figure that noise can only raise (Davison and Hinkley 1997, 5.2.1). Undefined where the figure is in any resample.
    """
    n = len(terms)
    if n < 2:
        return UNDEFINED
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(terms.sum(axis=0, keepdims=True))[0])
        at_once = max(1, BLOCK_CELLS // n)
        drawn = np.concatenate(
            [
                statistic(_weights(n, min(at_once, resamples - start), random) @ terms)
                for start in range(0, resamples, at_once)
            ]
        )
    return interval_of(value, drawn, reflected=reflected)


def interval_of(value: float, drawn: Floats, *, reflected: bool = False) -> Interval:
    """The interval that resampled figures give; undefined where the value is, without ends where any of them is."""
    if not math.isfinite(value):
        return UNDEFINED
    if not np.isfinite(drawn).all():
        return Interval(value, None, None)
    low, high = np.percentile(drawn, PERCENTS).tolist()
    return Interval(value, 2 * value - high, 2 * value - low) if reflected else Interval(value, low, high)


def _weights(n: int, count: int, random: np.random.Generator) -> Terms:
    """How often each row is drawn in each of `count` resamples of n rows: [count, n]."""
    return np.stack([np.bincount(random.integers(0, n, n), minlength=n).astype(np.float64) for _ in range(count)])


def _placements(own: Floats, others: Floats) -> Floats:
    """The share of the others that each of one's own is above, ties a half: [len(own)]."""
    ranked = np.sort(others)
    below, upto = (np.searchsorted(ranked, own, side) for side in ("left", "right"))
    placements: Floats = (below + upto) / 2 / len(others)
    return placements


def _ends(hits: int, n: int) -> tuple[float, float, float]:
    value, low, high = proportion(hits, n)
    assert value is not None, "a share of some rows has a value"
    assert low is not None, "a share of some rows has a low end"
    assert high is not None, "a share of some rows has a high end"
    return value, low, high


def _added(one: float, other: float, correlation: float) -> float:
    """The length of the difference of two quantities whose correlation is minus this."""
    return math.sqrt(max(0.0, one * one + other * other + 2 * correlation * one * other))
