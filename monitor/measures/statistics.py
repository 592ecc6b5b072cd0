"""One summary -> all its statistics, as rows: the table of contents of what the monitor measures.

Enters: a layout, the reference (or none), a vector of counts, whose it is, and the policy. Leaves: rows. Pure.

A slice is compared with the reference's own counts of that slice, for it differs from the whole by its very definition;
where the reference has none, a slice has no drift. What is undefined has a null value and is insufficient.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from contracts.moment import format_moment
from contracts.reference import Reference
from contracts.statistic import Statistic
from monitor.counts.counting import Counts
from monitor.counts.layout import Layout
from monitor.counts.panes import ALL
from monitor.measures.baseline import Baseline
from monitor.measures.calibration import calibration
from monitor.measures.drift import Column, drift
from monitor.measures.measurement import Measurement
from monitor.measures.multiclass import multiclass
from monitor.measures.performance import binary
from monitor.measures.policy import MonitorPolicy
from monitor.measures.quality import label_coverage, service
from monitor.measures.regression import regression

PREDICTION: Final = "prediction"
"""The section, and the name under which the predictions' own drift stands among the features."""


class Key(NamedTuple):
    """Whose counts they are: `slice` is `all` or empty for all traffic; event time [from_us, to_us) in microseconds UTC."""

    model: str
    version: str
    variant: str
    slice: str
    from_us: int
    to_us: int


def statistics(
    layout: Layout, reference: Reference | None, vector: Counts, key: Key, policy: MonitorPolicy
) -> list[Statistic]:
    """All statistics of one summary: how it serves, its labels and performance, its drift and input quality.

    `vector` is [layout.size] int64; `reference` is the one that the layout was made of. Rows write all traffic as the empty
    slice.
    """
    assert vector.shape == (layout.size,), f"a vector of {vector.shape} cells for a layout of {layout.size}"
    assert reference is None or reference.hash == layout.reference_hash, "counts of another reference"
    cut = "" if key.slice == ALL else key.slice
    found = [*service(layout, vector, policy), label_coverage(layout, vector)]
    found += performance(layout, reference, vector, cut, policy)
    if reference is not None:
        found += drift(columns(layout, reference, vector, cut), policy)
    return rows(found, key._replace(slice=cut))


def performance(
    layout: Layout, reference: Reference | None, vector: Counts, slice_name: str, policy: MonitorPolicy
) -> list[Measurement]:
    """What labels say, held against the reference's figures for the same slice; nothing without a task."""
    if layout.task is None:
        return []
    labels = int(vector[layout.sections["labelled"].start])
    baseline = Baseline(_figures(reference, slice_name), labels, policy)
    if layout.task.kind == "regression":
        return regression(layout, vector, baseline)
    measure = binary if layout.task.kind == "binary" else multiclass
    return [*measure(layout, vector, baseline), *calibration(layout, vector, baseline)]


def columns(layout: Layout, reference: Reference, vector: Counts, slice_name: str) -> Iterable[Column]:
    """Every feature, then the predictions, each with the reference's counts of this slice."""
    sliced = reference.slice_counts.get(slice_name, {})
    pairs = [(feature.name, f"feature:{feature.name}", feature.bins) for feature in reference.features]
    if reference.prediction is not None:
        pairs.append((PREDICTION, PREDICTION, reference.prediction))
    for name, section, bins in pairs:
        own = bins.counts if not slice_name else sliced.get(section)
        if own is not None and sum(own) > 0:
            yield Column(name, bins, np.asarray(own, np.int64), vector[layout.sections[section].cells])


def rows(measurements: Iterable[Measurement], key: Key) -> list[Statistic]:
    """The measurements as rows of `GET /summaries`."""
    since, until = format_moment(key.from_us), format_moment(key.to_us)
    return [
        Statistic(
            model=key.model,
            version=key.version,
            variant=key.variant,
            slice=key.slice,
            from_=since,
            to=until,
            feature=found.feature,
            statistic=found.statistic,
            value=found.interval.value,
            low=found.interval.low,
            high=found.interval.high,
            n=found.n,
            status=found.status,
        )
        for found in measurements
    ]


def _figures(reference: Reference | None, slice_name: str) -> dict[str, float]:
    if reference is None:
        return {}
    return reference.slice_performance.get(slice_name, {}) if slice_name else reference.performance
