"""Attempts that are over -> durable records: the one place where the gateway writes its prediction log.

Enters: attempts. Leaves: records in the log and counts in the metrics. Never answers anybody.
"""

from collections.abc import Callable, Sequence
from functools import partial

from contracts.errors import PointsmanError
from gateway.attempt import Attempt
from gateway.clock import Clock
from gateway.metrics import Meter
from gateway.records import Origin, Prefixes, compact_records, failure_records, in_runs, status_of
from prediction_log.spool.segment import BATCH_BYTES_MAX, PAYLOAD_BYTES_MAX, Kind, Record
from prediction_log.spool.writer import LogWriter

Recorded = Callable[[Sequence[Attempt], PointsmanError | None], None]
Groups = Sequence[Sequence[Attempt]]
"""Attempts, those together whose records begin alike (`in_runs`)."""


class Recorder:
    """Writes records; `log` is None only where the operator switched logging off."""

    def __init__(self, log: LogWriter | None, meter: Meter, clock: Clock, origin: Origin) -> None:
        self._log = log
        self._meter = meter
        self._clock = clock
        self._origin = origin
        self._prefixes = Prefixes(origin)

    def durably(self, attempts: Sequence[Attempt], recorded: Recorded) -> None:
        """Record attempts that came together. `recorded` hears of each once: that its record is durable, or why it cannot
        be. A record that is too large for the log is refused alone, and so is one for which there is no room.
        """
        groups = in_runs(attempts)
        if self._log is None:
            self._stored(groups, recorded, attempts, None)
            return
        records = self._records(groups)
        sizes = [len(shared) + len(rest) for _, shared, rest in records]
        if max(sizes) <= PAYLOAD_BYTES_MAX and sum(sizes) <= BATCH_BYTES_MAX:
            self._append(self._log, groups, attempts, records, recorded)
            return
        waiting = 0
        for attempt, record, size in zip(attempts, records, sizes, strict=True):
            self._append(self._log, [[attempt]], [attempt], [record], recorded)
            waiting += size
            if waiting > BATCH_BYTES_MAX:
                self._log.commit()  # together they may be more than may wait
                waiting = 0

    def _append(
        self, log: LogWriter, groups: Groups, attempts: Sequence[Attempt], records: Sequence[Record], recorded: Recorded
    ) -> None:
        try:
            log.append_all(records, partial(self._stored, groups, recorded, attempts))
        except PointsmanError as refusal:
            recorded(attempts, refusal)

    def _stored(
        self, groups: Groups, recorded: Recorded, attempts: Sequence[Attempt], refused: PointsmanError | None
    ) -> None:
        """Count what has a record now, and nothing that has none."""
        if refused is None:
            self._count(groups)
        recorded(attempts, refused)

    def commit(self) -> None:
        """Write what was recorded in this step of the event loop: no more comes in it."""
        if self._log is not None:
            self._log.commit()

    def later(self, attempts: Sequence[Attempt]) -> None:
        """Write the records with the next commit; nobody waits for them."""
        groups = in_runs(attempts)
        self._count(groups)
        if self._log is None:
            return
        for kind, shared, rest in self._records(groups):
            self._log.append_later(kind, rest, shared)

    def _records(self, groups: Groups) -> list[Record]:
        """The records, in the order of the attempts. What one run answered for one variant is recorded as one."""
        now_ns = self._clock.mono_ns()
        records: list[Record] = []
        for alike in groups:
            if alike[0].ran is None:
                shared, rests = failure_records(alike, self._origin, now_ns)
            else:
                shared, rests = self._prefixes.of(alike[0]), compact_records(alike, now_ns)
            records += [(Kind.PREDICTION, shared, rest) for rest in rests]
        return records

    def _count(self, groups: Groups) -> None:
        """Count each attempt, and the time that an answer took until now."""
        now_ns = self._clock.mono_ns()
        for alike in groups:
            first = alike[0]
            model, variant = first.call.model, first.route.variant
            self._meter.observe(model, variant, status_of(first), first.fallback_from, len(alike))
            if first.answered and first.ran is not None:
                self._meter.time(model, variant, [(now_ns - attempt.call.arrived_ns) // 1000 for attempt in alike])
