"""A fleet of monitor workers: real processes on a real Kafka, topics filled to the message, and an oracle that counts by itself."""

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.errors import StoreUnavailable, Unavailable
from contracts.prediction import Prediction
from contracts.settings import KafkaOptions, Settings, encode_settings
from contracts.wire import encode
from prediction_log.kafka import producer
from prediction_log.kafka.topics import ensure_topics, topics_of
from prediction_log.position import Entry
from prediction_log.spool.segment import Kind
from tests.monitor.core import conftest as counting
from tests.services.kafka_fill import Filler
from tests.services.ports import free_ports

HOUSE = Path(__file__).parents[3]
PARTITIONS = 4
PATIENCE_SECONDS = 100.0
STEADY_MS = 30_000
"""The session of a worker that nobody kills or holds: the group waits for it when the machine stands still for a while."""
QUICK_MS = 3_000
"""The session of one that is killed or held: the others take over soon."""
LOG_A, LOG_B, LOG_C = (f"{number:032x}" for number in (0xA, 0xB, 0xC))


class Worker:
    """One process; `state_dir` is its own."""

    def __init__(self, settings: Settings, fault: str, session_ms: int) -> None:
        self.settings = settings
        self.session_ms = session_ms
        self.state_dir = settings.state_dir
        self.view = settings.state_dir / "monitor" / "view.sqlite"
        self.process = None
        self.start(fault)

    def start(self, fault: str = "") -> None:
        """Start, or start again."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            str(HOUSE / "tests/monitor/fleet/worker.py"),
            encode_settings(self.settings).decode(),
            fault,
            str(self.session_ms),
        ]
        environment = {**os.environ, "PYTHONPATH": str(HOUSE)}
        with (self.state_dir / "worker.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=HOUSE, env=environment, stdout=log, stderr=log)

    def send(self, number: signal.Signals) -> None:
        """A signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Without any warning."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """In order; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_SECONDS)

    def said(self) -> str:
        """Its log."""
        return (self.state_dir / "worker.log").read_text()

    def get(self, path: str) -> httpx.Response:
        """Ask it by HTTP."""
        address = f"http://127.0.0.1:{self.settings.monitor_port}"
        return httpx.get(f"{address}{path}", timeout=PATIENCE_SECONDS, trust_env=False)


class Fleet:
    """Workers on topics of their own; records come from three logs, and the oracle counts them beside."""

    def __init__(self, address: str, prefix: str, folder: Path) -> None:
        self.address = address
        self.options = KafkaOptions(prefix=prefix, partitions=PARTITIONS)
        self.topics = topics_of(prefix)
        self.entries: list[Entry] = []
        self.workers: list[Worker] = []
        self.references = {("m", version): counting.make_reference("binary", version) for version in ("1", "2")}
        self._filler = Filler(self.address, self.options)
        self._folder = folder
        self._seqs = Counter()
        self._counted: tuple[list[Entry], dict] = ([], {})

    def worker(self, name: str, fault: str = "", *, session_ms: int = STEADY_MS, **given) -> Worker:
        """Start one."""
        settings = Settings(
            state_dir=self._folder / name,
            kafka=self.address,
            kafka_options=self.options,
            monitor_port=free_ports(1)[0],
            monitor_tick_records_max=200,
            label_horizon_days=counting.HORIZON_DAYS,
            drain_timeout_seconds=10,
            **given,
        )
        self.workers.append(Worker(settings, fault, session_ms))
        return self.workers[-1]

    def filler(self) -> Filler:
        """The way into the topics; `async with` it, as often as need be."""
        return self._filler

    async def fill(self, filler: Filler, log_id: str, records, **how) -> None:
        """Send records, and remember them for the oracle."""
        await filler.fill(log_id, [self.remember(log_id, record) for record in records], **how)

    def remember(self, log_id: str, record) -> tuple[Kind, bytes]:
        """A record that the oracle is to count."""
        self._seqs[log_id] += 1
        kind = Kind.PREDICTION if isinstance(record, Prediction) else Kind.LABEL
        self.entries.append(Entry(log_id, self._seqs[log_id], kind, encode(record)))
        return kind, encode(record)

    def oracle(self) -> dict:
        """The counts of one pass over everything that was sent; seconds of work, done once for the same entries."""
        if self._counted[0] != self.entries:
            self._counted = list(self.entries), counting.oracle(self.entries, self.references)
        return self._counted[1]

    def counts(self, worker: Worker) -> dict | None:
        """What a worker answers from; None as long as it does not know."""
        try:
            return counting.read_counts(worker.view)
        except StoreUnavailable:
            return None

    def wait_for(self, what, holds, seconds=PATIENCE_SECONDS):
        """The first value of `what()` for which `holds`; fails with the logs of the workers."""
        end = time.monotonic() + seconds
        while True:
            value = what()
            if holds(value):
                return value
            if time.monotonic() > end:
                told = "\n".join(f"--- {one.state_dir.name}\n{one.said()[-4000:]}" for one in self.workers)
                raise AssertionError(f"never came: {str(value)[:1500]}\n{told}")
            time.sleep(0.1)

    def counted_as_the_oracle(self, worker: Worker) -> None:
        """Wait until a worker answers exactly what the oracle counts, and see that it stays so."""
        expected = self.oracle()
        self.wait_for(lambda: difference(self.counts(worker), expected), lambda odd: odd == {})
        time.sleep(1.5)  # twice what a publication takes: nothing may be counted on top

        assert difference(self.counts(worker), expected) == {}

    def status(self, worker: Worker) -> dict:
        """`GET /status`; empty while it does not answer."""
        try:
            response = worker.get("/status")
        except httpx.TransportError:
            return {}
        return response.json() if response.status_code == 200 else {}

    def partitions(self, worker: Worker) -> list[int]:
        """The partitions that a worker counts just now; none while it does not answer."""
        files = list((worker.state_dir / "monitors").glob("*.json"))
        try:
            return msgspec.json.decode(files[0].read_bytes())["partitions"] if files else []
        except FileNotFoundError:
            return []

    def read_up_to(self, worker: Worker, partition: int, topic: str) -> int:
        """The offset that a partition's state has saved; 0 for none."""
        path = worker.state_dir / "monitor" / str(partition) / "monitor.sqlite"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading:
            row = reading.execute("SELECT content FROM position WHERE name = ?", (topic,)).fetchone()
        return int(row[0]) if row and row[0] else 0

    def ready(self, worker: Worker) -> dict:
        """`GET /health/ready`; empty while it does not answer."""
        try:
            return worker.get("/health/ready").json()
        except httpx.TransportError:
            return {}

    async def dead_letters(self) -> list:
        """Everything in the topic of dead letters."""
        return await read_all(self.address, self.topics.dead, 1)


def difference(counts, expected) -> dict:
    """Where they differ: (counted, expected) by cell."""
    if counts is None:
        return {"nothing yet": None}
    keys = counts.keys() | expected.keys()
    return {
        key: (counts.get(key, 0), expected.get(key, 0)) for key in keys if counts.get(key, 0) != expected.get(key, 0)
    }


async def read_all(address: str, topic: str, partitions: int) -> list:
    """All committed messages of a topic."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, isolation_level="read_committed", enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        found = []
        while any([await consumer.position(place) < ends[place] for place in places]):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await consumer.stop()


class History:
    """Predictions and their labels, from dice: also corrected, doubled and taken back ones."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._number = 0

    def predictions(self, amount: int) -> list:
        """The next ones."""
        return [self._prediction() for _ in range(amount)]

    def labels(self, of) -> list:
        """About a label each, in any order; some twice, some corrected, some taken back, a few too late."""
        dice, made = self._dice, []
        for one in of:
            if dice.random() < 0.15:
                continue
            first = counting.make_label(one.prediction_id, dice.choice([0, 1]))
            made.append(first)
            chance = dice.random()
            later = {"observed_us": first.observed_us + 60_000_000, "received_us": first.received_us + 60_000_000}
            if chance < 0.1:
                made.append(first)
            elif chance < 0.2:
                made.append(counting.make_label(one.prediction_id, 1 - first.label, **later))
            elif chance < 0.25:
                made.append(counting.make_label(one.prediction_id, first.label, op="retract", **later))
            elif chance < 0.3:
                late = first.observed_us + int(3 * counting.HORIZON_DAYS * counting.DAY_US)
                made[-1] = counting.make_label(one.prediction_id, 1, observed_us=late, received_us=late)
        dice.shuffle(made)
        return made

    def _prediction(self):
        dice, number = self._dice, self._number
        self._number += 1
        p = round(dice.random(), 3)
        return counting.make_prediction(
            counting.uuid7(counting.T0 // 1000 + number, dice.getrandbits(60)),
            event_us=counting.T0 + number * 1_000_000,
            version=dice.choice(["1", "2"]),
            features={"x": [dice.choice([-2.0, 0.0, 0.05, 3.0, None])], "c": [dice.choice(["a", "7", "new", None])]},
            outputs=counting.make_output([p], 1),
        )


@pytest.fixture
def history() -> History:
    """Randomness that repeats."""
    return History(random.Random(20_130_101))


def make_topics(address: str, options: KafkaOptions) -> None:
    """As a worker makes them: asked again where Kafka takes its time."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            asyncio.run(ensure_topics(address, options, counting.HORIZON_DAYS))
        except Unavailable:
            if time.monotonic() > end:
                raise
        else:
            return


@pytest.fixture(autouse=True)
def patient_producers(monkeypatch):
    """A producer of this process may take its time: nobody here would ask for another one, as a worker does."""
    monkeypatch.setattr(producer, "OPEN_SECONDS_MAX", PATIENCE_SECONDS)


@pytest.fixture
def fleet(kafka, tmp_path):
    """Empty topics, no worker yet."""
    one = Fleet(kafka.address, kafka.prefix(), tmp_path)
    make_topics(one.address, one.options)
    yield one
    for worker in one.workers:
        worker.process.kill()
        worker.process.wait()
