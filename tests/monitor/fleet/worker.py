"""A monitor worker as a process, for tests: the real one, but that its catalogue is the test world's and its limits small.

`worker.py SETTINGS FAULT SESSION_MS`: settings are the role's JSON. FAULT is empty, or `WHERE:N`: the worker kills itself at
the n-th time that it comes to WHERE: `publish` (counted and saved, not published), `published` (published, the group not
told), `take` (read, not counted), `dead` (dead letters sent, not counted). SESSION_MS is how long the group waits for one
that is silent. After SIGUSR1 dead letters are forgotten within `FORGOTTEN_SECONDS`.
"""

import asyncio
import os
import signal
import sys

from contracts.settings import decode_settings
from monitor import main
from monitor.fleet import dead_letters, group, partition
from prediction_log.kafka import stream
from tests.monitor.core import conftest as world

stream.HEARTBEAT_MS = 500
group.PUBLISH_SECONDS = 0.3
FORGOTTEN_SECONDS = 6.0


def hurt(fault: str) -> None:
    """Arm the fault."""
    where, _, number = fault.partition(":")
    passed = iter(range(1, 10**9))

    def here(place: str) -> None:
        if place == where and next(passed) == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    publish, take, commit = partition.Partition.publish, partition.Partition._take, group.Group._commit

    async def publishing(self, *given):
        if self._changed:
            here("publish")
        await publish(self, *given)

    async def taking(self, arrival):
        here("take")
        if arrival.dead:
            await self._parts.dead_letters.send(arrival.dead)
            here("dead")
        await take(self, arrival)

    async def committing(self, stream, one):
        here("published")
        await commit(self, stream, one)

    partition.Partition.publish, partition.Partition._take, group.Group._commit = publishing, taking, committing


async def run() -> None:
    """Serve until SIGTERM."""
    references = {("m", version): world.make_reference("binary", version) for version in ("1", "2")}
    main._catalogue = lambda _: world.make_catalogue(references)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, dead_letters, "WINDOW_SECONDS", FORGOTTEN_SECONDS)
    await main.serve_monitor(decode_settings(sys.argv[1].encode()), None, stop)


if __name__ == "__main__":
    import logging

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    stream.SESSION_MS = int(sys.argv[3])
    if sys.argv[2]:
        hurt(sys.argv[2])
    asyncio.run(run())
