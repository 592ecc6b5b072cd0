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

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.models import FEATURES, write_registry
from contracts.settings import Settings
from contracts.wire import encode
from gateway.call import Call
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival, Target
from gateway.http import encode_answer
from gateway.models.batching import Ran
from gateway.models.inputs import Missing, check_names, features_of_batch, fit, gather
from gateway.models.outputs import split_outputs
from gateway.protocol.v2 import decode_infer
from gateway.records import Fate, Origin, record_of
from gateway.traffic.routing import route
from gateway.worker import Worker, make_worker, spare_the_collector
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

BATCH = 32


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


def arrival() -> Arrival:
    """One request as wrk sends it."""
    data = ", ".join(f"{0.1 * i:.1f}" for i in range(FEATURES))
    body = f'{{"parameters": {{"routing_key": "N00042"}}, "inputs": [{{"name": "x", "shape": [1, {FEATURES}], "datatype": "FP32", "data": [{data}]}}]}}'
    return Arrival(Target("m", None), [(b"host", b"t"), (b"content-type", b"application/json")], body.encode())


async def whole(worker: Worker, at_once: int, requests: int) -> float:
    """CPU microseconds of one request through `Inference.infer`, with so many under way."""
    one = arrival()

    async def client(turns: int) -> None:
        for _ in range(turns):
            reply = await worker.inference.infer(one)
            assert reply.status == 200, reply

    await client(100)
    started = time.process_time_ns()
    await asyncio.gather(*(client(requests // at_once) for _ in range(at_once)))
    return (time.process_time_ns() - started) / 1000 / (requests // at_once * at_once)


async def steps(worker: Worker, log: Any) -> dict[str, float]:
    """CPU microseconds of each step, for one request of a batch of `BATCH`."""
    one = arrival()
    serving = worker.models.servings["m"]
    runner = next(iter(serving.runners.values()))
    signature = runner.session.signature
    call: Call = worker.inference._call(one)  # noqa: SLF001  the benchmark looks inside
    request = call.request
    fitted = fit(request, signature)
    assert not isinstance(fitted, Missing)
    batch = [fitted] * BATCH
    feeds = gather(batch, signature)
    arrays = runner.session.run(feeds)
    rows = [1] * BATCH
    outputs = split_outputs(signature.outputs, arrays, rows, "v")[0]
    features = features_of_batch(feeds, batch, signature)[0]
    assert isinstance(outputs, dict)
    chosen = route(serving.points, call.unit, call.unit_source)
    fate = Fate(chosen, 1, [], Ran(outputs, features, 0, 0, BATCH), None, answered=True)
    record = record_of(call, fate, 1, Origin("w", "0"), 0)
    payload = encode(record)
    answer = await worker.gateway.answer(call)
    return {
        "decode": spent(lambda: decode_infer(one.body)),
        "the call around it": spent(lambda: worker.inference._call(one)) - spent(lambda: decode_infer(one.body)),  # noqa: SLF001
        "check names": spent(lambda: check_names(request, serving.union)),
        "route": spent(lambda: route(serving.points, call.unit, call.unit_source)),
        "fit": spent(lambda: fit(request, signature)),
        "gather (of a batch)": spent(lambda: gather(batch, signature)) / BATCH,
        "run (of a batch)": spent(lambda: runner.session.run(feeds)) / BATCH,
        "split outputs (of a batch)": spent(lambda: split_outputs(signature.outputs, arrays, rows, "v")) / BATCH,
        "features (of a batch)": spent(lambda: features_of_batch(feeds, batch, signature)) / BATCH,
        "record": spent(lambda: record_of(call, fate, 1, Origin("w", "0"), 0)),
        "count": spent(lambda: worker.meter.observe(record)),
        f"encode the record ({len(payload)} bytes)": spent(lambda: msgspec.json.encode(record)),
        "append and commit (of a batch)": await spent_waiting(lambda: append(log, payload)) / BATCH,
        "encode the reply": spent(lambda: encode_answer(answer)),
    }


async def append(log: Any, payload: bytes) -> None:
    """One batch of records, one commit."""
    await asyncio.gather(*[log.append(Kind.PREDICTION, payload) for _ in range(BATCH)])


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
