"""What the monitor knows -> the Prometheus text.

Enters: a snapshot: rows of statistics, and what was read and counted. Leaves: bytes. Never computes a statistic.

Bounds: drift and input quality are exported for all traffic only, of the `FEATURES_MAX` features of each variant that
drifted most; performance and service also for each slice; never more than `SERIES_MAX` samples of them together. What is
left out, slices first, is counted in `pointsman_monitor_series_left_out`; `GET /summaries` has everything. What is undefined
or rests on too few observations has no sample: an alert on a gauge is never an alert on noise.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts.moment import parse_moment
from contracts.statistic import Statistic
from monitor.counts.panes import ALL
from monitor.fleet.losses import lost_records
from monitor.pages.rows import by_drift, by_variant
from monitor.pages.standing import Standing
from prediction_log.finding import FindingKind

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
FEATURES_MAX: Final = 50
SERIES_MAX: Final = 10_000

WHO: Final = ("model", "version", "variant", "slice")
BOUNDS: Final = ("value", "low", "high")
DRIFT: Final = ("psi", "ks", "js")
INPUT: Final = ("missing_rate", "unseen_rate", "out_of_range_rate")
FEATURE_STATISTICS: Final = frozenset((*DRIFT, *INPUT))
SERVICE: Final = ("predictions", "error_rate", "fallback_rate", "label_coverage")
PERFORMANCE: Final = frozenset(
    ("auc", "accuracy", "precision", "recall", "f1", "log_loss", "brier", "ece", "mae", "rmse", "bias", "r2")
)
FAMILIES: Final = MappingProxyType(
    {
        "pointsman_drift_psi": ("Population stability index against the reference", ("feature",)),
        "pointsman_drift_ks": ("Kolmogorov-Smirnov distance from the reference", ("feature",)),
        "pointsman_drift_js": ("Jensen-Shannon distance (base 2) from the reference", ("feature",)),
        "pointsman_input_missing_rate": ("Share of missing values", ("feature",)),
        "pointsman_input_unseen_rate": ("Share of values that the reference does not have", ("feature",)),
        "pointsman_input_out_of_range_rate": ("Share of values beyond the reference's range", ("feature",)),
        "pointsman_performance": ("Performance, and the ends of its 95 % interval", ("statistic", "bound")),
        "pointsman_service": ("Predictions, and shares of them", ("statistic",)),
    }
)
"""Gauges: what they are, and their labels beside WHO and `window`."""

LABELS: Final = "labels_"
"""How the counters of labels are named."""

Labels = tuple[str, ...]


class Snapshot(NamedTuple):
    """One page of metrics. `windows` maps the name of a stretch of event time to its rows; with `cut` there are more rows,
    nobody knows how many.
    """

    standing: Standing
    windows: Mapping[str, Sequence[Statistic]]
    cut: bool = False


class _Sample(NamedTuple):
    family: str
    labels: Labels
    value: float


def exposition(snapshot: Snapshot) -> bytes:
    """The metrics page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page(snapshot))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _standing(self._snapshot.standing)
        yield from _statistics(self._snapshot)


def _standing(standing: Standing) -> Iterator[Metric]:
    counted = CounterMetricFamily("pointsman_monitor_records", "Records of the prediction log that were counted")
    counted.add_metric([], standing.counted_records)
    yield counted
    yield _labels(standing)
    yield _findings(standing)
    gauges = (
        (
            "pointsman_monitor_lag_records",
            "Records of the prediction log that wait to be counted",
            standing.lag_records,
        ),
        ("pointsman_monitor_caught_up", "1 where the last tick read the log to its end", int(standing.caught_up)),
        ("pointsman_monitor_watermark_seconds", "Newest event time, since the epoch", _seconds(standing.watermark)),
        ("pointsman_monitor_updated_seconds", "When a tick last saved, since the epoch", _seconds(standing.updated)),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(name, text, value=value)
    yield GaugeMetricFamily(
        "pointsman_monitor_lost_records",
        "Records that were written and cannot be counted, at most: they lie in ranges that are not whole",
        value=lost_records(standing.findings),
    )
    yield from _partitions(standing)
    yield from _own(standing)


def _own(standing: Standing) -> Iterator[Metric]:
    """Of a fleet, what this very worker does."""
    doing = Counter(one.doing for one in standing.own)
    gauges = (
        ("pointsman_monitor_partitions", "Partitions that this worker has", len(standing.own)),
        ("pointsman_monitor_paused", "Partitions that stand still: too much of them cannot be read", doing["paused"]),
        (
            "pointsman_monitor_standing_still",
            "Partitions that stand still for any other trouble",
            doing["standing still"],
        ),
        (
            "pointsman_monitor_dead_letters",
            "Messages of these partitions that cannot be read",
            sum(one.dead for one in standing.own),
        ),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(name, text, value=value)


def _partitions(standing: Standing) -> Iterator[Metric]:
    """Of a fleet, which partition is behind, old or incomplete."""
    if not standing.partitions:
        return
    lag = GaugeMetricFamily(
        "pointsman_monitor_partition_lag_records",
        "Messages of a partition that wait to be counted",
        labels=["partition"],
    )
    updated = GaugeMetricFamily(
        "pointsman_monitor_partition_updated_seconds",
        "When a partition's counts were last saved, since the epoch",
        labels=["partition"],
    )
    whole = GaugeMetricFamily(
        "pointsman_monitor_partition_whole",
        "0 where what was published of a partition is known to be incomplete",
        labels=["partition"],
    )
    for one in standing.partitions:
        labels = [str(one.number)]
        lag.add_metric(labels, one.lag_records)
        updated.add_metric(labels, _seconds(one.updated))
        whole.add_metric(labels, int(one.whole))
    yield from (lag, updated, whole)


def _labels(standing: Standing) -> Metric:
    """A gauge, for a label moves: pending becomes accepted, accepted becomes corrected."""
    family = GaugeMetricFamily(
        "pointsman_monitor_labels", "Labels by what became of them so far", labels=["model", "outcome"]
    )
    totals: Counter[Labels] = Counter()
    for tallied in standing.counters:
        if tallied.name.startswith(LABELS):
            totals[tallied.model, tallied.name.removeprefix(LABELS)] += tallied.value
    for labels, value in sorted(totals.items()):
        family.add_metric(labels, value)
    return family


def _findings(standing: Standing) -> Metric:
    family = CounterMetricFamily(
        "pointsman_log_findings", "What was found lost, damaged or torn in the log", labels=["kind"]
    )
    totals = Counter(finding.kind for finding in standing.findings)
    for kind in FindingKind:
        family.add_metric([kind.value], totals[kind])
    return family


def _seconds(moment: str | None) -> float:
    return 0.0 if moment is None else parse_moment("moment", moment) / 1e6


def _statistics(snapshot: Snapshot) -> Iterator[Metric]:
    samples: list[_Sample] = []
    left_out = int(snapshot.cut)
    judged: Counter[Labels] = Counter()
    for window, rows in snapshot.windows.items():
        chosen, dropped = _chosen(rows)
        left_out += dropped
        samples += [sample for row in chosen for sample in _samples(row, window)]
        judged.update((*_who(row), row.status, window) for row in rows)
    samples.sort(key=lambda sample: sample.labels[WHO.index("slice")] != ALL)
    kept = samples[:SERIES_MAX]
    left_out += len(samples) - len(kept)
    for name, (text, labels) in FAMILIES.items():
        family = GaugeMetricFamily(name, text, labels=[*WHO, *labels, "window"])
        for sample in kept:
            if sample.family == name:
                family.add_metric(sample.labels, sample.value)
        yield family
    yield _judged(judged)
    yield GaugeMetricFamily(
        "pointsman_monitor_series_left_out", "Gauges left out to bound this page; /summaries has them", value=left_out
    )


def _judged(judged: Counter[Labels]) -> Metric:
    family = GaugeMetricFamily(
        "pointsman_monitor_statistics", "Statistics by status: alert on status alarm", labels=[*WHO, "status", "window"]
    )
    for labels, count in sorted(judged.items()):
        family.add_metric(labels, count)
    return family


def _chosen(rows: Sequence[Statistic]) -> tuple[list[Statistic], int]:
    """The rows that are exported, whole traffic before slices, and how many samples the bound on features leaves out."""
    whole = [row for row in rows if not row.slice]
    chosen = [row for row in whole if not row.feature or row.statistic not in FEATURE_STATISTICS]
    dropped = 0
    for own in by_variant(whole).values():
        ranked = [row.feature for row in by_drift(own)]
        exported = [row for row in own if row.statistic in FEATURE_STATISTICS and row.feature]
        kept = set(ranked[:FEATURES_MAX])
        chosen += [row for row in exported if row.feature in kept]
        dropped += sum(row.feature not in kept for row in exported)
    sliced = [row for row in rows if row.slice and not (row.feature and row.statistic in FEATURE_STATISTICS)]
    return chosen + sliced, dropped


def _samples(row: Statistic, window: str) -> Iterator[_Sample]:
    if row.value is None or row.status == "insufficient":
        return
    if row.statistic in SERVICE:
        yield _Sample("pointsman_service", (*_who(row), row.statistic, window), row.value)
    elif row.feature and row.statistic in DRIFT:
        yield _Sample(f"pointsman_drift_{row.statistic}", (*_who(row), row.feature, window), row.value)
    elif row.feature and row.statistic in INPUT:
        yield _Sample(f"pointsman_input_{row.statistic}", (*_who(row), row.feature, window), row.value)
    elif not row.feature and row.statistic in PERFORMANCE:
        for bound, value in zip(BOUNDS, (row.value, row.low, row.high), strict=True):
            if value is not None:
                yield _Sample("pointsman_performance", (*_who(row), row.statistic, bound, window), value)


def _who(row: Statistic) -> Labels:
    return row.model, row.version, row.variant, row.slice or ALL
