"""The monitor as a process runs it: a real socket, a real registry folder, a log that grows while it counts."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from contracts.metadata import ModelMetadata
from contracts.settings import Settings
from contracts.wire import encode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.counting_loop import CountingLoop
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from monitor.counts.state import FILE_NAME, counted
from monitor.main import serve_monitor
from prediction_log.spool.reader import SpoolReader

PATIENCE_SECONDS = 90


@pytest.fixture
def registry(tmp_path, world, references, graphs):
    """A folder with the three versions, their metadata and references."""
    root = tmp_path / "models"
    for (model, version), reference in references.items():
        folder = root / model / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graphs.mlp().SerializeToString())
        (folder / "model.json").write_bytes(encode(ModelMetadata(task=world.TASK)))
        (folder / "reference.json").write_bytes(encode(reference))
    return root


@pytest.fixture
def settings(tmp_path, registry):
    return Settings(registry=str(registry), state_dir=tmp_path / "state", drain_timeout_seconds=60)


@asynccontextmanager
async def serving(settings):
    """(client, stop, the task) of a monitor on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = asyncio.Event()
    task = asyncio.create_task(serve_monitor(settings, listener, stop))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=address, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            yield client, stop, task
    finally:
        stop.set()
        await asyncio.wait_for(task, PATIENCE_SECONDS)


async def until(client, path, holds):
    """The first body of which `holds` is true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            response = await client.get(path)
            if holds(response):
                return response.json()
            await asyncio.sleep(0.05)


def test_what_is_logged_is_counted_and_served_under_its_reference(settings, world):
    async def scenario():
        async with serving(settings) as (client, _, _):
            await until(client, "/health/ready", lambda response: response.status_code == 200)
            assert (await client.get("/summaries?model=flight-delay")).json() == {"rows": []}
            await world.write_log(settings.state_dir / "spool", world.make_history(days=2))
            question = "/summaries?model=flight-delay&variant=champion&slice=&statistic=psi&feature=distance"
            body = await until(client, question, lambda r: r.json()["rows"] and r.json()["rows"][0]["n"] == 64)
            assert body["rows"][0]["value"] > 0
            assert (await client.get("/report?model=flight-delay")).status_code == 200
            assert "pointsman_monitor_records_total" in (await client.get("/metrics")).text

    asyncio.run(scenario())


def test_what_was_logged_before_the_stop_is_counted_before_the_end(settings, world):
    async def scenario():
        async with serving(settings) as (client, stop, task):
            await until(client, "/health/ready", lambda response: response.status_code == 200)
            await world.write_log(settings.state_dir / "spool", world.make_history(days=3))
            stop.set()
            await asyncio.wait_for(task, PATIENCE_SECONDS)
            with pytest.raises(httpx.ConnectError):
                await client.get("/health/live")

    asyncio.run(scenario())
    records = len(world.make_history(days=3))
    assert list(counted(settings.state_dir / FILE_NAME).values()) == [[(1, records)]]


def test_while_the_registry_is_away_nothing_new_is_counted_and_nothing_is_lost(settings, world, registry):
    away = registry.with_name("away")

    async def scenario():
        registry.rename(away)
        await world.write_log(settings.state_dir / "spool", world.make_history(days=1))
        async with serving(settings) as (client, _, _):
            body = await until(client, "/health/ready", lambda r: r.status_code == 503 and "registry" in r.text)
            assert "cannot be read" in body["error"]
            assert (await client.get("/health/live")).status_code == 200
            away.rename(registry)
            await until(client, "/health/ready", lambda response: response.status_code == 200)
            await until(client, "/status", lambda r: r.json()["lag_records"] == 0 and r.json()["counted_records"] > 0)

    asyncio.run(scenario())
    records = len(world.make_history(days=1))
    assert list(counted(settings.state_dir / FILE_NAME).values()) == [[(1, records)]]


def test_a_version_that_the_registry_forgot_is_counted_without_a_reference(settings, world):
    async def scenario():
        await world.write_log(settings.state_dir / "spool", [world.make_prediction(1, "77", "champion", {}, 0.5)])
        async with serving(settings) as (client, _, _):
            body = await until(client, "/summaries?statistic=predictions", lambda r: r.json().get("rows"))
            assert [(row["version"], row["value"]) for row in body["rows"]] == [("77", 1.0)]

    asyncio.run(scenario())


def test_a_reference_that_is_none_is_refused_aloud_and_counting_goes_on(settings, world, registry):
    (registry / world.MODEL / "1" / "reference.json").write_bytes(b"{}")

    async def scenario():
        await world.write_log(settings.state_dir / "spool", world.make_history(days=1))
        async with serving(settings) as (client, _, _):
            body = await until(client, "/status", lambda r: r.status_code == 200 and r.json()["counted_records"])
            rejected = {row["version"] for row in body["counters"] if row["name"] == "reference_rejected"}
            assert rejected == {"1"}
            assert {group["version"] for group in body["groups"]} == {"1", "2", "3"}

    asyncio.run(scenario())


def test_a_bug_while_counting_is_told_by_readiness_and_the_next_try_goes_on(tmp_path, world, caplog):
    def broken(model, version):
        if broken.times:
            broken.times -= 1
            raise ZeroDivisionError(f"while reading {model} {version}")

    broken.times = 2
    consumer = Consumer(tmp_path / FILE_NAME, Catalogue(broken, lambda *_: None), horizon_days=1)
    source = SpoolSource(lambda positions: SpoolReader(tmp_path / "spool", positions))
    counter = SpoolCounter(source, consumer, records_max=100)

    async def scenario():
        await world.write_log(tmp_path / "spool", [world.make_prediction(1, "1", "champion", {}, 0.5)])
        counting, stop = (
            CountingLoop(counter, lambda: world.NOW_US, time.monotonic, tick_seconds=0.01),
            asyncio.Event(),
        )
        assert counting.not_ready() == "no tick yet"
        running = asyncio.create_task(counting.run(stop, 1.0))
        told = set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (reason := counting.not_ready()) is not None:
                told.add(reason)
                await asyncio.sleep(0.01)
        stop.set()
        await running
        assert "ZeroDivisionError: while reading flight-delay 1" in told
        assert counting.not_ready() == "stopped"

    asyncio.run(scenario())
    assert list(counted(tmp_path / FILE_NAME).values()) == [[(1, 1)]]
    assert len([record for record in caplog.records if record.exc_info]) == 1


def test_a_taken_port_ends_the_monitor_instead_of_counting_in_the_dark(settings):

    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = msgspec.structs.replace(settings, monitor_port=taken.getsockname()[1])
        with pytest.raises(SystemExit):
            asyncio.run(serve_monitor(wanted, None, asyncio.Event()))
