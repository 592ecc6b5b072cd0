"""The checks that need no rows of data: latency out of measured turns, size, and answers to fixed inputs.

Enters: nanoseconds, bytes, answers. Leaves: checks. Never measures, never runs a model; randomness is passed in.
"""

import math
from typing import Final, NamedTuple

import numpy as np

from contracts.gate import GateCheck
from contracts.task import Task
from monitor.counts.binning import category_of
from monitor.gate.judging import NO_BASELINE, Question, answered, unanswered
from monitor.gate.metrics import Resampling, Scores
from monitor.gate.paired import BLOCK_CELLS, Floats, interval_of
from monitor.gate.policy import TURNS_MIN, Behaviour, LatencyBound, Scalar, SizeBound
from monitor.measures.intervals import Interval

P99: Final = 99.0


class Turns(NamedTuple):
    """How long single-row runs took, in nanoseconds: [turns] of each version; turn i of both is of the same row."""

    candidate: Floats
    baseline: Floats


class Answer(NamedTuple):
    """What a version answered to one fixed input: a number, NaN where it is none; and a label, null where it has none."""

    number: float
    label: Scalar | None


def latency_check(bound: LatencyBound, turns: Turns | None, draws: Resampling) -> GateCheck:
    """The ratio of the 99th percentiles, with a percentile interval from resampled turns; null turns: no champion."""
    question = Question("latency", "p99_ratio", bound.ratio_max, TURNS_MIN)
    if turns is None:
        return unanswered(question, "missing", NO_BASELINE)
    own, usual = (float(np.percentile(spent, P99)) for spent in turns)
    interval = interval_of(own / usual if usual > 0 else math.nan, _resampled(turns, draws))
    note = f"candidate {own / 1000:.0f} us, champion {usual / 1000:.0f} us"
    n = len(turns.candidate)
    return answered(question, interval, n, candidate=own / 1000, baseline=usual / 1000, note=note)


def size_check(bound: SizeBound, candidate_bytes: int, baseline_bytes: int | None) -> GateCheck:
    """The size is what it is: its interval has no width."""
    size = float(candidate_bytes)
    return answered(
        Question("size", "bytes", float(bound.bytes_max), 1),
        Interval(size, size, size),
        1,
        candidate=size,
        baseline=None if baseline_bytes is None else float(baseline_bytes),
    )


def behaviour_check(case: Behaviour, answer: Answer) -> GateCheck:
    """Whether an answer is what the case expects; NaN never is."""
    number = answer.number if math.isfinite(answer.number) else None
    if case.label is None:
        low, high = (-math.inf if case.low is None else case.low), (math.inf if case.high is None else case.high)
        met = number is not None and low <= number <= high
        ends = (f"from {low:g}" if case.low is not None else "", f"to {high:g}" if case.high is not None else "")
        said = f"answers {answer.number:g}, expected {' '.join(filter(None, ends))}"
    else:
        met = answer.label is not None and category_of(answer.label) == category_of(case.label)
        said = f"answers {answer.label!r}, expected {case.label!r}"
    return GateCheck(
        kind="behaviour",
        name=case.name,
        observed=number,
        candidate=number,
        n=1,
        outcome="pass" if met else "fail",
        reason=said,
    )


def decision_of(task: Task, scores: Scores) -> Answer:
    """The task's prediction for one row and what it decides: `scores` are [1] or [1, k]."""
    if task.kind == "multiclass":
        known = bool(np.isfinite(scores).all())
        top = int(scores[0].argmax()) if known else 0
        return Answer(float(scores[0].max()), task.classes[top] if known else None)
    number = float(scores[0])
    if task.kind == "regression" or not math.isfinite(number):
        return Answer(number, None)
    names = task.classes or (0, 1)
    positive = number >= task.threshold
    return Answer(number, names[task.positive] if positive else names[1 - task.positive])


def _resampled(turns: Turns, draws: Resampling) -> Floats:
    """The ratio in each resample of the turns."""
    random, n = draws.random(), len(turns.candidate)
    at_once = max(1, BLOCK_CELLS // n)
    ratios = []
    for start in range(0, draws.resamples, at_once):
        drawn = random.integers(0, n, (min(at_once, draws.resamples - start), n))
        own, usual = (np.percentile(spent[drawn], P99, axis=1) for spent in turns)
        ratios.append(own / np.where(usual > 0, usual, np.nan))
    return np.asarray(np.concatenate(ratios))
