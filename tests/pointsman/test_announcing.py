"""What a start finds and says: where everything is, once a worker is ready, however long it takes to answer."""

import asyncio
import os
import signal
import socket

import httpx
import pytest

from contracts.errors import InvalidSettings
from contracts.settings import Settings
from gateway.fleet.worker_status import WorkerStatus, read_statuses, write_status
from pointsman import claims, roles
from pointsman.claims import sole_owner


def test_a_worker_that_is_too_busy_to_answer_is_asked_again(monkeypatch):
    monkeypatch.setattr(roles, "READY_POLL_SECONDS", 0.0)
    late, asked = {"/v2/health/ready", "/v2/models"}, []

    def answer(request):
        path = request.url.path
        asked.append(path)
        if path in late:
            late.remove(path)
            raise httpx.ReadTimeout("it is busy", request=request)
        return httpx.Response(200, json={"ready": True} if path.endswith("ready") else {"models": ["flight-delay"]})

    async def served():
        async with httpx.AsyncClient(base_url="http://here", transport=httpx.MockTransport(answer)) as client:
            return await roles._served(client, asyncio.Event())

    assert asyncio.run(served()) == ["flight-delay"]
    ready, models = "/v2/health/ready", "/v2/models"
    assert asked == [ready, ready, models, ready, models]


def test_nobody_is_asked_once_it_stops():
    async def served():
        stop = asyncio.Event()
        stop.set()
        async with httpx.AsyncClient(base_url="http://here", transport=httpx.MockTransport(lambda _: None)) as client:
            return await roles._served(client, stop)

    assert asyncio.run(served()) is None


def test_an_address_of_the_newer_kind_stands_in_brackets():
    async def announced():
        stop = asyncio.Event()
        stop.set()
        await roles._announce(("worker",), Settings(host="::1"), stop)

    asyncio.run(announced())
    assert roles._at("::1", 8000) == "http://[::1]:8000"
    assert roles._at("127.0.0.1", 8000) == "http://127.0.0.1:8000"


def test_what_workers_of_an_earlier_run_left_is_gone_before_workers_start(tmp_path, monkeypatch):
    """Its pid is alive: it is somebody else's by now."""
    left = WorkerStatus(slot="worker-9", pid=os.getpid(), started_us=1, applied={"m": 41}, at_us=1)
    write_status(tmp_path / "workers", left)
    seen = []

    async def supervised(started, settings, *_):
        seen.append((len(started), read_statuses(settings.state_dir / "workers")))
        started[0].listener.close()

    monkeypatch.setattr(roles, "supervise", supervised)
    asyncio.run(roles._supervised(("worker",), Settings(state_dir=tmp_path, http_port=0)))

    assert seen == [(1, [])]


def test_a_start_that_waits_for_its_port_is_stopped_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BIND_SECONDS", 10_000.0)

    async def play(port):
        starting = asyncio.create_task(roles._supervised(("worker",), Settings(state_dir=tmp_path, http_port=port)))
        await asyncio.sleep(0.3)
        assert not starting.done()
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(60):
            await starting

    with socket.create_server(("127.0.0.1", 0)) as taken:
        asyncio.run(play(taken.getsockname()[1]))


def test_a_state_directory_that_cannot_be_had_is_said_with_what_to_do(tmp_path):
    (tmp_path / "state").touch()
    with (
        pytest.raises(InvalidSettings, match="state cannot be written: .*; name a directory"),
        sole_owner(tmp_path / "state", "worker.lock"),
    ):
        pass
