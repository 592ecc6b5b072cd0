"""The checks that need rows: headline, slices, calibration, fairness, in this order.

Enters: a suite, the rows of both versions. Leaves: checks, one after the other. Never reads data, never runs a model.
"""

from collections.abc import Iterator

import numpy as np

from contracts.errors import InvalidInput
from contracts.gate import GateCheck
from monitor.gate.calibration import calibration_checks
from monitor.gate.fairness import fairness_check
from monitor.gate.judging import Question, not_worse, unanswered
from monitor.gate.metrics import Resampling, compare
from monitor.gate.policy import METRICS, RATES, Suite
from monitor.gate.sample import Sample, groups_of, silence


def row_checks(suite: Suite, sample: Sample, draws: Resampling) -> Iterator[GateCheck]:
    """Every check of the suite that needs rows. Raises `InvalidInput` where the suite asks what the task has not."""
    check_metrics(suite, sample.candidate.task.kind)
    labelled = np.isfinite(sample.truths)
    known = sample.of(labelled)
    if suite.headline is not None:
        asked = suite.headline
        yield _metric(Question("headline", asked.metric, asked.epsilon, asked.rows_min), known, draws)
    for cut in suite.slices:
        metric = cut.metric or (suite.headline.metric if suite.headline else "")
        groups = groups_of(cut, sample.columns[cut.feature])
        if not groups:
            question = Question("slice", metric, cut.worse_by_max, cut.rows_min, cut.feature)
            yield unanswered(question, "missing", f"no row has a value of {cut.feature!r}")
        for name, rows in groups.items():
            question = Question("slice", metric, cut.worse_by_max, cut.rows_min, f"{cut.feature}={name}")
            yield _metric(question, sample.of(rows & labelled), draws)
    if suite.calibration is not None:
        yield from calibration_checks(suite.calibration, known, draws)
    for bound in suite.fairness:
        yield fairness_check(bound, sample)


def check_metrics(suite: Suite, kind: str) -> None:
    """Refuse a suite that asks what this kind of task has not; `InvalidInput` names it and what there is."""
    asked = [suite.headline.metric] if suite.headline else []
    for metric in (*asked, *(cut.metric for cut in suite.slices if cut.metric)):
        if metric not in METRICS[kind]:
            raise InvalidInput(f"metric {metric!r} is none of a {kind} model; there are {', '.join(METRICS[kind])}")
    for bound in suite.fairness:
        if bound.rate not in RATES[kind]:
            there = ", ".join(RATES[kind]) or "none"
            raise InvalidInput(f"rate {bound.rate!r} is none of a {kind} model; there are {there}")
    if suite.calibration is not None and kind == "regression":
        raise InvalidInput("calibration is of probabilities, and a regression model has none")


def _metric(question: Question, sample: Sample, draws: Resampling) -> GateCheck:
    silent = silence(question, sample)
    if silent is not None:
        return silent
    found = compare(question.name, sample.truths, sample.candidate, sample.baseline, draws)
    return not_worse(question, found, compared=sample.baseline is not None)
