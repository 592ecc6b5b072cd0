"""Attempts that are over -> durable records: the one place where the gateway writes its prediction log.

Enters: attempts. Leaves: records in the log and counts in the metrics. Never answers anybody.
"""

from collections.abc import Callable, Sequence
from functools import partial
from operator import is_not

from contracts.errors import PointsmanError
from contracts.wire import encode
from gateway.attempt import Attempt
from gateway.clock import Clock
from gateway.metrics import Meter
from gateway.records import Origin, Prefixes, compact_record, failure_record, status_of
from prediction_log.spool.segment import PAYLOAD_BYTES_MAX, Kind
from prediction_log.spool.writer import LogWriter

Recorded = Callable[[Sequence[Attempt], PointsmanError | None], None]


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
        be. A record that is too large for the log is refused alone.
        """
        payloads = self._payloads(attempts)
        if self._log is None:
            recorded(attempts, None)
            return
        if max(map(len, payloads)) <= PAYLOAD_BYTES_MAX:
            self._append(self._log, attempts, payloads, recorded)
            return
        for attempt, payload in zip(attempts, payloads, strict=True):
            self._append(self._log, [attempt], [payload], recorded)

    def _append(
        self, log: LogWriter, attempts: Sequence[Attempt], payloads: Sequence[bytes], recorded: Recorded
    ) -> None:
        try:
            log.append_all(Kind.PREDICTION, payloads, partial(recorded, attempts))
        except PointsmanError as refusal:
            recorded(attempts, refusal)

    def later(self, attempts: Sequence[Attempt]) -> None:
        """Write the records with the next commit; nobody waits for them."""
        payloads = self._payloads(attempts)
        if self._log is not None:
            for payload in payloads:
                self._log.append_later(Kind.PREDICTION, payload)

    def _payloads(self, attempts: Sequence[Attempt]) -> list[bytes]:
        now_ns, meter = self._clock.mono_ns(), self._meter
        payloads = []
        prefix, like = b"", None
        for attempt in attempts:
            meter.observe(attempt.call.model, attempt.route.variant, status_of(attempt), attempt.fallback_from)
            if attempt.ran is None:
                payloads.append(encode(failure_record(attempt, self._origin, now_ns)))
                continue
            if attempt.answered:
                meter.time(attempt.call.model, attempt.route.variant, (now_ns - attempt.call.arrived_ns) // 1000)
            kind = (attempt.route.variant, attempt.serving, attempt.ran.run.form)
            if like is None or any(map(is_not, kind, like)):
                prefix, like = self._prefixes.of(attempt), kind
            payloads.append(compact_record(attempt, prefix, now_ns))
        return payloads
