"""How far the groups of a feature are apart in one rate of the candidate's decisions.

Enters: the rows of both, their groups. Leaves: one check on the largest difference between any two groups. Groups are
separate rows, so each pair has Newcombe's interval, and the ends of the largest difference are the largest of the pairs'
ends: the check passes only where every pair would, and fails where one does.
"""

from collections.abc import Mapping
from itertools import permutations
from typing import NamedTuple

import numpy as np

from contracts.gate import GateCheck
from monitor.gate.judging import Question, answered, unanswered
from monitor.gate.metrics import Side, wrong
from monitor.gate.paired import Flags, Floats, rate_gap
from monitor.gate.policy import FairnessBound
from monitor.gate.sample import Sample, groups_of, silence
from monitor.measures.intervals import UNDEFINED, Interval


class Group(NamedTuple):
    """What a rate is made of in one group."""

    hits: int
    n: int


def fairness_check(bound: FairnessBound, sample: Sample) -> GateCheck:
    """The largest difference of the candidate's rate between two groups; the champion's stands beside it."""
    question = Question("fairness", bound.rate, bound.difference_max, bound.rows_min, bound.feature)
    groups = groups_of(bound, sample.columns[bound.feature])
    counted = _rated(bound.rate, sample.truths)
    member = counted & np.any([*groups.values(), np.zeros(len(counted), np.bool_)], axis=0)
    silent = silence(question, sample.of(member).alone)
    if silent is not None:
        return silent
    tally = _tally(bound.rate, sample.truths, sample.candidate, groups, counted)
    n = int(member.sum())
    if len(tally) < 2:
        return unanswered(question, "missing", f"{len(tally)} groups of {bound.feature!r}: a difference needs two", n)
    small = [f"{name} ({group.n})" for name, group in tally.items() if group.n < bound.rows_min]
    enough = {name: group for name, group in tally.items() if group.n >= bound.rows_min}
    interval, note = _largest(enough)
    few = f"groups with fewer rows than rows_min = {bound.rows_min}: {', '.join(small)}" if small else ""
    if interval.low is not None and interval.low > bound.difference_max:
        few = ""  # what the other groups would show cannot mend it
    usual = UNDEFINED
    if sample.baseline is not None and sample.baseline.of(member).finite.all():
        others = _tally(bound.rate, sample.truths, sample.baseline, groups, counted)
        usual, _ = _largest({name: others[name] for name in enough})
    return answered(question, interval, n, candidate=interval.value, baseline=usual.value, few=few, note=note)


def _tally(rate: str, truths: Floats, side: Side, groups: Mapping[str, Flags], counted: Flags) -> dict[str, Group]:
    hits = wrong(truths, side) if rate == "error_rate" else side.positive
    return {name: Group(int((hits & counted & own).sum()), int((counted & own).sum())) for name, own in groups.items()}


def _rated(rate: str, truths: Floats) -> Flags:
    """The rows that a rate divides by."""
    if rate == "positive_rate":
        return np.ones(len(truths), np.bool_)
    wanted = {"true_positive_rate": 1.0, "false_positive_rate": 0.0}.get(rate)
    return np.asarray(np.isfinite(truths) if wanted is None else truths == wanted)


def _largest(tally: Mapping[str, Group]) -> tuple[Interval, str]:
    """The largest difference over all pairs, and in words whose it is; every group has rows."""
    gaps = {(one, two): rate_gap(tally[one], tally[two]) for one, two in permutations(tally, 2)}
    if not gaps:
        return UNDEFINED, ""
    one, two = max(gaps, key=lambda pair: gaps[pair].value or 0.0)
    value, low, high = (max(end for end in ends if end is not None) for ends in zip(*gaps.values(), strict=True))
    said = " and ".join(f"{name} {tally[name].hits / tally[name].n:.4f}" for name in (one, two))
    return Interval(value, max(0.0, low), high), said
