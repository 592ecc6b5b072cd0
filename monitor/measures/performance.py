"""Counts of labelled rows -> how good a binary model is: ranking, decisions and losses, with intervals.

Enters: a layout, a vector, the reference's figures. Leaves: measurements. Rows without a score count nowhere here.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contracts.reference import NumericBins
from monitor.counts.binning import just_under
from monitor.counts.counting import P_MIN, Counts
from monitor.counts.layout import SCALE, Layout
from monitor.measures.baseline import Baseline
from monitor.measures.ecdf import ascending, single_valued
from monitor.measures.intervals import UNDEFINED, Interval, f1_of, mean, proportion
from monitor.measures.measurement import Measurement, counted
from monitor.measures.ranking import Auc, auc, auc_interval

Floats: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.float64]]"
Pair: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[Any]]"
"""The negatives' row, then the positives'; one column a score cell."""


class Decisions(NamedTuple):
    """Labelled rows by what was decided and what was true."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def binary(layout: Layout, vector: Counts, baseline: Baseline) -> list[Measurement]:
    """All performance of a binary model."""
    bins, task = layout.prediction, layout.task
    assert isinstance(bins, NumericBins), "a binary task always has score bins"
    assert task is not None, "performance needs a task"
    negatives, positives = (vector[layout.sections[name].cells] for name in ("negatives", "positives"))
    pair = np.stack([ascending(bins, negatives), ascending(bins, positives)])
    labels = int(pair.sum())
    return [
        *_ranking(auc(pair[0], pair[1], single_valued(bins)), labels, baseline),
        *_decisions(decisions(bins, pair, task.threshold), labels, baseline),
        *_losses(layout, vector, pair, baseline),
        Measurement("prevalence", proportion(int(pair[1].sum()), labels), labels, counted(labels)),
    ]


def decisions(bins: NumericBins, pair: Pair, threshold: float) -> Decisions | None:
    """The confusion matrix at `p >= threshold`: exact, for the threshold is an edge; null where it is none.

    `pair` is [2, cells], negatives first, cells as `monitor.measures.ecdf.ascending` orders them.
    """
    edges, wanted = np.asarray(bins.edges), just_under(threshold)
    edge = int(np.searchsorted(edges, wanted))
    if edge == len(edges) or edges[edge] != wanted:
        return None
    (tn, fn), (fp, tp) = pair[:, : edge + 2].sum(axis=1).tolist(), pair[:, edge + 2 :].sum(axis=1).tolist()
    return Decisions(tp, fp, fn, tn)


def total_of(layout: Layout, vector: Counts, section: str) -> float:
    """The sum that a section of one cell holds, in the units of its terms."""
    return float(vector[layout.sections[section].start]) / SCALE


def variance_of(counts: "np.ndarray[Any, Any]", terms: "np.ndarray[Any, Any]") -> float:
    """Of terms that occur `counts` times."""
    n = max(1, int(counts.sum()))
    return float((counts * terms**2).sum() / n - ((counts * terms).sum() / n) ** 2)


def _ranking(found: Auc | None, labels: int, baseline: Baseline) -> list[Measurement]:
    if found is None:
        return [Measurement(name, UNDEFINED, labels, "insufficient") for name in ("auc", "auc_bound")]
    value, bound = found.value, found.bound
    certificate = Interval(value, max(0.0, value - bound), min(1.0, value + bound))
    smallest = min(found.positives, found.negatives)
    return [
        baseline.gain("auc", auc_interval(found), labels, baseline.policy.auc_tolerance, smallest=smallest),
        Measurement("auc_bound", certificate, labels, counted(labels)),
    ]


def _decisions(made: Decisions | None, labels: int, baseline: Baseline) -> list[Measurement]:
    names = ("precision", "recall", "f1", "accuracy", "fpr")
    if made is None:
        return [Measurement(name, UNDEFINED, labels, "insufficient") for name in names]
    tp, fp, fn, tn = made
    tolerance = baseline.policy.share_tolerance
    intervals = (proportion(tp, tp + fp), proportion(tp, tp + fn), f1_of(tp, fp + fn), proportion(tp + tn, labels))
    sizes = (tp + fp, tp + fn, tp + fp + fn, labels)
    return [
        baseline.gain(name, interval, n, tolerance, smallest=n)
        for name, interval, n in zip(names, intervals, sizes, strict=False)
    ] + [baseline.cost("fpr", proportion(fp, fp + tn), fp + tn, tolerance, smallest=fp + tn)]


def _losses(layout: Layout, vector: Counts, pair: Pair, baseline: Baseline) -> list[Measurement]:
    """The value from the exact sum; the variance behind the interval from the middles of the score bins."""
    n = int(vector[layout.sections["calibration_n"].cells].sum())
    if n == 0:
        return [Measurement(name, UNDEFINED, 0, "insufficient") for name in ("log_loss", "brier")]
    p = _middles(layout.prediction)
    terms = {"log_loss": np.stack([-np.log1p(-p), -np.log(p)]), "brier": np.stack([p**2, (1 - p) ** 2])}
    return [
        baseline.loss(name, mean(total_of(layout, vector, name) / n, variance_of(pair[:, 1:-1], losses), n), n)
        for name, losses in terms.items()
    ]


def _middles(bins: object) -> Floats:
    """The middle of each cell from below to above, within (0, 1)."""
    assert isinstance(bins, NumericBins), "a binary task always has score bins"
    ends = np.clip(np.concatenate([[0.0], np.asarray(bins.edges), [1.0]]), 0.0, 1.0)
    middles: Floats = np.clip((ends[:-1] + ends[1:]) / 2, P_MIN, 1 - P_MIN)
    return middles
