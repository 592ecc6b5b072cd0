"""What a second variant costs a step of the event loop, without HTTP: the same requests answered by one version and by two.

Enters: how many requests come at once. Leaves: a table: CPU microseconds of a step, one variant and two in turns, medians. CPU
time of the process, so other work on the machine disturbs it little. Run as `python -m benchmarks.split_cost`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from rich.progress import track

from benchmarks.models import KINDS, write_registry
from benchmarks.request_path import Asker, arrival
from benchmarks.sheets import Sheet
from benchmarks.spread import ratios, spread
from contracts.plan import Change, VersionRef
from contracts.settings import Settings
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival
from gateway.edge.reply import Reply
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic import shifts
from gateway.worker import Worker, make_worker, spare_the_collector
from prediction_log.spool.writer import LogWriter, open_writer
from registry_client.folder import FolderRegistry

REQUESTS_A_TURN = 600


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", choices=KINDS)
    parser.add_argument("--at-once", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--turns", type=int, default=25)
    arguments = parser.parse_args()
    rows = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_registry(folder / "models", arguments.model)
        workers = [await started(folder, name, stack) for name in ("one", "two")]
        spare_the_collector()
        for at_once in arguments.at_once:
            spent: tuple[list[float], list[float]] = ([], [])
            for _ in track(range(arguments.turns), f"{at_once} at once", transient=True):
                for worker, found in zip(workers, spent, strict=True):
                    found.append(await turn(worker, at_once))
            one, two = (spread(found).middle for found in spent)
            of_turns = spread(ratios(spent[1], spent[0])).middle
            rows.append([str(at_once), f"{one:.0f}", f"{two:.0f}", f"{two - one:.0f}", f"{of_turns:.2f}"])
    header = ("at once", "one variant, us", "two, us", "more, us", "two of one")
    Console().print(Sheet(f"{arguments.model}: CPU of a step, {arguments.turns} turns", header, rows).rich())


async def started(folder: Path, name: str, stack: AsyncExitStack) -> Worker:
    """A worker with a log; `two` has half of its traffic at version 2."""
    settings = Settings(registry=str(folder / "models"), state_dir=folder / name, log_disk_reserve_bytes=0)
    log = await open_writer(settings.state_dir / "spool", "worker-0", disk_reserve_bytes=0)
    stack.push_async_callback(log.aclose)
    worker = await ready(settings, log)
    if name == "two":
        worker.close()
        await split(settings)
        worker = await ready(settings, log)
    stack.callback(worker.close)
    return worker


async def ready(settings: Settings, log: LogWriter) -> Worker:
    """A worker that has read its plan and loaded its versions."""
    worker = make_worker(settings, "worker-0", log, system_clock())
    await worker.models.start()
    return worker


async def split(settings: Settings) -> None:
    """Half of the traffic to version 2, as the next plan."""
    digest = (await FolderRegistry(Path(settings.registry), settings.state_dir / "cache").fetch("m", "2")).digest
    store = SqlitePlanStore(settings.state_dir / "plans.sqlite")
    before = await store.read("m")
    assert before is not None, "the first worker made it"
    after = shifts.ab(before, VersionRef(version="2", digest=digest), 0.5)
    await store.write(
        Change(
            model="m", revision=2, at_us=0, who="benchmark", verb="ab", reason="benchmark", before=before, after=after
        )
    )
    await store.aclose()


async def turn(worker: Worker, at_once: int) -> float:
    """CPU microseconds of a step with so many requests, over as many steps as make REQUESTS_A_TURN."""
    steps = max(1, REQUESTS_A_TURN // at_once)
    come = [unlike(arrival(lambda _: None), number) for number in range(at_once)]
    began = time.process_time_ns()
    for _ in range(steps):
        await step(worker, come)
    return (time.process_time_ns() - began) / 1000 / steps


def unlike(one: Arrival, number: int) -> Arrival:
    """The same request with a routing key of its own, so that units fall to both variants."""
    return one._replace(body=one.body.replace(b"N00042", b"N%05d" % number))


async def step(worker: Worker, come: Sequence[Arrival]) -> None:
    """All of these at once; returns when each is answered."""
    answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = len(come)

    def send(reply: Reply) -> None:
        nonlocal left
        assert reply.status == 200, reply
        left -= 1
        if not left:
            answered.set_result(None)

    now_ns = time.monotonic_ns()
    worker.inference.answer([one._replace(asker=Asker(send), arrived_ns=now_ns) for one in come])
    await answered


if __name__ == "__main__":
    uvloop.run(main())
