"""Whether the candidate's probabilities mean what they say, on their own and against the champion's.

Enters: the labelled rows of both. Leaves: checks of the expected calibration error in `ECE_BINS` bins of equal width. Its
own interval is the monitor's; that of the difference is a paired bootstrap, reflected, because noise can only raise an ECE.
"""

from collections.abc import Iterator

import numpy as np

from contracts.gate import GateCheck
from monitor.counts.binning import calibration_cells
from monitor.counts.layout import CALIBRATION_BINS
from monitor.gate.judging import NO_BASELINE, Question, answered, unanswered
from monitor.gate.metrics import Resampling, Side, wrong
from monitor.gate.paired import Floats, Terms, bootstrapped
from monitor.gate.policy import CalibrationBound
from monitor.gate.sample import Sample, silence
from monitor.measures.calibration import ECE_BINS, Bins, ece_of
from monitor.measures.intervals import UNDEFINED, Interval


def calibration_checks(bound: CalibrationBound, sample: Sample, draws: Resampling) -> Iterator[GateCheck]:
    """One check for each bound that is given; `sample` holds labelled rows only."""
    own = _ece(sample.truths, sample.candidate)
    usual = UNDEFINED if sample.baseline is None else _ece(sample.truths, sample.baseline)
    n = len(sample.truths)
    if bound.ece_max is not None:
        question = Question("calibration", "ece", bound.ece_max, bound.rows_min)
        silent = silence(question, sample)
        yield silent or answered(question, own, n, candidate=own.value, baseline=usual.value)
    if bound.worse_by_max is not None:
        question = Question("calibration", "ece_worse_by", bound.worse_by_max, bound.rows_min)
        silent = silence(question, sample)
        yield silent or _not_worse(question, sample, draws, own.value, usual.value)


def _not_worse(
    question: Question, sample: Sample, draws: Resampling, own: float | None, usual: float | None
) -> GateCheck:
    n = len(sample.truths)
    if sample.baseline is None:
        return unanswered(question, "missing", NO_BASELINE, n, own)
    terms = np.hstack([_terms(sample.truths, sample.candidate), _terms(sample.truths, sample.baseline)])
    width = 3 * ECE_BINS

    def worse(sums: Terms) -> Floats:
        return np.asarray((_gaps(sums[:, :width]) - _gaps(sums[:, width:])) / n)

    interval = bootstrapped(terms, worse, draws.random(), draws.resamples, reflected=True)
    return answered(question, interval, n, candidate=own, baseline=usual)


def _ece(truths: Floats, side: Side) -> Interval:
    if not len(truths) or not side.finite.all():
        return UNDEFINED
    n, positive, predicted = _terms(truths, side).sum(axis=0).reshape(3, ECE_BINS)
    found = ece_of(Bins(n.astype(np.int64), positive.astype(np.int64), predicted))
    return UNDEFINED if found is None else found.interval


def _terms(truths: Floats, side: Side) -> Terms:
    """Per row, in the columns of its bin: 1, whether the outcome was positive (multiclass: the top class was right), p."""
    multiclass = side.task.kind == "multiclass"
    p = np.clip(side.scores.max(axis=1) if multiclass else side.scores, 0.0, 1.0)
    positive = ~wrong(truths, side) if multiclass else truths == 1.0
    bins = calibration_cells(p) * ECE_BINS // CALIBRATION_BINS
    terms, rows = np.zeros((len(p), 3 * ECE_BINS)), np.arange(len(p))
    for part, values in enumerate((np.ones(len(p)), positive, p)):
        terms[rows, part * ECE_BINS + bins] = values
    return terms


def _gaps(sums: Terms) -> Floats:
    """The sum over the bins of |positives - sum of p|: [b]."""
    return np.asarray(np.abs(sums[:, ECE_BINS : 2 * ECE_BINS] - sums[:, 2 * ECE_BINS :]).sum(axis=1))
