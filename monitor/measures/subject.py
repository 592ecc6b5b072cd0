"""One version in one variant, whatever references it was counted under -> its rows of statistics.

Enters: groups as they were first met, and their counts. Leaves: subjects in the order in which people read them, and rows.
Pure.

Counts under different references never merge. Where a version got another reference while it served, drift and performance
are those of the newest that counted anything in the window, as their `n` says; predictions, failures and label coverage do
not depend on bins and are of all.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from contracts.statistic import Statistic
from monitor.counts.counting import Counts
from monitor.counts.generation import Generation
from monitor.counts.layout import STATUSES
from monitor.counts.panes import ALL
from monitor.measures.policy import MonitorPolicy
from monitor.measures.quality import label_coverage, service
from monitor.measures.statistics import Key, performance, rows, statistics
from monitor.pages.queries import Group
from monitor.pages.question import Question
from monitor.pages.rows import variant_order

DRIFT_STATISTICS: Final = frozenset(
    {
        "psi",
        "psi_debiased",
        "psi_p_value",
        "min_detectable_psi",
        "js",
        "hellinger",
        "tvd",
        "l_infinity",
        "ks",
        "wasserstein",
        "missing_rate",
        "unseen_rate",
        "out_of_range_rate",
    }
)
"""What `rows_of` leaves out without drift."""
SHARED: Final = len(STATUSES) + 2
"""The first cells of every layout: statuses, rows, labelled."""


class Subject(NamedTuple):
    """`groups` are its counts under each reference, the newest first."""

    model: str
    version: str
    variant: str
    groups: tuple[Group, ...]

    def slices(self, wanted: str | None) -> list[str]:
        """The names of the slices that are wanted, all traffic first: it is called `all` in the state."""
        names = list(dict.fromkeys(name for group in self.groups for name in group.slices))
        return names if wanted is None else [name for name in names if name == (wanted or ALL)]


class Counted(NamedTuple):
    """What was counted under one reference in one window."""

    generation: Generation
    vector: Counts


def subjects_of(groups: Iterable[Group], wanted: Question) -> list[Subject]:
    """The subjects that a question is about."""
    found: dict[tuple[str, str, str], list[Group]] = {}
    for group in groups:
        names = group.model, group.version, group.variant
        asked = wanted.model, wanted.version, wanted.variant
        if all(want is None or want == name for want, name in zip(asked, names, strict=True)):
            found.setdefault(names, []).append(group)
    subjects = [Subject(*names, tuple(reversed(own))) for names, own in found.items()]
    return sorted(subjects, key=lambda subject: (subject.model, variant_order(subject.variant, subject.version)))


def rows_of(counted: Sequence[Counted], key: Key, policy: MonitorPolicy, *, with_drift: bool = True) -> list[Statistic]:
    """The rows of one window; `counted` is the newest reference first and not empty. `key.slice` is empty for all traffic.

    Without drift it costs a tenth.
    """
    newest = newest_of(counted)
    layout, reference, vector = newest.generation.layout, newest.generation.definition.reference, newest.vector
    if with_drift:
        found = statistics(layout, reference, vector, key, policy)
    else:
        measured = [*service(layout, vector, policy), label_coverage(layout, vector)]
        found = rows([*measured, *performance(layout, reference, vector, key.slice, policy)], key)
    if len(counted) == 1:
        return found
    total = vector.copy()
    total[:SHARED] = sum(part.vector[:SHARED] for part in counted)
    shared = {row.statistic: row for row in rows([*service(layout, total, policy), label_coverage(layout, total)], key)}
    return [row if row.feature else shared.get(row.statistic, row) for row in found]


def newest_of(counted: Sequence[Counted]) -> Counted:
    """The newest that counted anything, else the newest."""
    return next((part for part in counted if part.vector.any()), counted[0])


def predicted_in(counted: Iterable[Counted]) -> int:
    """Rows predicted, under all references together."""
    return sum(int(part.vector[part.generation.layout.sections["rows"].start]) for part in counted)
