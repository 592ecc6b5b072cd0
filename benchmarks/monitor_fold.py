"""Predictions per second that one core of the monitor counts, end to end: real spool, decode, fold, join, SQLite on disk.

Run: python -m benchmarks.monitor_fold [predictions] [--json]. Records have 30 features (20 numeric over 240 bins, 10
categorical) and a binary score over 1000 bins, one row each: 1.1 KB in the compact form that gateways write, about 1.6 KB of
JSON with --json. Measured is the CPU time inside `SpoolCounter.tick`, so that
neighbours on the machine matter less; the spool is in the page cache. Beside it stands what the bare typed decoding of the
same records as JSON takes in the same run: their ratio is what survives a change of machine. Not measured: writing the spool,
the HTTP side, reports.
"""

import argparse
import asyncio
import gc
import random
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.compact_records import payload_of
from contracts.label import Label
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.reference import CategoricalBins, Feature, NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import DAY_US, Consumer
from monitor.counts.layout import default_prediction_bins
from monitor.counts.panes import ALL, PANE_US
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from monitor.pages.queries import open_reader
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

NUMERIC = tuple(f"numeric_{i:02d}" for i in range(20))
CATEGORICAL = tuple(f"category_{i:02d}" for i in range(10))
CATEGORIES = tuple(f"value-{i}" for i in range(12))
TASK = Task(kind="binary", output="probabilities")
START_US = 1_760_000_000_000_000
DIGEST = "d" * 64
RECORDS_MAX = 5_000
BATCH_RECORDS = 64
"""Records of one batch in the spool: what a busy worker logs in one turn of its event loop."""


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


async def write(spool: Path, kind: Kind, payloads: Sequence[bytes]) -> None:
    """Put records into a spool of one log."""
    writer = await open_writer(spool, "worker-0")
    for start in range(0, len(payloads), BATCH_RECORDS):
        batch = payloads[start : start + BATCH_RECORDS]
        await asyncio.gather(*(writer.append(kind, payload) for payload in batch))
    await writer.aclose()


class Consumed(NamedTuple):
    """Records counted, CPU and wall seconds inside ticks."""

    records: int
    cpu: float
    wall: float

    def __str__(self) -> str:
        return f"{self.records / self.cpu:8,.0f} a second ({self.records:,} in {self.cpu:.2f} s CPU, {self.wall:.2f} s wall)"


def consume(state: Path, spool: Path, slices: int) -> Consumed:
    """Tick until the spool is read to its end."""
    catalogue = Catalogue(lambda *_: reference(slices), lambda *_: None, refresh_us=10**12)
    source = SpoolSource(lambda at: SpoolReader(spool, at))
    counter = SpoolCounter(source, Consumer(state, catalogue, horizon_days=30.0), records_max=RECORDS_MAX)
    records, cpu, wall = 0, time.process_time(), time.perf_counter()
    while True:
        tick = counter.tick(START_US)
        records += tick.predictions + tick.labels
        if tick.caught_up:
            break
    consumed = Consumed(records, time.process_time() - cpu, time.perf_counter() - wall)
    counter.close()
    return consumed


def decode_alone(predictions: Sequence[Prediction]) -> Consumed:
    """The typed decoding of the same payloads and nothing else, in chunks that fit the cache, without the collector."""
    decode = msgspec.json.Decoder(Prediction).decode
    payloads = [encode(one) for one in predictions]
    gc.disable()
    cpu, wall = time.process_time(), time.perf_counter()
    for start in range(0, len(payloads), 150):
        list(map(decode, payloads[start : start + 150]))
    decoded = Consumed(len(payloads), time.process_time() - cpu, time.perf_counter() - wall)
    gc.enable()
    return decoded


def measure(directory: Path, slices: int, predictions: Sequence[bytes], labels: Sequence[bytes]) -> None:
    """One run: predictions first, then all their labels; both as payloads."""
    state, spool = directory / "monitor.sqlite", directory / "spool"
    asyncio.run(write(spool, Kind.PREDICTION, predictions))
    print(f"{slices} slice features, predictions: {consume(state, spool, slices)}")
    asyncio.run(write(spool, Kind.LABEL, labels))
    print(f"{slices} slice features, labels:      {consume(state, spool, slices)}")
    size = sum(path.stat().st_size for path in directory.glob("monitor.sqlite*"))
    reader = open_reader(state)
    vector = reader.merged(reader.groups()[0])
    layout = reader.generation(reader.groups()[0]).layout
    rows, labelled = (int(vector[layout.sections[name].start]) for name in ("rows", "labelled"))
    assert rows == labelled == len(predictions)
    print(f"{slices} slice features, state:       {size / 2**20:.0f} MB for {rows:,} rows, all labelled")
    reader.close()


def ask(directory: Path, predictions: Sequence[Prediction], *, as_json: bool) -> None:
    """A replay that puts every prediction into a pane of its own: how long questions over all of them take."""
    state, spool = directory / "monitor.sqlite", directory / "spool"
    spread = [
        msgspec.structs.replace(one, event_us=START_US + number * PANE_US) for number, one in enumerate(predictions)
    ]
    asyncio.run(write(spool, Kind.PREDICTION, [payload_of(one, as_json=as_json) for one in spread]))
    print(f"one prediction a pane:         {consume(state, spool, 0)}")
    print(f"                               {state.stat().st_size / 2**20:.0f} MB of state for {len(spread):,} panes")
    reader = open_reader(state)
    group = reader.groups()[0]
    for question, bucket_us in (("one vector", None), ("by day", DAY_US), ("by half day, pane by pane", DAY_US // 2)):
        started = time.perf_counter()
        found = 1 if bucket_us is None else len(reader.series(group, ALL, None, None, bucket_us))
        reader.merged(group)
        print(
            f"                               {question}: {(time.perf_counter() - started) * 1e3:.0f} ms ({found} vectors)"
        )
    reader.close()


def main() -> None:
    """Print predictions and labels per second, with 0 and with 3 slice features of 4 values each, and query times."""
    parser = argparse.ArgumentParser()
    parser.add_argument("predictions", nargs="?", type=int, default=80_000)
    parser.add_argument("--json", action="store_true", help="write JSON into the spool")
    arguments = parser.parse_args()
    dice = random.Random(1)
    predictions = [prediction(dice, number) for number in range(arguments.predictions)]
    labels = [encode(label(dice, of)) for of in predictions]
    payloads = [payload_of(one, as_json=arguments.json) for one in predictions]
    print(f"decoding JSON alone:           {decode_alone(predictions)}")
    for slices in (0, 3):
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
            measure(Path(directory), slices, payloads, labels)
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        ask(Path(directory), predictions, as_json=arguments.json)


if __name__ == "__main__":
    main()
