"""A worker says what it knows though its disk is gone, and does not live on where it could follow no plan any more."""

import asyncio
import logging
import socket

import pytest
import uvloop

from contracts.settings import Settings
from gateway import worker as working
from gateway.clock import system_clock
from gateway.traffic.plans import Models
from gateway.worker import make_worker, serve_worker


def settings_of(tmp_path, **more):
    (tmp_path / "models").mkdir(exist_ok=True)
    return Settings(registry=str(tmp_path / "models"), state_dir=tmp_path / "state", log_disk_reserve_bytes=0, **more)


def test_the_metrics_page_is_there_though_the_disk_takes_no_counts(tmp_path, caplog):
    settings = settings_of(tmp_path)
    settings.state_dir.mkdir()
    in_the_way = settings.state_dir / "metrics"
    in_the_way.write_bytes(b"")

    async def run():
        worker = make_worker(settings, "worker-0", None, system_clock())
        worker.meter.reject(503, "log_unavailable")
        pages = []
        for _ in range(3):
            await worker.report.save_counts(worker.models)
            pages.append(await worker.report.page(worker.models))
        in_the_way.unlink()
        await worker.report.save_counts(worker.models)
        kept = in_the_way / "worker-0.json"
        assert kept.exists(), "it is written down as soon as the disk takes it"
        kept.unlink()
        in_the_way.rmdir()
        in_the_way.write_bytes(b"")
        worker.close()
        await worker.shared.aclose()
        return [page.decode().splitlines() for page in pages]

    for shown in asyncio.run(run()):
        assert "pointsman_log_writable 0.0" in shown
        assert 'pointsman_rejections_total{code="503",reason="log_unavailable"} 1.0' in shown
    said = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, "once each time that the disk goes"
    assert said[0].startswith("worker-0 cannot write down what it counts: ")


def test_a_worker_that_would_follow_no_plan_any_more_ends_with_the_reason(tmp_path, monkeypatch):
    async def broken(_models):
        raise ZeroDivisionError

    monkeypatch.setattr(Models, "start", broken)
    monkeypatch.setattr(working, "LOADING_PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(working, "fitted_to_process", lambda limits: limits)

    async def run():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(30, stop.set)  # nothing else would end one that lives on
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await serve_worker(settings_of(tmp_path), "worker-0", listener, stop)

    with pytest.raises(ExceptionGroup) as caught:
        uvloop.run(run())

    assert caught.value.subgroup(ZeroDivisionError) is not None


def test_a_worker_gives_a_version_as_long_to_load_as_the_settings_say(tmp_path, monkeypatch):
    given = []

    async def load(_fetched, *, threads, seconds_max):
        given.append((threads, seconds_max))

    monkeypatch.setattr(working, "load_session", load)

    async def run():
        settings = settings_of(tmp_path, model_load_timeout_seconds=7.0)
        worker = make_worker(settings, "worker-0", None, system_clock())
        await worker.models._loaded._load(None)
        worker.close()
        await worker.shared.aclose()

    asyncio.run(run())

    assert given == [(1, 7.0)]
