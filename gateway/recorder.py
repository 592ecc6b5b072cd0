"""Fates -> durable records: the one place where the gateway writes its prediction log.

Enters: a call and how one version's part in it ended. Leaves: a record in the log and a count in the metrics. Never
answers anybody.
"""

from contracts.wire import encode
from gateway.call import Call
from gateway.clock import Clock
from gateway.metrics import Meter
from gateway.records import Fate, Origin, record_of
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import LogWriter


class Recorder:
    """Writes records; `log` is None only where the operator switched logging off."""

    def __init__(self, log: LogWriter | None, meter: Meter, clock: Clock, origin: Origin) -> None:
        self._log = log
        self._meter = meter
        self._clock = clock
        self._origin = origin

    async def durably(self, revision: int, call: Call, fate: Fate) -> None:
        """Return when the record is durable; `LogUnavailable` where it cannot be."""
        payload = self._payload(revision, call, fate)
        if self._log is not None:
            await self._log.append(Kind.PREDICTION, payload)

    def later(self, revision: int, call: Call, fate: Fate) -> None:
        """Write the record with the next commit; nobody waits for it."""
        payload = self._payload(revision, call, fate)
        if self._log is not None:
            self._log.append_later(Kind.PREDICTION, payload)

    def _payload(self, revision: int, call: Call, fate: Fate) -> bytes:
        record = record_of(call, fate, revision, self._origin, self._clock.mono_ns())
        self._meter.observe(record)
        return encode(record)
