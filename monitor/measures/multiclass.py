"""Counts of labelled rows -> how good a multiclass model is: overall, and per class under the class's name.

Enters: a layout, a vector, the reference's figures. Leaves: measurements; `feature` is the class for those of one class.
A class is predicted where its probability is the greatest (the first of equal ones).
"""

from typing import TypeAlias

import numpy as np

from contracts.task import Task
from monitor.counts.binning import category_of
from monitor.counts.counting import Counts
from monitor.counts.layout import CLASS_SCORE_BINS, Layout
from monitor.measures.baseline import Baseline
from monitor.measures.intervals import UNDEFINED, Interval, mean, proportion
from monitor.measures.measurement import Measurement, counted
from monitor.measures.performance import total_of, variance_of
from monitor.measures.ranking import Auc, auc, auc_interval

Confusion: TypeAlias = "np.ndarray[tuple[int, int], np.dtype[np.int64]]"


def multiclass(layout: Layout, vector: Counts, baseline: Baseline) -> list[Measurement]:
    """All performance of a multiclass model."""
    assert layout.task is not None, "performance needs a task"
    names = class_names(layout.task)
    confusion = vector[layout.sections["confusion"].cells].reshape(len(names), len(names))
    n, right = int(confusion.sum()), int(confusion.trace())
    tolerance = baseline.policy.share_tolerance
    return [
        baseline.gain("accuracy", proportion(right, n), n, tolerance, smallest=n),
        *_aucs(layout, vector, names, baseline),
        *_losses(layout, vector, n, baseline),
        *_per_class(confusion, names, baseline),
    ]


def class_names(task: Task) -> list[str]:
    """The classes as JSON writes them, in the order of the output's columns."""
    return [category_of(label) or "" for label in task.classes]


def macro(found: list[Auc]) -> Interval:
    """The mean over the classes that have both positives and negatives; null where none has.

    Binning bounds add up, and so do standard errors where the classes' errors move together: the interval is at its widest.
    """
    if not found:
        return UNDEFINED
    return Interval(*(_mean_end([auc_interval(of)[end] for of in found]) for end in range(3)))


def _aucs(layout: Layout, vector: Counts, names: list[str], baseline: Baseline) -> list[Measurement]:
    positives, negatives = (
        vector[layout.sections[part].cells].reshape(len(names), CLASS_SCORE_BINS)
        for part in ("class_positives", "class_negatives")
    )
    undivided = np.zeros(CLASS_SCORE_BINS, np.bool_)
    found = [auc(negatives[i], positives[i], undivided) for i in range(len(names))]
    defined = [of for of in found if of is not None]
    n, tolerance = int(positives.sum()), baseline.policy.auc_tolerance
    smallest = min((min(of.positives, of.negatives) for of in defined), default=0)
    return [
        baseline.gain("auc", macro(defined), n, tolerance, smallest=smallest),
        Measurement("auc_bound", _certificate(defined), n, counted(len(defined))),
        *(_class_auc(of, n, name, baseline) for of, name in zip(found, names, strict=True)),
    ]


def _class_auc(of: Auc | None, n: int, name: str, baseline: Baseline) -> Measurement:
    if of is None:
        return Measurement("auc", UNDEFINED, n, "insufficient", name)
    smallest = min(of.positives, of.negatives)
    return baseline.gain("auc", auc_interval(of), n, baseline.policy.auc_tolerance, smallest=smallest, feature=name)


def _certificate(found: list[Auc]) -> Interval:
    """The ends between which the macro AUC of the raw scores lies for certain."""
    if not found:
        return UNDEFINED
    value, bound = (sum(part) / len(found) for part in zip(*((of.value, of.bound) for of in found), strict=True))
    return Interval(value, max(0.0, value - bound), min(1.0, value + bound))


def _per_class(confusion: Confusion, names: list[str], baseline: Baseline) -> list[Measurement]:
    hits, truths, predicted = (
        confusion.diagonal().tolist(),
        confusion.sum(axis=1).tolist(),
        confusion.sum(axis=0).tolist(),
    )
    tolerance = baseline.policy.share_tolerance
    return [
        baseline.gain(statistic, proportion(hits[i], of[i]), of[i], tolerance, smallest=of[i], feature=name)
        for i, name in enumerate(names)
        for statistic, of in (("precision", predicted), ("recall", truths))
    ]


def _losses(layout: Layout, vector: Counts, n: int, baseline: Baseline) -> list[Measurement]:
    """Log loss of the true class, and Brier summed over the classes (0 to 2): values from the exact sums.

    The variance behind the intervals is taken from the middles of the true class's probability bins; for Brier as if all
    that is missing there went to one other class, which is its greatest.
    """
    if n == 0:
        return [Measurement(name, UNDEFINED, 0, "insufficient") for name in ("log_loss", "brier")]
    counts = vector[layout.sections["class_positives"].cells].reshape(-1, CLASS_SCORE_BINS).sum(axis=0)
    p = (np.arange(CLASS_SCORE_BINS) + 0.5) / CLASS_SCORE_BINS
    terms = {"log_loss": -np.log(p), "brier": 2 * (1 - p) ** 2}
    return [
        baseline.loss(name, mean(total_of(layout, vector, name) / n, variance_of(counts, losses), n), n)
        for name, losses in terms.items()
    ]


def _mean_end(ends: list[float | None]) -> float | None:
    known = [end for end in ends if end is not None]
    return sum(known) / len(ends) if len(known) == len(ends) else None
