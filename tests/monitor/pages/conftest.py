"""A little history to show: one model, three versions, ten weeks of traffic, drift, labels and a hostile name, all counted
by the real monitor from a real log on disk.
"""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from contracts.label import Label
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.task import Slice, Task
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from monitor.counts.state import FILE_NAME
from monitor.measures.policy import MonitorPolicy
from monitor.pages.answers import Answers
from monitor.pages.http import MonitorHttp
from monitor.references.reference_building import Sample, build_reference
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

MODEL = "flight-delay"
DAY_US = 86_400_000_000
APRIL_US = 1_364_774_400_000_000
NOW_US = APRIL_US + 80 * DAY_US
DAYS = 70
PER_DAY = 40
TASK = Task(kind="binary", output="p")
ORIGINS = ["EWR", "JFK", "LGA"]
HOSTILE = '<script>alert("x")</script>'
"""A feature's name: what others name must never become markup."""
VARIANTS = (("1", "champion", 0.0), ("2", "canary-2", 0.6), ("3", "shadow-3", 1.2))
"""(version, variant, skill)."""


class Flights:
    """Rows as a request has them, with the truth and what a version of some skill says."""

    def __init__(self, seed):
        self._random = np.random.default_rng(seed)

    def rows(self, n, *, shift=0.0, unseen=0.0, missing=0.0):
        """(features by name, truth as 0 or 1); `shift` moves the distance, `unseen` and `missing` are rates."""
        random = self._random
        origin = random.integers(0, 3, n)
        distance = random.lognormal(6.5 + shift, 0.6, n).round(1)
        hour = random.integers(5, 23, n).astype(float)
        features = {
            "origin": [ORIGINS[i] if random.random() >= unseen else "XXX" for i in origin],
            "distance": distance.tolist(),
            "hour": [None if random.random() < missing else value for value in hour.tolist()],
            HOSTILE: random.normal(size=n).round(3).tolist(),
        }
        risk = 1 / (1 + np.exp(-(-1.8 + 0.12 * (hour - 12) + 0.3 * (origin == 0))))
        return features, risk, (random.random(n) < risk).astype(int)

    def scores(self, risk, skill):
        """Probabilities that follow the risk the better the greater the skill."""
        noise = self._random.normal(scale=1.4 - skill, size=len(risk))
        return 1 / (1 + np.exp(-(np.log(risk / (1 - risk)) + noise)))


def make_reference(version, skill):
    flights = Flights(int(version))
    columns, risk, truth = flights.rows(4000)
    cuts = [Slice(feature="origin", values=tuple(ORIGINS))]
    sample = Sample(columns, flights.scores(risk, skill), truth.tolist())
    return build_reference(MODEL, version, sample, TASK, slices=cuts)


def prediction_id(number):
    text = f"{(APRIL_US // 1000 + number) << 80 | 7 << 76 | 2 << 62 | number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def make_prediction(number, version, variant, features, score, **given):
    """One record of one row."""
    role = "champion" if variant == "champion" else "shadow" if variant.startswith("shadow") else "challenger"
    event_us = given.pop("event_us", APRIL_US)
    defaults = {
        "request_id": None,
        "received_us": event_us,
        "event_us": event_us,
        "model": MODEL,
        "digest": f"d{version}",
        "role": role,
        "answered": role != "shadow",
        "revision": 1,
        "assignment": Assignment(
            unit_hash="00", unit_source="request_id", salt="s", share=1.0, propensity=1.0, reason="hash"
        ),
        "rows": 1,
        "features": {name: [value] for name, value in features.items()},
        "extra_features": [],
        "outputs": {"p": Output(datatype="FP64", shape=[1, 1], data=[score])},
        "status": "ok",
        "error_code": None,
        "error": None,
        "fallback_from": None,
        "latency": Latency(queue_us=0, run_us=1, total_us=2),
        "batch_rows": 1,
        "worker": "w",
        "gateway_version": "0",
    }
    return Prediction(prediction_id=prediction_id(number), version=version, variant=variant, **(defaults | given))


def make_history(days=DAYS, per_day=PER_DAY):
    """Ten weeks: the distance drifts slowly, an unknown origin and missing hours turn up, most labels come a day later."""
    flights, number, records = Flights(2013), 0, []
    for day in range(days):
        columns, risk, truth = flights.rows(per_day, shift=0.9 * day / days, unseen=0.05, missing=0.04)
        by_skill = {skill: flights.scores(risk, skill) for _, _, skill in VARIANTS}
        for row in range(per_day):
            number += 1
            event_us = APRIL_US + day * DAY_US + row * DAY_US // per_day
            features = {name: values[row] for name, values in columns.items()}
            asked = [VARIANTS[1 if row % 5 == 0 else 0], VARIANTS[2]]
            records += [
                make_prediction(number, version, variant, features, float(by_skill[skill][row]), event_us=event_us)
                for version, variant, skill in asked
            ]
            if row % 10:
                records.append(make_label(number, int(truth[row]), event_us + DAY_US))
    records += [
        make_prediction(number + i, "1", "champion", {}, 0.5, event_us=event_us, status="error", outputs={}, rows=1)
        for i in range(1, 30)
    ]
    return records


def make_label(number, label, observed_us, **given):
    return Label(
        prediction_id=prediction_id(number), label=label, observed_us=observed_us, received_us=observed_us, **given
    )


async def write_log(spool, records, slot="worker-0"):
    """Records into a log on disk, as a worker writes them."""
    log = await open_writer(spool, slot, disk_reserve_bytes=0)
    for record in records:
        await log.append(Kind.PREDICTION if isinstance(record, Prediction) else Kind.LABEL, encode(record))
    await log.aclose()


def count_log(state_dir, references):
    """Everything in the log, counted."""
    catalogue = Catalogue(lambda model, version: references.get((model, version)), lambda *_: None, refresh_us=0)
    source = SpoolSource(lambda positions: SpoolReader(state_dir / "spool", positions))
    counter = SpoolCounter(source, Consumer(state_dir / FILE_NAME, catalogue, horizon_days=30.0), records_max=5000)
    while not counter.tick(NOW_US).caught_up:
        pass
    counter.close()


def make_answers(state_dir):
    return Answers(state_dir / FILE_NAME, state_dir / "spool", MonitorPolicy(), lambda: NOW_US)


class Browser:
    """Asks an app without a socket, on an event loop that lives as long as the browser."""

    def __init__(self, app, *, raise_app_exceptions=True):
        self._loop = asyncio.new_event_loop()
        transport = httpx.ASGITransport(app, raise_app_exceptions=raise_app_exceptions)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://monitor")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def get(self, path, params=None):
        return self._loop.run_until_complete(self._client.get(path, params=params))

    def post(self, path):
        return self._loop.run_until_complete(self._client.post(path))


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def browse(answers, clock, not_ready=lambda: None, **options):
    """A browser on the monitor's app."""
    return Browser(MonitorHttp(answers, not_ready, clock).app(), **options)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def references():
    """The references of the three versions."""
    return {(MODEL, version): make_reference(version, skill) for version, _, skill in VARIANTS}


@pytest.fixture(scope="session")
def history_dir(tmp_path_factory, references) -> Path:
    """A state directory with the history in it."""
    state_dir = tmp_path_factory.mktemp("history")
    asyncio.run(write_log(state_dir / "spool", make_history()))
    count_log(state_dir, references)
    return state_dir


@pytest.fixture
def answers(history_dir):
    """Answers from the history."""
    made = make_answers(history_dir)
    yield made
    made.close()


@pytest.fixture(scope="session")
def world():
    """Everything above, for tests that are collected without a package around them."""
    return SimpleNamespace(**globals())
