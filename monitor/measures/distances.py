"""How far apart two histograms are, and how far chance alone would put them.

Enters: two vectors of counts over the same cells, reference first. Leaves: distances with intervals, a p-value, and the
least PSI that samples of these sizes can tell from none. Judges nothing.

PSI takes a logarithm, so both sides are smoothed after Jeffreys, p = (c + 1/2) / (n + K/2), over the K cells that hold
anything on either side. The other distances are bounded and take the shares as they are.

For a small shift JSD (in nats) and the squared Hellinger distance are about PSI / 8: so a JS distance (base 2) of 0.1 is a
PSI of 0.055, and a PSI of 0.1 is a JS distance of 0.134. Without any shift PSI / (1/n + 1/m) follows chi-square with
K - 1 degrees of freedom: that is the noise taken off in `psi_debiased`, and the floor of `detectable_psi`.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from scipy.special import chdtrc, chdtri

from monitor.counts.counting import Counts
from monitor.measures.intervals import UNDEFINED, Z95, Interval

Shares: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
Table: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.int64]]"

EXPECTED_MIN = 5.0
"""Cells with fewer expected counts are put together before the chi-square test (Cochran's rule)."""


class Distances(NamedTuple):
    """`n` and `m` are the rows behind the current and the reference counts, `cells` those that hold anything on either side.

    The ends of `psi`, `js` and `hellinger` hold the observed value and the distance of the two populations: the value
    less its expected noise, give or take 1.96 standard errors (delta method).
    """

    psi: Interval
    psi_debiased: float | None
    js: Interval
    hellinger: Interval
    tvd: float | None
    l_infinity: float | None
    n: int
    m: int
    cells: int


def distances(reference: Counts, current: Counts) -> Distances:
    """All distances of `current` from `reference`; undefined where either side is empty."""
    used = (reference + current) > 0
    reference, current = reference[used], current[used]
    n, m, k = int(current.sum()), int(reference.sum()), len(current)
    if n == 0 or m == 0:
        return Distances(UNDEFINED, None, UNDEFINED, UNDEFINED, None, None, n, m, k)
    p, q = reference / m, current / n
    noise = (k - 1) * (1 / n + 1 / m)
    psi, debiased = _psi(reference, current, noise)
    return Distances(
        psi=psi,
        psi_debiased=debiased,
        js=_js(p, q, n, m, k),
        hellinger=_hellinger(p, q, n, m, k),
        tvd=float(np.abs(p - q).sum() / 2),
        l_infinity=float(np.abs(p - q).max()),
        n=n,
        m=m,
        cells=k,
    )


def smoothed(counts: Counts) -> Shares:
    """Jeffreys' shares of the cells given: (c + 1/2) / (n + K/2)."""
    shares: Shares = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares


def chi_square(reference: Counts, current: Counts) -> float:
    """The p-value of the two-sample chi-square test, without continuity correction; 1 where nothing can be compared.

    Cells whose expected count is under `EXPECTED_MIN` on either side are counted as one: chosen by the pooled counts
    alone, so the choice does not favour a difference.
    """
    n, m = int(current.sum()), int(reference.sum())
    if n == 0 or m == 0:
        return 1.0
    pooled = reference + current
    table = _without_sparse_cells(np.stack([reference, current])[:, pooled > 0], EXPECTED_MIN * (n + m) / min(n, m))
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=0) * (np.array([[m], [n]]) / (n + m))  # billions times billions leave 64 bits
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def detectable_psi(n: int, m: int, cells: int, alpha: float) -> float | None:
    """The least PSI that is significant at `alpha` with n current and m reference rows; null where a side is empty."""
    if n == 0 or m == 0:
        return None
    return float(chdtri(cells - 1, alpha)) * (1 / n + 1 / m) if cells > 1 else 0.0


def _without_sparse_cells(table: Table, pooled_min: float) -> Table:
    pooled = table.sum(axis=0)
    order = np.argsort(-pooled, kind="stable")
    table, pooled = table[:, order], pooled[order]
    kept = int(np.count_nonzero(pooled >= pooled_min))
    rest = pooled[kept:].sum()
    if 0 < rest < pooled_min:
        kept = max(kept - 1, 0)
    return np.concatenate([table[:, :kept], table[:, kept:].sum(axis=1, keepdims=True)], axis=1) if rest else table


def _psi(reference: Counts, current: Counts, noise: float) -> tuple[Interval, float]:
    n, m = int(current.sum()), int(reference.sum())
    p, q = smoothed(reference), smoothed(current)
    ratio = np.log(q / p)
    value = float(((q - p) * ratio).sum())
    variance = _variance(q, ratio + 1 - p / q, n) + _variance(p, 1 - q / p - ratio, m)
    return _around(value, noise, variance, len(p)), max(0.0, value - noise)


def _js(p: Shares, q: Shares, n: int, m: int, k: int) -> Interval:
    to_q, to_p = _log_half(q, p), _log_half(p, q)
    nats = max(0.0, float((q * to_q + p * to_p).sum() / 2))
    variance = _variance(q, to_q / 2, n) + _variance(p, to_p / 2, m)
    squared = _around(nats, (k - 1) * (1 / n + 1 / m) / 8, variance, k)
    return _root(squared, 1 / math.log(2))


def _hellinger(p: Shares, q: Shares, n: int, m: int, k: int) -> Interval:
    both = np.sqrt(p * q)
    squared = max(0.0, 1.0 - float(both.sum()))
    variance = _variance(q, -_share_of(both, q) / 2, n) + _variance(p, -_share_of(both, p) / 2, m)
    return _root(_around(squared, (k - 1) * (1 / n + 1 / m) / 8, variance, k), 1.0)


def _variance(shares: Shares, gradient: Shares, n: int) -> float:
    """Of a smooth function of shares that were estimated from n rows (delta method)."""
    return float((shares * gradient**2).sum() - (shares * gradient).sum() ** 2) / n


def _around(value: float, noise: float, variance: float, k: int) -> Interval:
    """Ends around value - noise. The delta method finds no variance where there is no shift: chi-square's is added."""
    half = Z95 * math.sqrt(max(0.0, variance) + (2 * noise * noise / (k - 1) if k > 1 else 0.0))
    return Interval(value, min(value, max(0.0, value - noise - half)), max(value, value - noise + half))


def _root(squared: Interval, factor: float) -> Interval:
    return Interval(*(None if part is None else min(1.0, math.sqrt(part * factor)) for part in squared))


def _log_half(shares: Shares, other: Shares) -> Shares:
    """ln(share / midpoint of both), 0 where there is no share."""
    return np.log(np.divide(2 * shares, shares + other, out=np.ones_like(shares), where=shares > 0))


def _share_of(both: Shares, shares: Shares) -> Shares:
    return np.divide(both, shares, out=np.zeros_like(shares), where=shares > 0)
