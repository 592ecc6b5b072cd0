"""Predictions per second that one core of the monitor counts, end to end: real spool, decode, fold, join, SQLite on disk.

Run: python benchmarks/monitor_fold.py [predictions]. Records have 30 features (20 numeric over 240 bins, 10 categorical) and
a binary score over 1000 bins, one row each, about 1.6 KB of JSON. Measured is the time inside `Consumer.tick`, the spool in
the page cache. Not measured: writing the spool, the HTTP side, reports.
"""

import asyncio
import random
import sys
import tempfile
import time
import uuid
from pathlib import Path

import numpy as np

from contracts.label import Label
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.reference import CategoricalBins, Feature, NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import Contract, encode
from monitor.catalogue import Catalogue
from monitor.consume import Consumer
from monitor.layout import default_prediction_bins
from monitor.queries import open_reader
from prediction_log.reader import SpoolReader
from prediction_log.segment import Kind
from prediction_log.writer import open_writer

NUMERIC = tuple(f"numeric_{i:02d}" for i in range(20))
CATEGORICAL = tuple(f"category_{i:02d}" for i in range(10))
CATEGORIES = tuple(f"value-{i}" for i in range(12))
TASK = Task(kind="binary", output="probabilities")
START_US = 1_760_000_000_000_000
DIGEST = "d" * 64
RECORDS_MAX = 5_000


def reference(slices: int) -> Reference:
    """A reference of the benchmark's features; each of the `slices` is one value of one category."""
    edges = tuple(np.quantile(np.random.default_rng(0).normal(size=50_000), np.linspace(0, 1, 240)).tolist())
    numeric = NumericBins(edges=edges, display=(), counts=(1,) * 244, mean=0.0, std=1.0)
    known = CATEGORIES[:10]
    categorical = CategoricalBins(values=known, tail=CATEGORIES[10:11], counts=(1,) * 13)
    features = [Feature(name=name, bins=numeric) for name in NUMERIC]
    features += [Feature(name=name, bins=categorical) for name in CATEGORICAL]
    return Reference(
        model="bench",
        version="1",
        rows=1000,
        task=TASK,
        features=tuple(features),
        prediction=default_prediction_bins(TASK),
        slices=tuple(Slice(feature=name, values=CATEGORIES[:4]) for name in CATEGORICAL[:slices]),
        hash=f"{slices}",
    )


def prediction(dice: random.Random, number: int) -> Prediction:
    """One answered request; a thousand of them make a second of event time."""
    score = dice.random()
    now_us = START_US + number * 1_000
    return Prediction(
        prediction_id=str(uuid.UUID(int=now_us // 1000 << 80 | 7 << 76 | 2 << 62 | dice.getrandbits(60))),
        request_id=None,
        received_us=now_us,
        event_us=now_us,
        model="bench",
        version="1",
        digest=DIGEST,
        variant="champion",
        role="champion",
        answered=True,
        revision=7,
        assignment=Assignment(
            unit_hash="0123456789abcdef",
            unit_source="routing_key",
            salt="saltsaltsaltsalt",
            share=0.9,
            propensity=0.9,
            reason="hash",
        ),
        rows=1,
        features={name: [float(np.float32(dice.gauss(0, 1)))] for name in NUMERIC}
        | {name: [dice.choice(CATEGORIES)] for name in CATEGORICAL},
        extra_features=[],
        outputs={"probabilities": Output(datatype="FP32", shape=[1, 2], data=[1.0 - score, score])},
        status="ok",
        error_code=None,
        error=None,
        fallback_from=None,
        latency=Latency(queue_us=10, run_us=120, total_us=400),
        batch_rows=4,
        worker="worker-0",
        gateway_version="0.1.0",
    )


def label(dice: random.Random, of: Prediction) -> Label:
    """The truth of one prediction, a minute later."""
    observed_us = of.event_us + 60_000_000
    return Label(
        prediction_id=of.prediction_id,
        label=int(dice.random() < 0.3),
        observed_us=observed_us,
        received_us=observed_us,
    )


async def write(spool: Path, kind: Kind, records: list[Contract]) -> None:
    """Put records into a spool of one log."""
    writer = await open_writer(spool, "worker-0")
    for start in range(0, len(records), 500):
        await asyncio.gather(*(writer.append(kind, encode(record)) for record in records[start : start + 500]))
    await writer.aclose()


def consume(state: Path, spool: Path, slices: int) -> tuple[int, float]:
    """Records counted and seconds inside ticks, until the spool is read to its end."""
    catalogue = Catalogue(lambda _model, _version: reference(slices), lambda _model, _version: None, refresh_us=10**12)
    consumer = Consumer(state, lambda at: SpoolReader(spool, at), catalogue, records_max=RECORDS_MAX, horizon_days=30.0)
    records, started = 0, time.perf_counter()
    while True:
        tick = consumer.tick(START_US)
        records += tick.predictions + tick.labels
        if tick.caught_up:
            break
    elapsed = time.perf_counter() - started
    consumer.close()
    return records, elapsed


def measure(directory: Path, slices: int, predictions: list[Contract], labels: list[Contract]) -> None:
    """One run: predictions first, then all their labels."""
    state, spool = directory / f"{slices}" / "monitor.sqlite", directory / f"{slices}" / "spool"
    asyncio.run(write(spool, Kind.PREDICTION, predictions))
    records, seconds = consume(state, spool, slices)
    print(f"{slices} slice features: {records / seconds:10,.0f} predictions/s ({records:,} in {seconds:.2f} s)")
    asyncio.run(write(spool, Kind.LABEL, labels))
    records, seconds = consume(state, spool, slices)
    print(f"{slices} slice features: {records / seconds:10,.0f} labels/s      ({records:,} in {seconds:.2f} s)")
    size = sum(path.stat().st_size for path in state.parent.glob("monitor.sqlite*"))
    reader = open_reader(state)
    started = time.perf_counter()
    vector = reader.merged(reader.groups()[0])
    took = time.perf_counter() - started
    layout = reader.generation(reader.groups()[0]).layout
    rows, labelled = (int(vector[layout.sections[name].start]) for name in ("rows", "labelled"))
    print(
        f"{slices} slice features: {rows:,} rows, {labelled:,} labelled; {size / 2**20:.0f} MB of state, "
        f"one merged vector in {took * 1e3:.1f} ms"
    )
    reader.close()


def main() -> None:
    """Print predictions and labels per second, with 0 and with 3 slice features of 4 values each."""
    amount = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    dice = random.Random(1)
    predictions = [prediction(dice, number) for number in range(amount)]
    labels = [label(dice, of) for of in predictions]
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        for slices in (0, 3):
            measure(Path(directory), slices, list(predictions), list(labels))


if __name__ == "__main__":
    main()
