"""How far apart two distribution functions are: Kolmogorov-Smirnov and Wasserstein-1, certified from counts in bins.

Enters: numeric bins and two vectors of counts in them. Leaves: intervals in which the statistic of the raw values lies,
whatever the values inside the bins were; the sampling error is apart from that. Judges nothing.

Bins are right-closed, so the distribution functions are known exactly at every edge; between two edges both only grow. A
bin that can hold one value only (an atom of the reference, an infinity) adds no doubt. Missing values are left out.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import kolmogorov

from contracts.reference import NumericBins
from monitor.counts.counting import Counts
from monitor.measures.intervals import UNDEFINED, Interval

Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
Flags: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.bool_]]"


class KolmogorovSmirnov(NamedTuple):
    """`distance` holds the KS statistic of the raw values between its ends; its value is the lower end, which is attained.

    `p_value` is of the lower end, so it is never too small. `n` and `m` are the current and the reference rows that are
    not missing.
    """

    distance: Interval
    p_value: float
    n: int
    m: int


def ascending(bins: NumericBins, counts: Counts) -> Counts:
    """The counts in the order of the values: -infinity, below, the bins, above, +infinity; without missing."""
    m = len(bins.edges)
    return np.concatenate([counts[m + 2 : m + 3], counts[: m + 1], counts[m + 3 : m + 4]])


def single_valued(bins: NumericBins) -> Flags:
    """Which of the `ascending` cells can hold only one float64: the infinities, and edges with no float between them."""
    edges = np.asarray(bins.edges, np.float64)
    atoms = edges[:-1] == np.nextafter(edges[1:], -math.inf)
    ends = np.zeros(min(len(edges), 1), np.bool_)
    return np.concatenate([[True], ends, atoms, [False], [True]])


def kolmogorov_smirnov(bins: NumericBins, reference: Counts, current: Counts) -> KolmogorovSmirnov:
    """The KS statistic from counts: the low end over the edges, the high end over everything the bins allow.

    Inside a bin F - G is at most (F - G at its left edge) + F's mass in it. The p-value is of Kolmogorov's limit, which is
    above the finite-sample one by a few hundredths of itself from a thousand rows on, and costs a thousandth of its time.
    """
    f, g = ascending(bins, reference), ascending(bins, current)
    m, n = int(f.sum()), int(g.sum())
    if n == 0 or m == 0:
        return KolmogorovSmirnov(UNDEFINED, 1.0, n, m)
    after = f.cumsum() / m - g.cumsum() / n
    before = after - f / m + g / n
    inside = np.maximum(before + f / m, g / n - before)[~single_valued(bins)]
    low = float(np.abs(after).max())
    high = min(1.0, max(low, float(inside.max(initial=0.0))))
    p_value = float(kolmogorov(low * math.sqrt(n * m / (n + m))))
    return KolmogorovSmirnov(Interval(low, low, high), p_value, n, m)


def detectable_ks(n: int, m: int, alpha: float) -> float | None:
    """The least KS distance that is significant at `alpha`: sqrt(-ln(alpha/2)/2) sqrt(1/n + 1/m); null on an empty side."""
    return math.sqrt(-math.log(alpha / 2) / 2 * (1 / n + 1 / m)) if n and m else None


def wasserstein(bins: NumericBins, reference: Counts, current: Counts) -> Interval:
    """Wasserstein-1 between the finite values, in standard deviations of the reference.

    The value takes the mass as spread evenly inside each bin. Beyond the outermost edges nothing is known: values there
    count as if they stood at the edge, which can only shorten the distance, so the low end holds and the high end is null.
    """
    m = len(bins.edges)
    f, g = reference[: m + 1], current[: m + 1]
    if not bins.std or m < 2 or not f.sum() or not g.sum():
        return UNDEFINED
    difference = f.cumsum() / f.sum() - g.cumsum() / g.sum()
    left, right = difference[: m - 1], difference[1:m]
    least, most = left - g[1:m] / g.sum(), left + f[1:m] / f.sum()
    widths = np.diff(np.asarray(bins.edges)) / bins.std
    low = float(widths @ np.maximum(0.0, np.maximum(least, -most)))
    high = float(widths @ np.maximum(np.abs(least), np.abs(most)))
    beyond = f[0] + f[m] + g[0] + g[m]
    return Interval(float(widths @ _mean_absolute(left, right)), low, None if beyond else high)


def _mean_absolute(left: Floats, right: Floats) -> Floats:
    """The mean of |x| on the way from left to right in a straight line."""
    sizes = np.abs(left) + np.abs(right)
    crossing = np.divide(left**2 + right**2, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return np.where(left * right >= 0, sizes, crossing) / 2
