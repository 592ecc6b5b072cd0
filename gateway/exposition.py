"""The metrics page: all slots of the host added up, whichever worker is asked.

Enters: the snapshots of every slot. Leaves: the Prometheus text. Counters and histograms add up over all slots that ever
were, so that they do not go back while a worker is started again; gauges are those of live workers: the plan revision is the
smallest of them, the one the slowest applies. Never counts anything itself. Bound: SLOTS_MAX slots.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.metrics import LATENCY_BOUNDS_US, Labels, Snapshot, load
from prediction_log.forward.status import ForwarderStatus, read_status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SLOTS_MAX: Final = 1024
"""Files that are read of slots without a worker."""


def page(directory: Path, living: Iterable[str], known: Mapping[str, Snapshot] = MappingProxyType({})) -> bytes:
    """The metrics page of the slots in `directory`, of which these have a worker, and of the host's forwarder where there
    is one. What is `known` of a slot is not read; its worker lives.
    """
    registry = CollectorRegistry(auto_describe=False)
    live = {slot: load(directory, slot) for slot in living if slot not in known} | dict(known)
    left = [path.stem for path in sorted(directory.glob("*.json"))[:SLOTS_MAX] if path.stem not in live]
    registry.register(_Host(live, [load(directory, slot) for slot in left]))
    forwarder = read_status(directory.parent)
    if forwarder is not None:
        registry.register(_Forwarder(forwarder))
    return generate_latest(registry)


class _Host(Collector):
    def __init__(self, by_slot: Mapping[str, Snapshot], left: Sequence[Snapshot]) -> None:
        self._by_slot = by_slot
        self._left = left

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshots = [*self._by_slot.values(), *self._left]
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
        yield _counter(
            "pointsman_connections_closed",
            "Connections that were ended, or refused, because of what their client did or did not do",
            ("reason",),
            (pair for snapshot in snapshots for pair in snapshot.closed),
        )
        yield _latency(pair for snapshot in snapshots for pair in snapshot.latency)
        yield from _plan_gauges(self._by_slot)
        yield from _gauges(list(self._by_slot.values()))


class _Forwarder(Collector):
    def __init__(self, status: ForwarderStatus) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        now = self._status
        for name, text, count in (
            ("pointsman_forward_sent_records", "Records sent to Kafka, repetitions included", now.sent),
            ("pointsman_forward_acked_records", "Records that Kafka acknowledged", now.acked),
            ("pointsman_forward_acked_bytes", "Bytes of acknowledged records, before compression", now.bytes),
            ("pointsman_forward_dead_records", "Records that Kafka cannot take, kept aside", now.dead),
            ("pointsman_forward_rebuilds", "Producers given up after an error", now.rebuilds),
            ("pointsman_forward_cursor_repairs", "Cursors that did not fit their log", now.repairs),
            ("pointsman_forward_removed_segments", "Segments removed after their time", now.removed),
        ):
            yield CounterMetricFamily(name, text, value=count)
        age_us = now.at_us - now.oldest_unsent_us if now.oldest_unsent_us is not None else 0
        for name, text, value in (
            (
                "pointsman_forward_backlog_records",
                "Committed records that Kafka has not acknowledged",
                now.backlog_records,
            ),
            ("pointsman_forward_backlog_bytes", "Their bytes in the spool", now.backlog_bytes),
            (
                "pointsman_forward_oldest_unsent_seconds",
                "Age of the oldest of them; 0 where there is none",
                age_us / 1e6,
            ),
            ("pointsman_forward_trouble", "1 while something keeps records from going out", now.trouble is not None),
            ("pointsman_forward_updated_seconds", "When the forwarder last told", now.at_us / 1e6),
        ):
            yield GaugeMetricFamily(name, text, value=float(value))


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


def _plan_gauges(by_slot: Mapping[str, Snapshot]) -> Iterator[Metric]:
    """Who follows which plan; one worker's revision against another's is how far a shift has come."""
    each = GaugeMetricFamily(
        "pointsman_worker_plan_revision", "The revision that a worker applies", labels=["worker", "model"]
    )
    behind = GaugeMetricFamily(
        "pointsman_plan_behind_workers",
        "Workers that do not follow the newest plan, or lack a version",
        labels=["model"],
    )
    refused = GaugeMetricFamily(
        "pointsman_plan_refused_workers",
        "Workers that refuse the stored plan: the store lost changes",
        labels=["model"],
    )
    for slot, snapshot in sorted(by_slot.items()):
        for model, revision in sorted(snapshot.gauges.revisions.items()):
            each.add_metric([slot, model], revision)
    gauges = [snapshot.gauges for snapshot in by_slot.values()]
    for model in sorted({model for one in gauges for model in (*one.revisions, *one.behind)}):
        reasons = [one.behind[model] for one in gauges if model in one.behind]
        behind.add_metric([model], len(reasons))
        refused.add_metric([model], sum(reasons))
    yield each
    yield behind
    yield refused
    reached = min((one.store_reached for one in gauges), default=False)
    yield GaugeMetricFamily(
        "pointsman_plan_store_reached", "1 where every worker could ask the plan store last time", value=int(reached)
    )


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
    connections = sum(snapshot.connections for snapshot in snapshots)
    yield GaugeMetricFamily("pointsman_connections", "Open connections of the data plane", value=connections)
    shed = sum(snapshot.gauges.log_shed for snapshot in snapshots)
    yield GaugeMetricFamily(
        "pointsman_log_shed_records", "Shadow records that the present log writers could not take", value=shed
    )
    writable = min((snapshot.gauges.log_writable for snapshot in snapshots), default=False)
    yield GaugeMetricFamily("pointsman_log_writable", "1 where every worker can log", value=int(writable))
    yield GaugeMetricFamily("pointsman_workers", "Workers whose counts are on this page", value=len(snapshots))
