"""Shadows are asked where nobody wants an answer; each that is not asked leaves a record that says why."""

import asyncio
import gc
import json
from collections import Counter

import pytest

from contracts.plan import Change, VersionRef
from contracts.prediction import Prediction
from contracts.settings import Settings
from contracts.wire import decode
from gateway.attempt import Attempt
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival, Target
from gateway.shadow import ASKED_A_STEP
from gateway.traffic import shifts
from gateway.worker import make_worker
from prediction_log.expansion import record_json
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

VALUES = 3
BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, VALUES], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()


class Asker:
    """A connection that counts what it was sent."""

    client, gone = "127.0.0.1", False

    def __init__(self):
        self.answered = 0

    def send(self, reply):
        assert reply.status == 200, reply
        self.answered += 1


class Shadowed:
    """A worker of model `m`, all of whose requests are copied to version 2."""

    def __init__(self, worker, log, clock):
        self.worker, self.log, self.clock = worker, log, clock
        self.asker = Asker()

    def ask(self, count=1):
        """So many requests in this step of the event loop."""
        arrival = Arrival(Target("m", None), [], BODY, self.asker, self.clock.mono_ns())
        self.worker.inference.answer([arrival] * count)

    async def all_asked(self, count):
        """Return when so many requests are answered and no shadow waits any more to be asked."""
        await self.until(lambda: self.asker.answered == count and not self.worker.shadows._waiting)

    async def until(self, true):
        async with asyncio.timeout(100):
            while not true():
                await asyncio.sleep(0.01)


@pytest.fixture
def shadows(tmp_path, shelf, graphs):
    """What the shadows' records say, counted, after a story with a `Shadowed`."""
    for version in "12":
        shelf.write("m", version, graphs.mlp(bias=float(version)))
    (shelf.root / "m" / "aliases.json").write_text(json.dumps({"champion": "1"}))
    settings = Settings(
        registry=str(shelf.root), state_dir=tmp_path / "state", log_disk_reserve_bytes=0, request_timeout_ms=600_000,
        inline_run_us_max=1e9,
    )  # fmt: skip

    async def run(story, in_flight_max):
        log = await open_writer(settings.state_dir / "spool", "worker-0", disk_reserve_bytes=0)
        clock = system_clock()
        worker = make_worker(settings, "worker-0", log, clock)
        await worker.models.start()
        plan = await worker.shared.store.read("m")
        fetched = await worker.registry.fetch("m", "2")
        after = shifts.shadow(plan, VersionRef(version="2", digest=fetched.digest), 1.0)
        change = Change(
            model="m", revision=after.revision, at_us=clock.now_us(), who="test", verb="shadow", reason="test", before=plan, after=after
        )  # fmt: skip
        await worker.shared.store.write(change)
        await worker.models.plan_tick()
        if in_flight_max:
            worker.shadows._in_flight_max = in_flight_max
        one = Shadowed(worker, log, clock)
        await one.until(lambda: worker.models.servings["m"].points.shadows)
        await story(one)
        await worker.shadows.drain(100.0)
        await log.aclose()
        worker.close()
        await worker.shared.aclose()

    def counted(story, in_flight_max=0):
        asyncio.run(run(story, in_flight_max))
        entries = [
            entry
            for entry in SpoolReader(settings.state_dir / "spool", {}).poll(10_000)
            if entry.kind is Kind.PREDICTION
        ]
        told = [decode(Prediction, record_json(entry.payload)) for entry in entries]
        return Counter((one.status, one.error_code) for one in told if one.role == "shadow")

    return counted


def test_every_request_has_its_shadow_where_there_is_time(shadows):
    async def story(one):
        for turn in range(1, 6):
            one.ask(3)
            await one.all_asked(3 * turn)

    assert shadows(story) == {("ok", None): 15}


def test_no_shadow_is_asked_in_a_step_in_which_somebody_wants_an_answer(shadows):
    asked_meanwhile = []

    async def story(one):
        for _ in range(200):
            one.ask()
            await asyncio.sleep(0)
            asked_meanwhile.append(len(one.worker.shadows._running))
        await one.all_asked(200)

    assert shadows(story) == {("ok", None): 200}
    assert max(asked_meanwhile) == 0


def test_only_a_few_are_asked_in_one_step(shadows):
    seen = []

    async def story(one):
        ask = one.worker.shadows._ask
        one.worker.shadows._ask = lambda few: (seen.append(len(few)), ask(few))
        one.ask(50)
        await one.all_asked(50)

    assert shadows(story) == {("ok", None): 50}
    assert max(seen) == ASKED_A_STEP


def test_more_than_may_wait_are_skipped_and_their_records_say_so(shadows):
    async def story(one):
        one.ask(30)
        await one.all_asked(30)

    assert shadows(story, in_flight_max=10) == {("ok", None): 10, ("skipped", "overloaded"): 20}


def test_more_values_than_may_be_held_are_skipped_too(shadows, monkeypatch):
    monkeypatch.setattr("gateway.shadow.VALUES_MAX", 10 * VALUES + VALUES - 1)

    async def story(one):
        one.ask(30)
        await one.all_asked(30)
        await one.until(lambda: not one.worker.shadows._running)
        assert one.worker.shadows._values == 0
        one.ask()
        await one.all_asked(31)

    assert shadows(story) == {("ok", None): 11, ("skipped", "overloaded"): 20}


def test_what_is_skipped_leaves_nothing_for_the_garbage_collector(shadows):
    left = []

    async def story(one):
        gc.collect()
        gc.disable()
        one.ask(30)
        await one.all_asked(30)
        await one.until(lambda: not one.worker.shadows._running)
        await asyncio.sleep(0)
        left.extend(thing for thing in gc.get_objects() if isinstance(thing, Attempt))

    try:
        assert shadows(story, in_flight_max=10)["skipped", "overloaded"] == 20
    finally:
        gc.enable()
    assert left == []


def test_a_drain_asks_what_still_waits(shadows):
    async def story(one):
        while not one.asker.answered:
            one.ask()
            await asyncio.sleep(0)

    counted = shadows(story)

    assert set(counted) == {("ok", None)}
    assert counted.total() > 0
