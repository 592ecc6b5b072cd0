"""After the last label: waits until the monitor has counted what the log holds, and sets the figures side by side.

Enters: the spool, the versions' tasks, the monitor. Leaves: one closing a version and variant. Bounded: after
COUNTED_SECONDS_MAX the figures are compared as they are, and do not agree.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.task import Task
from examples.flights.closing import Closing, all_counted, closings
from examples.flights.recount import Log, recount
from examples.flights.watching import Watch
from prediction_log.spool.reader import SpoolReader

COUNTED_SECONDS_MAX: Final = 60.0
_ASK_AGAIN_SECONDS: Final = 0.5
_ENTRIES_AT_ONCE: Final = 10_000


async def settle(spool: Path, tasks: Mapping[str, Task], watch: Watch) -> list[Closing]:
    """The closings, as soon as the monitor's counts are those of the log."""
    reader, log = SpoolReader(spool, {}), Log(tasks)
    deadline = asyncio.get_running_loop().time() + COUNTED_SECONDS_MAX
    while True:
        while entries := reader.poll(_ENTRIES_AT_ONCE):
            log.take(entries)
        recounts, rows = recount(log), await watch.look()
        if all_counted(recounts, rows) or asyncio.get_running_loop().time() > deadline:
            return closings(recounts, rows)
        await asyncio.sleep(_ASK_AGAIN_SECONDS)
