"""Predictions per second that one core of a fleet's monitor counts from Kafka: fetch, decode, fold, join, save, publish.

Run: python -m benchmarks.monitor_kafka [predictions] [partitions] [--address HOST:PORT]. Without an address it starts a
broker of its own. Records are those of `monitor_fold.py`: 30 features, about 1.6 KB of JSON, zstd in Kafka; then a label for
each. One worker owns all partitions. Measured is the CPU time of this process, all its threads, while the topics are read
to their end; the broker's is not in it. Beside it stands the fold alone on the same records in the same run, from memory:
their ratio is what survives a change of machine.
"""

import argparse
import asyncio
import contextlib
import json
import random
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.monitor_fold import START_US, label, prediction, reference
from contracts.settings import KafkaOptions, Settings
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer, Reading
from monitor.fleet.worker import FleetMonitor
from prediction_log.kafka.topics import ensure_topics
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.services.kafka import cluster
from tests.services.kafka_fill import Filler

POOL = 2_000
"""Different records; the others are copies under ids and times of their own."""
RECORDS_AT_ONCE = 5_000
LOGS = 8
PATIENCE_SECONDS = 300.0

Records = list[tuple[Kind, bytes]]


class Measured(NamedTuple):
    """Records counted, CPU and wall seconds."""

    records: int
    cpu: float
    wall: float

    def per_second(self) -> int:
        """Of CPU time."""
        return round(self.records / self.cpu)


def records(amount: int, kind: Kind) -> Iterator[Records]:
    """Predictions, or the label of each, in steps; made by putting other ids and times into a pool of real ones."""
    dice = random.Random(1)
    originals = [prediction(dice, number) for number in range(min(POOL, amount))]
    pool = [encode(one if kind is Kind.PREDICTION else label(dice, one)) for one in originals]
    shift_us = 60_000_000 if kind is Kind.LABEL else 0
    dice = random.Random(2)
    for start in range(0, amount, RECORDS_AT_ONCE):
        made = []
        for number in range(start, min(amount, start + RECORDS_AT_ONCE)):
            old, now_us = originals[number % len(pool)], START_US + number * 1_000
            new = str(uuid.UUID(int=now_us // 1000 << 80 | 7 << 76 | 2 << 62 | dice.getrandbits(60)))
            payload = pool[number % len(pool)].replace(old.prediction_id.encode(), new.encode())
            times = str(old.event_us + shift_us).encode(), str(now_us + shift_us).encode()
            made.append((kind, payload.replace(*times)))
        yield made


async def fill(address: str, options: KafkaOptions, amount: int, kinds: Sequence[Kind] = (Kind.PREDICTION,)) -> None:
    """Fill the topics from a few logs."""
    await ensure_topics(address, options, 30.0)
    async with Filler(address, options) as filler:
        for kind in kinds:
            for number, some in enumerate(records(amount, kind)):
                await filler.fill(f"{number % LOGS:032x}", some)


async def consume(settings: Settings, amount: int) -> Measured:
    """Run a worker until it has counted so many records."""
    catalogue = Catalogue(lambda *_: reference(0), lambda *_: None, refresh_us=10**12)
    monitor = FleetMonitor(settings, catalogue, lambda: time.time_ns() // 1000)
    stop = asyncio.Event()
    cpu, wall, before = time.process_time(), time.perf_counter(), -1
    running = asyncio.create_task(monitor.run(stop))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (done := sum(one.records for one in monitor.group.partitions)) < amount:
            if before <= 0 < done:  # joining the group and opening the states is not what is measured
                cpu, wall, before = time.process_time(), time.perf_counter(), done
            await asyncio.sleep(0.02)
    measured = Measured(amount - max(before, 0), time.process_time() - cpu, time.perf_counter() - wall)
    stop.set()
    await running
    return measured


def fold_alone(directory: Path, amount: int, kind: Kind) -> Measured:
    """The same records through a consumer, from memory."""
    catalogue = Catalogue(lambda *_: reference(0), lambda *_: None, refresh_us=10**12)
    consumer = Consumer(directory / "alone" / "monitor.sqlite", catalogue, horizon_days=30.0)
    consumer.open()
    seq, cpu, wall = 0, 0.0, 0.0
    for some in records(amount, kind):
        entries = [Entry("p:log", seq + place, own, payload) for place, (own, payload) in enumerate(some, 1)]
        seq += len(entries)
        began, began_wall = time.process_time(), time.perf_counter()
        consumer.take(Reading(entries, {}, [], caught_up=False), START_US)
        cpu, wall = cpu + time.process_time() - began, wall + time.perf_counter() - began_wall
    consumer.close()
    return Measured(seq, cpu, wall)


@contextlib.contextmanager
def broker(address: str | None, directory: Path) -> Iterator[str]:
    """A broker of our own where no address is given."""
    if address is not None:
        yield address
        return
    one = cluster(directory)
    one.start(quick=False)
    try:
        yield one.address
    finally:
        one.stop()


async def measure(address: str, directory: Path, amount: int, partitions: int) -> dict[str, Any]:
    """Predictions, then labels."""
    options = KafkaOptions(prefix=f"bench{uuid.uuid4().hex[:8]}", partitions=partitions)
    settings = Settings(state_dir=directory / "state", kafka=address, kafka_options=options)
    await fill(address, options, amount)
    predictions = await consume(settings, amount)
    alone = fold_alone(directory, amount, Kind.PREDICTION)
    await fill(address, options, amount, (Kind.LABEL,))
    labels = await consume(settings, amount)
    return {
        "predictions_per_cpu_second": predictions.per_second(),
        "predictions_per_second": round(predictions.records / predictions.wall),
        "labels_per_cpu_second": labels.per_second(),
        "fold_alone_per_cpu_second": alone.per_second(),
        "share_of_the_fold_alone": round(predictions.per_second() / alone.per_second(), 3),
        "predictions": amount,
        "partitions": partitions,
    }


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("predictions", nargs="?", type=int, default=150_000)
    parser.add_argument("partitions", nargs="?", type=int, default=4)
    parser.add_argument("--address")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, broker(arguments.address, Path(folder)) as address:
        print(
            json.dumps(
                asyncio.run(measure(address, Path(folder), arguments.predictions, arguments.partitions)), indent=1
            )
        )


if __name__ == "__main__":
    main()
