"""The whole spool, tailed: every log of every slot, and those that appear while it runs.

Enters: the spool's path and the positions of an earlier run. Leaves: committed records, in order of seq within each log;
the new positions; what was found beside records. Never writes to the spool, never waits, never loads a backlog: a poll
holds the records it was asked for and one window.
"""

from collections.abc import Mapping
from pathlib import Path

from prediction_log.finding import Finding, FindingKind
from prediction_log.position import Entry, Position
from prediction_log.spool.disk import boot_of_this_machine
from prediction_log.spool.places import log_directories
from prediction_log.spool.tail import LogTail

__all__ = ["Entry", "Finding", "FindingKind", "Position", "SpoolReader"]


class SpoolReader:
    """Reads all logs of a spool. Whoever saves `positions` together with what was made of the entries, in one
    transaction, sees every record exactly once.

    `positions` holds one entry a log, ended ones too: they keep their few bytes so that nothing is ever read twice.
    `findings` are those of the last poll, each told once.
    """

    def __init__(self, spool: Path, positions: Mapping[str, Position], *, boot: int | None = None) -> None:
        self.positions = dict(positions)
        self.findings: list[Finding] = []
        self._spool = spool
        self._boot = boot
        self._tails: dict[str, LogTail] = {}
        self._turn = 0

    def poll(self, records_max: int) -> list[Entry]:
        """The next records of all logs together, at most `records_max`; each log gets its share, what it leaves goes to
        the others. Raises CorruptLog where a segment's format is unknown.
        """
        self._discover()
        self.findings = []
        entries: list[Entry] = []
        waiting = self._in_turn()
        while waiting and len(entries) < records_max:
            hungry = []
            for index, log_id in enumerate(waiting):
                share = max(1, (records_max - len(entries)) // (len(waiting) - index))
                if len(entries) + share <= records_max and self._read(log_id, share, entries):
                    hungry.append(log_id)
            waiting = hungry
        return entries

    def _discover(self) -> None:
        for log in log_directories(self._spool):
            position = self.positions.get(log.log_id, Position())
            if log.log_id not in self._tails and not position.ended:
                self._boot = boot_of_this_machine() if self._boot is None else self._boot
                self._tails[log.log_id] = LogTail(log.path, log.log_id, position, self._boot)

    def _in_turn(self) -> list[str]:
        """Each poll another log comes first: with more logs than `records_max` none is forgotten."""
        log_ids = list(self._tails)
        self._turn = (self._turn + 1) % max(len(log_ids), 1)
        return log_ids[self._turn :] + log_ids[: self._turn]

    def _read(self, log_id: str, share: int, entries: list[Entry]) -> bool:
        """Read one log's share; True where it may hold more."""
        tail = self._tails[log_id]
        read = tail.read(share)
        entries += read
        self.findings += tail.findings
        tail.findings = []
        self.positions[log_id] = tail.position
        if tail.ended:
            del self._tails[log_id]
        return len(read) == share and not tail.ended
