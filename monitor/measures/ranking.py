"""Positives and negatives per score bin -> AUC, with what the bins hide and what chance does.

Enters: counts in the order of the scores. Leaves: the AUC, its binning certificate, its interval. Judges nothing.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from monitor.counts.counting import Counts
from monitor.measures.ecdf import Flags
from monitor.measures.intervals import Z95, Interval, logit_interval


class Auc(NamedTuple):
    """The tie-corrected AUC of the raw scores lies in `value` +- `bound`, for certain; `variance` is DeLong's."""

    value: float
    bound: float
    variance: float
    positives: int
    negatives: int


def auc(negatives: Counts, positives: Counts, single_valued: Flags) -> Auc | None:
    """AUC from counts per score cell, lowest scores first; null where a class is missing.

    Pairs within one cell count a half. In truth each may count 0, a half or 1, so the bound is half their share; pairs in
    a cell that holds a single score are ties and count exactly a half.
    """
    p, n = int(positives.sum()), int(negatives.sum())
    if p == 0 or n == 0:
        return None
    below = negatives.cumsum() - negatives / 2
    above = p - positives.cumsum() + positives / 2
    value = float(positives @ below) / (p * n)
    bound = float((positives * negatives)[~single_valued].sum()) / (2 * p * n)
    variance = _spread(positives, below / n, value, p) + _spread(negatives, above / p, value, n)
    return Auc(value, bound, variance, p, n)


def auc_interval(of: Auc) -> Interval:
    """The 95 % interval: sampling on the logit scale with DeLong's variance, widened by the binning bound at both ends.

    Where the classes do not overlap DeLong finds no variance; then the ends are those AUCs that would lead to this one
    within 1.96 of Hanley and McNeil's standard errors (Newcombe 2006, method 5).
    """
    sampling = logit_interval(of.value, of.variance) if of.variance > 0 and 0 < of.value < 1 else _newcombe(of)
    assert sampling.low is not None, "an AUC with both classes has an interval"
    assert sampling.high is not None, "an AUC with both classes has an interval"
    return Interval(of.value, max(0.0, sampling.low - of.bound), min(1.0, sampling.high + of.bound))


def _spread(counts: Counts, placements: "np.ndarray[tuple[int], np.dtype[np.float64]]", mean: float, n: int) -> float:
    """The variance of the mean placement of one class among the other (DeLong, DeLong and Clarke-Pearson 1988)."""
    return float(counts @ (placements - mean) ** 2) / (n - 1) / n if n > 1 else 0.0


def _newcombe(of: Auc) -> Interval:
    def low_is_too_low(theta: float) -> bool:
        return theta + Z95 * _hanley_mcneil(theta, of) < of.value

    def high_is_too_low(theta: float) -> bool:
        return theta - Z95 * _hanley_mcneil(theta, of) < of.value

    return Interval(of.value, _bisect(low_is_too_low, 0.0, of.value), _bisect(high_is_too_low, of.value, 1.0))


def _hanley_mcneil(theta: float, of: Auc) -> float:
    """The standard error of an AUC of theta (Hanley and McNeil 1982, with Newcombe's common sample size)."""
    common = (of.positives + of.negatives) / 2 - 1
    spread = 1 + common * ((1 - theta) / (2 - theta) + theta / (1 + theta))
    return math.sqrt(theta * (1 - theta) * spread / (of.positives * of.negatives))


def _bisect(too_low: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if too_low(middle) else (low, middle)
    return (low + high) / 2
