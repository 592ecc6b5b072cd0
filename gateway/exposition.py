"""The metrics page: all slots of the host added up, whichever worker is asked.

Enters: the snapshots of every slot. Leaves: the Prometheus text. Counters and histograms add up over slots, the plan
revision is the smallest of all live workers: the one the slowest of them applies. Never counts anything itself.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics import LATENCY_BOUNDS_US, Labels, Snapshot, load

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def page(directory: Path, slots: Iterable[str]) -> bytes:
    """The metrics page of these slots."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Host([load(directory, slot) for slot in slots]))
    return generate_latest(registry)


class _Host(Collector):
    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        self._snapshots = snapshots

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshots = self._snapshots
        yield _counter(
            "pointsman_predictions",
            "Prediction records by what became of them",
            ("model", "version", "variant", "role", "status"),
            (pair for snapshot in snapshots for pair in snapshot.predictions),
        )
        yield _counter(
            "pointsman_fallbacks",
            "Answers that the champion gave in place of a challenger",
            ("model", "variant"),
            (pair for snapshot in snapshots for pair in snapshot.fallbacks),
        )
        yield _counter(
            "pointsman_rejections",
            "Requests that got an error status",
            ("code", "reason"),
            (pair for snapshot in snapshots for pair in snapshot.rejections),
        )
        yield _counter(
            "pointsman_labels",
            "Labels that were accepted or refused",
            ("outcome",),
            (pair for snapshot in snapshots for pair in snapshot.labels),
        )
        yield _latency(pair for snapshot in snapshots for pair in snapshot.latency)
        yield from _gauges(snapshots)


def _counter(name: str, text: str, labels: Sequence[str], pairs: Iterable[tuple[Labels, int]]) -> Metric:
    totals: dict[Labels, int] = defaultdict(int)
    for values, count in pairs:
        totals[tuple(values)] += count
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in sorted(totals.items()):
        family.add_metric(values, count)
    return family


def _latency(pairs: Iterable[tuple[Labels, list[int]]]) -> Metric:
    totals: dict[Labels, list[int]] = {}
    for values, cells in pairs:
        summed = totals.setdefault(tuple(values), [0] * len(cells))
        totals[tuple(values)] = [a + b for a, b in zip(summed, cells, strict=True)]
    family = HistogramMetricFamily(
        "pointsman_request_duration_seconds",
        "From the request's arrival to its durable record, answered requests only",
        labels=("model", "version", "variant"),
    )
    bounds = [*(str(bound / 1e6) for bound in LATENCY_BOUNDS_US), "+Inf"]
    for values, cells in sorted(totals.items()):
        seen, buckets = 0, []
        for bound, count in zip(bounds, cells[:-1], strict=True):
            seen += count
            buckets.append((bound, seen))
        family.add_metric(values, buckets, cells[-1] / 1e6)
    return family


def _gauges(snapshots: Sequence[Snapshot]) -> Iterator[Metric]:
    revision = GaugeMetricFamily(
        "pointsman_plan_revision", "The revision that the slowest worker applies", labels=["model"]
    )
    loaded = GaugeMetricFamily("pointsman_loaded_versions", "Loaded versions, summed over workers", labels=["model"])
    for model in sorted({model for snapshot in snapshots for model in snapshot.gauges.revisions}):
        applied = [s.gauges.revisions[model] for s in snapshots if model in s.gauges.revisions]
        revision.add_metric([model], min(applied))
        loaded.add_metric([model], sum(s.gauges.loaded.get(model, 0) for s in snapshots))
    yield revision
    yield loaded
    written = sum(snapshot.gauges.log_bytes for snapshot in snapshots)
    yield GaugeMetricFamily("pointsman_log_written_bytes", "Bytes written by the present log writers", value=written)
    shed = sum(snapshot.gauges.log_shed for snapshot in snapshots)
    yield GaugeMetricFamily(
        "pointsman_log_shed_records", "Shadow records that the present log writers could not take", value=shed
    )
    writable = min((snapshot.gauges.log_writable for snapshot in snapshots), default=False)
    yield GaugeMetricFamily("pointsman_log_writable", "1 where every worker can log", value=int(writable))
    yield GaugeMetricFamily("pointsman_workers", "Workers whose counts are on this page", value=len(snapshots))
