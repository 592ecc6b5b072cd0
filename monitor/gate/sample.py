"""The rows that both versions answered, and which of them belong to which group.

Enters: truths, scores, the columns that a suite cuts by. Leaves: the same rows of both, cut; and the check of rows that were
not answered with numbers. Never measures.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from contracts.errors import InvalidInput
from contracts.gate import GateCheck
from monitor.counts.binning import Values, category_of
from monitor.gate.judging import Question, unanswered
from monitor.gate.metrics import Side
from monitor.gate.paired import Flags, Floats
from monitor.gate.policy import GROUPS_MAX, FairnessBound, SliceBound


class Sample(NamedTuple):
    """The same rows of both. `truths` are [n], NaN where there is no label; `columns` those that the suite cuts by, [n]."""

    truths: Floats
    candidate: Side
    baseline: Side | None
    columns: Mapping[str, Values]

    @property
    def alone(self) -> "Sample":
        """The candidate's part: what is asked of it whatever the champion does."""
        return self._replace(baseline=None)

    def of(self, rows: Flags) -> "Sample":
        """Some of the rows, without the columns: they have served their purpose."""
        baseline = None if self.baseline is None else self.baseline.of(rows)
        return Sample(self.truths[rows], self.candidate.of(rows), baseline, {})


def groups_of(bound: SliceBound | FairnessBound, values: Values) -> dict[str, Flags]:
    """The rows of each value of a column: of the named ones, else of all that occur; a missing value is in no group.

    Raises `InvalidInput` where there are more than GROUPS_MAX.
    """
    categories = np.array([category_of(value) for value in values], object)
    named = [category_of(value) for value in bound.values]
    names = named or sorted({name for name in categories if name is not None})
    if len(names) > GROUPS_MAX:
        raise InvalidInput(
            f"{bound.feature!r} has {len(names)} values, at most {GROUPS_MAX} can be told apart: name the `values`"
        )
    return {str(name): np.asarray(categories == name, np.bool_) for name in names}


def silence(question: Question, sample: Sample) -> GateCheck | None:
    """The check where a version did not answer all rows with numbers: the gateway would answer those with an error."""
    n, silent = len(sample.truths), int((~sample.candidate.finite).sum())
    if silent:
        return unanswered(question, "fail", f"the candidate answers {silent} of {n} rows with NaN or an infinity", n)
    if sample.baseline is not None and not sample.baseline.finite.all():
        silent = int((~sample.baseline.finite).sum())
        return unanswered(question, "missing", f"the champion answers {silent} of {n} rows with NaN or an infinity", n)
    return None
