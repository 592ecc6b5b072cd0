"""What one worker counts.

Enters: what became of attempts, rejections, labels. Leaves: a snapshot of cumulative counts, written to
`<metrics dir>/<slot>.json` by atomic rename four times a second and at the end, so kill -9 may lose that much of the
metrics (never of the log). A new worker of the same slot goes on from the old one's counts: counters never go back. On the
request path a count is a dict entry. Label sets are bounded by `LABEL_SETS_MAX` a metric; what comes after is counted under
`other`.
"""

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts.errors import InvalidRecord
from contracts.prediction import Status
from contracts.wire import Contract, decode, encode
from gateway.traffic.routing import Variant

FLUSH_SECONDS: Final = 0.25
LABEL_SETS_MAX: Final = 1000
LATENCY_BOUNDS_US: Final = (
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    1_000_000,
    5_000_000,
)

LATENCY_CELLS: Final = len(LATENCY_BOUNDS_US) + 2

Labels = tuple[str, ...]


class Gauges(Contract, frozen=True, kw_only=True):
    """What a worker reads off itself: applied plan revision and number of loaded versions by model, bytes written by
    its log writer, shadow records that the writer had to shed, and whether it can log at all. `behind`: models whose
    newest plan it does not follow, and whether that is because the store fell back; `store_reached`: it could ask last time.
    """

    revisions: dict[str, int] = {}
    loaded: dict[str, int] = {}
    log_bytes: int = 0
    log_shed: int = 0
    log_writable: bool = True
    behind: dict[str, bool] = {}
    store_reached: bool = True


class Snapshot(Contract, frozen=True, kw_only=True):
    """One slot's cumulative counts, as (labels, count). Latency cells: one a bound, then the rest, then the sum in us."""

    predictions: list[tuple[Labels, int]] = []
    fallbacks: list[tuple[Labels, int]] = []
    rejections: list[tuple[Labels, int]] = []
    labels: list[tuple[Labels, int]] = []
    closed: list[tuple[Labels, int]] = []
    latency: list[tuple[Labels, list[int]]] = []
    connections: int = 0
    gauges: Gauges = Gauges()


class Meter:
    """The counts of one worker, from what its slot counted before."""

    def __init__(self, before: Snapshot) -> None:
        self._predictions = dict(before.predictions)
        self._fallbacks = dict(before.fallbacks)
        self._rejections = dict(before.rejections)
        self._labels = dict(before.labels)
        self._closed = dict(before.closed)
        self.connections = 0
        self._latency = dict(before.latency)

    def observe(self, model: str, variant: Variant, status: Status, fallback_from: str | None, count: int = 1) -> None:
        """Count records."""
        _add(self._predictions, (model, variant.ref.version, variant.name, variant.role, status), count)
        if fallback_from is not None:
            _add(self._fallbacks, (model, fallback_from), count)

    def reject(self, code: int, reason: str) -> None:
        """Count one request that got an error status."""
        _add(self._rejections, (str(code), reason), 1)

    def count_labels(self, outcome: str, count: int) -> None:
        """Count labels that were accepted or refused."""
        _add(self._labels, (outcome,), count)

    def close(self, reason: str) -> None:
        """Count one connection that was ended, or refused, because of what its client did."""
        _add(self._closed, (reason,), 1)

    def snapshot(self, gauges: Gauges) -> Snapshot:
        """All counts so far."""
        return Snapshot(
            predictions=list(self._predictions.items()),
            fallbacks=list(self._fallbacks.items()),
            rejections=list(self._rejections.items()),
            labels=list(self._labels.items()),
            closed=list(self._closed.items()),
            latency=list(self._latency.items()),
            gauges=gauges,
            connections=self.connections,
        )

    def time(self, model: str, variant: Variant, totals_us: Sequence[int]) -> None:
        """Count the times that answers took."""
        labels: Labels = (model, variant.ref.version, variant.name)
        try:
            cells = self._latency[labels]
        except KeyError:
            if len(self._latency) >= LABEL_SETS_MAX:
                labels = ("other",) * len(labels)
            cells = self._latency.setdefault(labels, [0] * LATENCY_CELLS)
        for total_us in totals_us:
            cells[bisect_left(LATENCY_BOUNDS_US, total_us)] += 1
        cells[-1] += sum(totals_us)


def _add(counts: dict[Labels, int], labels: Labels, count: int) -> None:
    try:
        counts[labels] += count
    except KeyError:
        if len(counts) >= LABEL_SETS_MAX:
            labels = ("other",) * len(labels)
        counts[labels] = counts.get(labels, 0) + count


def save(directory: Path, slot: str, snapshot: Snapshot) -> None:
    """Write a slot's snapshot by atomic rename."""
    part = directory / f".{slot}.part"
    part.write_bytes(encode(snapshot))
    part.replace(directory / f"{slot}.json")


def load(directory: Path, slot: str) -> Snapshot:
    """A slot's last snapshot; an empty one where there is none or it cannot be read (metrics may be lost, not served)."""
    try:
        found = decode(Snapshot, (directory / f"{slot}.json").read_bytes())
    except (OSError, InvalidRecord):
        return Snapshot()
    return found if all(len(cells) == LATENCY_CELLS for _, cells in found.latency) else Snapshot()
