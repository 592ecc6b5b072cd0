"""Attempts that are over -> durable records: the one place where the gateway writes its prediction log.

Enters: attempts. Leaves: records in the log and counts in the metrics. Never answers anybody.
"""

from collections.abc import Callable, Sequence

from contracts.errors import PointsmanError
from contracts.wire import encode
from gateway.attempt import Attempt
from gateway.clock import Clock
from gateway.metrics import Meter
from gateway.records import Origin, record_of
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import LogWriter


class Recorder:
    """Writes records; `log` is None only where the operator switched logging off."""

    def __init__(self, log: LogWriter | None, meter: Meter, clock: Clock, origin: Origin) -> None:
        self._log = log
        self._meter = meter
        self._clock = clock
        self._origin = origin

    def durably(self, attempts: Sequence[Attempt], recorded: Callable[[PointsmanError | None], None]) -> None:
        """Record attempts that go the same way, at least one; `recorded` hears None once all records are durable, or why
        they cannot be.
        """
        payloads = self._payloads(attempts)
        if self._log is None:
            recorded(None)
            return
        try:
            self._log.append_all(Kind.PREDICTION, payloads, recorded)
        except PointsmanError as refusal:
            recorded(refusal)

    def later(self, attempts: Sequence[Attempt]) -> None:
        """Write the records with the next commit; nobody waits for them."""
        payloads = self._payloads(attempts)
        if self._log is not None:
            for payload in payloads:
                self._log.append_later(Kind.PREDICTION, payload)

    def _payloads(self, attempts: Sequence[Attempt]) -> list[bytes]:
        now_ns = self._clock.mono_ns()
        payloads = []
        for attempt in attempts:
            record = record_of(attempt, self._origin, now_ns)
            self._meter.observe(record)
            payloads.append(encode(record))
        return payloads
