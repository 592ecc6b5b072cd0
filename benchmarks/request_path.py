"""Where the microseconds of a request go, without HTTP: the whole path in one process, then each of its steps.

CPU time of the process, so other work on the machine disturbs it little. Run as `python -m benchmarks.request_path`.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.models import FEATURES, write_registry
from contracts.settings import Settings
from gateway.answer import choose
from gateway.attempt import Attempt
from gateway.call import Call
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival, Target
from gateway.edge.reply import Reply
from gateway.http import encode_answer
from gateway.models.inputs import Missing, check_names, fit, gather
from gateway.models.run import Ran, parts_of
from gateway.models.serving import Runner
from gateway.protocol.v2 import decode_infer
from gateway.records import Origin, Prefixes, compact_records
from gateway.worker import Worker, make_worker, spare_the_collector
from prediction_log.spool.segment import Kind, Record
from prediction_log.spool.writer import LogWriter, open_writer

BATCH = 32


class Asker:
    """Stands where a connection would, and passes the reply on."""

    client = "127.0.0.1"
    gone = False

    def __init__(self, send: Callable[[Reply], None]) -> None:
        self.send = send


async def main() -> None:
    """Print the cost of the whole path and of its steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mlp", choices=["mlp", "trees"])
    parser.add_argument("--requests", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_registry(Path(folder) / "models", arguments.model)
        settings = Settings(registry=f"{folder}/models", state_dir=Path(folder) / "state", log_disk_reserve_bytes=0)
        log = await open_writer(settings.state_dir / "spool", "worker-0", disk_reserve_bytes=0)
        worker = make_worker(settings, "worker-0", log, system_clock())
        await worker.models.start()
        spare_the_collector()
        shown = Table(title=f"{arguments.model}: CPU microseconds a request")
        shown.add_column("step")
        shown.add_column("us", justify="right")
        for at_once in (1, 8, 64):
            shown.add_row(f"whole path, {at_once} at once", f"{await whole(worker, at_once, arguments.requests):.1f}")
        for name, spent in (await steps(worker, log)).items():
            shown.add_row(f"  {name}", f"{spent:.2f}")
        Console().print(shown)
        await log.aclose()
        worker.close()


def arrival(send: Callable[[Reply], None]) -> Arrival:
    """One request as wrk sends it."""
    data = ", ".join(f"{0.1 * i:.1f}" for i in range(FEATURES))
    body = f'{{"parameters": {{"routing_key": "N00042"}}, "inputs": [{{"name": "x", "shape": [1, {FEATURES}], "datatype": "FP32", "data": [{data}]}}]}}'
    headers = [(b"host", b"t"), (b"content-type", b"application/json")]
    return Arrival(Target("m", None), headers, body.encode(), Asker(send), time.monotonic_ns())


async def whole(worker: Worker, at_once: int, requests: int) -> float:
    """CPU microseconds of one request through `Inference.answer`, with so many at once."""
    await rounds(worker, at_once, 10)
    turns = requests // at_once
    started = time.process_time_ns()
    await rounds(worker, at_once, turns)
    return (time.process_time_ns() - started) / 1000 / (turns * at_once)


async def rounds(worker: Worker, at_once: int, turns: int) -> None:
    """So many requests at once, again and again, each time when all are answered."""
    loop, one = asyncio.get_running_loop(), arrival(lambda _: None)
    for _ in range(turns):
        answered: asyncio.Future[None] = loop.create_future()
        left = [at_once]

        def send(reply: Reply, answered: "asyncio.Future[None]" = answered, left: list[int] = left) -> None:
            assert reply.status == 200, reply
            left[0] -= 1
            if not left[0]:
                answered.set_result(None)

        come = one._replace(asker=Asker(send), arrived_ns=time.monotonic_ns())
        worker.inference.answer([come] * at_once)
        await answered


async def steps(worker: Worker, log: LogWriter) -> dict[str, float]:
    """CPU microseconds of each step, for one request of a batch of `BATCH`."""
    one = arrival(lambda _: None)
    serving = worker.models.servings["m"]
    call: Call = worker.inference._call(one)  # noqa: SLF001  the benchmark looks inside
    request = call.request
    attempt = Attempt(call, serving, choose(serving, call), call.deadline_ns)
    runner: Runner = serving.runner(attempt.route.variant)
    signature = runner.session.signature
    fitted = fit(request, signature)
    assert not isinstance(fitted, Missing)
    batch, waited = [fitted] * BATCH, [0] * BATCH
    feeds = gather(batch, signature)
    arrays = runner.session.run(feeds)

    def cut() -> Any:
        return parts_of(signature, feeds, arrays, batch, waited, 0, "v")

    part = cut()[0]
    assert isinstance(part, Ran)
    attempt.end(part)
    prefix = Prefixes(Origin("w", "0")).of(attempt)
    (rest,) = compact_records([attempt], 0)
    answer = attempt.answer()
    return {
        "decode": spent(lambda: decode_infer(one.body)),
        "the call around it": spent(lambda: worker.inference._call(one)) - spent(lambda: decode_infer(one.body)),  # noqa: SLF001
        "check names": spent(lambda: check_names(request, serving.union)),
        "route": spent(lambda: choose(serving, call)),
        "fit": spent(lambda: fit(request, signature)),
        "gather (of a batch)": spent(lambda: gather(batch, signature)) / BATCH,
        "run (of a batch)": spent(lambda: runner.session.run(feeds)) / BATCH,
        "cut into parts (of a batch)": spent(cut) / BATCH,
        f"the record ({len(rest)} bytes, {len(prefix)} shared)": spent(lambda: compact_records([attempt], 0)),
        "count": spent(lambda: worker.meter.observe("m", attempt.route.variant, "ok", None)),
        "append and commit (of a batch)": await spent_waiting(lambda: append(log, (Kind.PREDICTION, prefix, rest)))
        / BATCH,
        "the answer": spent(attempt.answer),
        "encode the reply": spent(lambda: encode_answer(answer)),
    }


async def append(log: LogWriter, record: Record) -> None:
    """One batch of records, one commit."""
    stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    log.append_all([record] * BATCH, lambda _: stored.set_result(None))
    await stored


def spent(work: Callable[[], Any], turns: int = 3_000) -> float:
    """CPU microseconds of one turn."""
    started = time.process_time_ns()
    for _ in range(turns):
        work()
    return (time.process_time_ns() - started) / 1000 / turns


async def spent_waiting(work: Callable[[], Awaitable[Any]], turns: int = 500) -> float:
    """CPU microseconds of one awaited turn."""
    started = time.process_time_ns()
    for _ in range(turns):
        await work()
    return (time.process_time_ns() - started) / 1000 / turns


if __name__ == "__main__":
    uvloop.run(main())
