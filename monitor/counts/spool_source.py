"""The embedded log as a source of readings: the spool, from the positions that the state has saved.

Enters: a way to open the spool at positions. Leaves: readings, and ticks: what is read, counted. Where the join store fell
out of step with the state, as after a power cut, it is rebuilt from the spool before anything more is counted. Never saves
anything by itself.
"""

import logging
from collections.abc import Callable, Mapping

import msgspec

from monitor.counts.consume import Consumer, Reading, Tick
from monitor.counts.join_store import OutOfStep
from monitor.counts.rejoin import Rejoin
from prediction_log.position import Position
from prediction_log.spool.reader import SpoolReader

_LOG = logging.getLogger("pointsman.monitor")

OpenReader = Callable[[Mapping[str, Position]], SpoolReader]


class SpoolSource:
    """Reads one spool; `open_reader` opens it at positions."""

    def __init__(self, open_reader: OpenReader) -> None:
        self._open_reader = open_reader
        self._reader: SpoolReader | None = None
        self._told: dict[str, Position] = {}

    def open(self, saved: Mapping[str, bytes]) -> None:
        """Read from these positions on."""
        self._told = {name: msgspec.json.decode(content, type=Position) for name, content in saved.items()}
        self._reader = self._open_reader(self._told)

    def read(self, records_max: int) -> Reading:
        """The next records, at most `records_max`. Raises CorruptLog."""
        assert self._reader is not None, "open the source first"
        entries = self._reader.poll(records_max)
        positions = self._reader.positions
        moved = {name: position for name, position in positions.items() if self._told.get(name) != position}
        self._told |= moved
        encoded = {name: msgspec.json.encode(position) for name, position in moved.items()}
        return Reading(entries, encoded, self._reader.findings, len(entries) < records_max)


class SpoolCounter:
    """Counts a spool, tick by tick, each of at most `records_max` records. A backlog stays in the log."""

    def __init__(self, source: SpoolSource, consumer: Consumer, *, records_max: int) -> None:
        self._source = source
        self._consumer = consumer
        self._records_max = records_max
        self._opened = False

    def tick(self, now_us: int) -> Tick:
        """Read and count once. Raises StoreUnavailable, sqlite3.Error, Unavailable (the registry) or CorruptLog; then
        nothing was saved, and the next tick starts from what is.
        """
        try:
            if not self._opened:
                self._open()
            return self._consumer.take(self._source.read(self._records_max), now_us)
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        try:
            saved = self._consumer.open()
        except OutOfStep as error:
            _LOG.warning("%s; rebuilding it", error)
            self._rejoin()
            saved = self._consumer.open()
        self._source.open(saved)
        self._opened = True

    def _rejoin(self) -> None:
        """Read the spool from its beginning, as far as it is counted."""
        rejoin = Rejoin(self._consumer.path)
        rejoin.open()
        try:
            self._source.open({})
            taken, caught_up = 0, False
            while not caught_up:
                entries, _, _, caught_up = self._source.read(self._records_max)
                taken += rejoin.take(entries)
            rejoin.finish()
        finally:
            rejoin.close()
        _LOG.warning("the join store is rebuilt from %d records; labels of others find no prediction any more", taken)

    def close(self) -> None:
        """Let go of the state's files; another tick would open them again."""
        self._opened = False
        self._consumer.close()
