"""All logs of a spool on their way to Kafka: living writers' and orphans', found as they appear, let go when they are done.

Enters: the spool; turns and acknowledgements. Leaves: parts, fairly; cursors on the disk; segments removed in time; what is
still to do. A log that cannot be read is left alone for HALT_SECONDS and holds up no other. `save`, `sweep` and `backlogs`
block on the disk and are called in threads, one at a time each; everything else belongs to the event loop.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from contracts.errors import CorruptLog
from prediction_log.forward.backlog import LogBacklog, backlog_of
from prediction_log.forward.feed import Feed, Part, World
from prediction_log.forward.retention import remove_log, remove_segments
from prediction_log.spool.places import LogDirectory, log_directories

HALT_SECONDS: Final = 5.0

_LOG: Final = logging.getLogger(__name__)


class _Halt(NamedTuple):
    until: float
    reason: str


class Feeds:
    """`troubles` are logs that cannot be read just now; `repairs` counts cursors that had to be helped, `removed` the
    segments that are gone.
    """

    def __init__(self, spool: Path, world: World, mono: Callable[[], float]) -> None:
        self.repairs = self.removed = 0
        self._spool = spool
        self._world = world
        self._mono = mono
        self._active: dict[str, Feed] = {}
        self._done: dict[str, Feed] = {}
        self._halts: dict[str, _Halt] = {}
        self._turn = 0

    @property
    def troubles(self) -> list[str]:
        """Why logs are left alone just now."""
        return [f"log {log_id}: {halt.reason}" for log_id, halt in self._halts.items()]

    @property
    def active(self) -> list[Feed]:
        """The logs that have, or may get, something to send."""
        return list(self._active.values())

    def get(self, log_id: str) -> Feed | None:
        """The feed of a log."""
        return self._active.get(log_id)

    def discover(self) -> None:
        """Take up logs that are new, put aside those that are done."""
        there = log_directories(self._spool)
        for log in there:
            if log.log_id not in self._active and log.log_id not in self._done:
                self._open(log)
        for log_id in self._halts.keys() - self._active.keys() - {log.log_id for log in there}:
            del self._halts[log_id]
        for log_id, feed in list(self._active.items()):
            if feed.is_done and feed.is_saved:
                self._done[log_id] = self._active.pop(log_id)

    def _open(self, log: LogDirectory) -> None:
        halt = self._halts.get(log.log_id)
        if halt is not None and self._mono() < halt.until:
            return
        feed = Feed(log, self._world)
        try:
            feed.open()
        except (CorruptLog, OSError) as error:
            if log.path.is_dir():  # else a sweep took it a moment ago
                self._halt(log, error, "opened")
            return
        self._halts.pop(log.log_id, None)
        self._active[log.log_id] = feed
        self.repairs += len(feed.repairs)

    def _halt(self, log: LogDirectory, error: Exception, what: str) -> None:
        """Leave a log alone for a while; told to people once, as long as the reason stays the same."""
        halt = self._halts.get(log.log_id)
        if halt is None or halt.reason != str(error):
            _LOG.error("log %s/%s cannot be %s: %s", log.slot, log.log_id, what, error)
        self._halts[log.log_id] = _Halt(self._mono() + HALT_SECONDS, str(error))

    def in_turn(self) -> list[Feed]:
        """All that are active; each time another comes first."""
        feeds = self.active
        self._turn = (self._turn + 1) % max(len(feeds), 1)
        return feeds[self._turn :] + feeds[: self._turn]

    def take(self, feed: Feed, bytes_max: int) -> Part | None:
        """The feed's next part; None where it has none, or cannot be read just now."""
        log_id = feed.log.log_id
        halt = self._halts.get(log_id)
        if halt is not None:
            if feed.under_way or self._mono() < halt.until:
                return None
            feed.rewind()  # what the failed read had in its hands is gone
        try:
            part = feed.next_part(bytes_max)
        except (CorruptLog, OSError) as error:
            self._halt(feed.log, error, "read on")
            return None
        self._halts.pop(log_id, None)
        return part

    def rewind(self) -> None:
        """Whatever is not acknowledged is to be sent again."""
        for log_id, feed in self._active.items():
            self._halts.pop(log_id, None)
            feed.rewind()

    def save(self, now_us: int) -> None:
        """Bring all cursor files up to what is acknowledged. Raises OSError; the others are saved all the same."""
        failed: OSError | None = None
        for feed in self.active:
            try:
                feed.save(now_us)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def sweep(self, before_us: int) -> None:
        """Remove segments acknowledged before `before_us`, and logs that are done and empty.

        Raises OSError; the others are swept all the same.
        """
        failed: OSError | None = None
        for feed in [*self.active, *self._done.values()]:
            try:
                self.removed += remove_segments(self._world.disk, feed.log.path, feed.saved, before_us)
                if feed.log.log_id in self._done and remove_log(self._world.disk, feed.log.path, feed.saved):
                    self._done.pop(feed.log.log_id, None)
            except OSError as error:
                failed = error
        if failed is not None:
            raise failed

    def backlogs(self) -> dict[str, LogBacklog]:
        """What each active log still has to send, as far as it can be told."""
        found = {}
        for feed in self.active:
            try:
                found[feed.log.log_id] = backlog_of(feed.log, feed.acked, self._world.boot)
            except (CorruptLog, OSError):  # told where it is read to be sent
                continue
        return found
