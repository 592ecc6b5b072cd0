"""What a logged record costs: records/s and microseconds per append, 1 KB records, both levels, several batch sizes.

Enters: nothing, or `--directory` on the disk to measure. Leaves: a table, or JSON lines with `--json`. A batch of n is n
tasks that append in the same tick and wait for their word, as n requests answered by one run do; the column `bare` is the
same without a log, so that `append` is the log's own share. Not measured: contention for the disk, and reading.
"""

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from prediction_log.spool.segment import Kind, Level
from prediction_log.spool.writer import LogWriter, open_writer

RECORD_BYTES = 1024
BATCHES = (1, 8, 64)
ROUND_SECONDS = 0.03
ROUNDS = 40


async def append(writer: LogWriter, payload: bytes) -> None:
    """One request's last step."""
    await writer.append(Kind.PREDICTION, payload)


async def wait(done: "asyncio.Future[None]") -> None:
    """The same step without a log."""
    await done


def resolve(waiters: "list[asyncio.Future[None]]") -> None:
    """What a tick does besides logging."""
    for waiter in waiters:
        waiter.set_result(None)


async def bare_round(batch: int) -> None:
    """One tick of `batch` requests that log nothing."""
    loop = asyncio.get_running_loop()
    waiters = [loop.create_future() for _ in range(batch)]
    loop.call_soon(resolve, waiters)
    await asyncio.gather(*(wait(waiter) for waiter in waiters))


async def logged_round(writer: LogWriter, batch: int, payload: bytes) -> None:
    """One tick of `batch` requests that log."""
    await asyncio.gather(*(append(writer, payload) for _ in range(batch)))


async def microseconds(writer: LogWriter | None, batch: int, payload: bytes) -> float:
    """Microseconds a record, wall time."""
    records, start = 0, time.perf_counter()
    while time.perf_counter() - start < ROUND_SECONDS:
        for _ in range(10):
            await (bare_round(batch) if writer is None else logged_round(writer, batch, payload))
        records += 10 * batch
    return (time.perf_counter() - start) / records * 1e6


async def measure(directory: Path, level: Level, batch: int) -> dict[str, object]:
    """One row of the table: the best of ROUNDS."""
    payload = os.urandom(RECORD_BYTES // 2).hex().encode()
    with tempfile.TemporaryDirectory(dir=directory) as spool:
        writer = await open_writer(Path(spool), "benchmark", durability=level)
        logged, bare = [], []
        for _ in range(ROUNDS):
            bare.append(await microseconds(None, batch, payload))
            logged.append(await microseconds(writer, batch, payload))
        await writer.aclose()
    us, floor = min(logged), min(bare)
    return {
        "level": level,
        "batch": batch,
        "records_per_second": round(1e6 / us),
        "us_per_record": round(us, 2),
        "bare_us": round(floor, 2),
        "append_us": round(us - floor, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=Path(), help="a directory on the disk to measure")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    arguments = parser.parse_args()
    table = Table("level", "batch", "records/s", "us a record", "bare", "append", title="1 KB records, one writer")
    for level in ("process", "power"):
        for batch in BATCHES:
            row = uvloop.run(measure(arguments.directory, level, batch))
            table.add_row(*(str(value) for value in row.values()))
            if arguments.json:
                print(json.dumps(row))
    if not arguments.json:
        Console().print(table)


if __name__ == "__main__":
    main()
