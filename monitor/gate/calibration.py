"""Whether the candidate's probabilities mean what they say, on their own and against the champion's.

Enters: the labelled rows of both. Leaves: checks of the expected calibration error in `ECE_BINS` bins of equal width. Its
own interval is the monitor's; that of the difference is a paired bootstrap, reflected, because noise can only raise an ECE.
"""

from collections.abc import Iterator

import numpy as np

from contracts.gate import GateCheck
from monitor.counts.binning import Cells, calibration_cells
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
        silent = silence(question, sample.alone)
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
    terms = np.hstack([_excess(sample.truths, side) for side in (sample.candidate, sample.baseline)])

    def worse(sums: Terms) -> Floats:
        gaps = np.abs(sums)
        return np.asarray((gaps[:, :ECE_BINS].sum(axis=1) - gaps[:, ECE_BINS:].sum(axis=1)) / n)

    interval = bootstrapped(terms, worse, draws.random(), draws.resamples, reflected=True)
    return answered(question, interval, n, candidate=own, baseline=usual)


def _ece(truths: Floats, side: Side) -> Interval:
    if not len(truths) or not side.finite.all():
        return UNDEFINED
    p, positive, bins = _outcomes(truths, side)
    n, hits = (np.bincount(bins[rows], minlength=ECE_BINS).astype(np.int64) for rows in (p >= 0, positive == 1.0))
    found = ece_of(Bins(n, hits, np.bincount(bins, p, ECE_BINS).astype(np.float64)))
    return UNDEFINED if found is None else found.interval


def _excess(truths: Floats, side: Side) -> Terms:
    """Per row, in the column of its bin: the outcome less p; ECE is the sum of |sums over rows| per row."""
    p, positive, bins = _outcomes(truths, side)
    terms = np.zeros((len(p), ECE_BINS))
    terms[np.arange(len(p)), bins] = positive - p
    return terms


def _outcomes(truths: Floats, side: Side) -> tuple[Floats, Floats, Cells]:
    """Of each row p, whether the outcome was positive (multiclass: whether the top class was right), and the bin."""
    multiclass = side.task.kind == "multiclass"
    p = np.clip(side.scores.max(axis=1) if multiclass else side.scores, 0.0, 1.0)
    positive = ~wrong(truths, side) if multiclass else truths == 1.0
    return p, positive.astype(np.float64), calibration_cells(p) * ECE_BINS // CALIBRATION_BINS
