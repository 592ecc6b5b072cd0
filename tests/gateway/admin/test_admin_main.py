"""The admin API as it is wired in a process: a real socket, real probes in child processes, real audit records."""

import asyncio
import socket
from pathlib import Path

import httpx
import pytest

from contracts.gate import GateCheck, GateResult
from contracts.plan import Change
from contracts.settings import Settings
from contracts.wire import decode, encode
from gateway.admin.main import serve_admin
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from tests.gateway.gate_results import gate_result

pytestmark = pytest.mark.anyio

SHIFT = "/admin/models/flight-delay/"


@pytest.fixture
def settings(tmp_path, graphs):
    for version in ("1", "2"):
        folder = tmp_path / "models" / "flight-delay" / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graphs.mlp(bias=float(version)).SerializeToString())
    rubbish = tmp_path / "models" / "flight-delay" / "3"
    rubbish.mkdir()
    (rubbish / "model.onnx").write_bytes(b"\x08\x0a rubbish")
    (tmp_path / "models" / "flight-delay" / "aliases.json").write_text('{"champion": "1"}')
    return Settings(registry=str(tmp_path / "models"), state_dir=tmp_path / "state", log_segment_bytes=65536)


async def test_a_shift_is_probed_stored_and_audited_and_the_server_stops_when_told(settings):
    listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    serving = asyncio.create_task(serve_admin(settings, listener, stop))
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=200) as client:
        shifted = await client.post(
            f"{SHIFT}canary", json={"version": "2", "share": "5%", "who": "ada", "reason": "look"}
        )
        refused = await client.post(f"{SHIFT}canary", json={"version": "3", "share": "5%"})
        plan = await client.get(f"{SHIFT}plan")
    stop.set()
    await asyncio.wait_for(serving, 100)
    listener.close()

    assert shifted.status_code == 200, shifted.text
    assert (refused.status_code, plan.json()["revision"]) == (422, 2)
    assert [(change.verb, change.who, change.revision) for change in audited(settings.state_dir / "spool")] == [
        ("start", "pointsman", 1),
        ("canary", "ada", 2),
    ]


async def test_a_gate_is_an_audit_record_too(settings):
    nothing = (GateCheck(kind="policy", name="empty", outcome="missing"),)
    gate = gate_result(1, "missing", model="flight-delay", baseline=None, data_sha256="", rows=0, checks=nothing)
    listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    serving = asyncio.create_task(serve_admin(settings, listener, stop))
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=200) as client:
        kept = await client.post(f"{SHIFT}gates", content=encode(gate))
    stop.set()
    await asyncio.wait_for(serving, 100)
    listener.close()

    assert kept.status_code == 200, kept.text
    entries = [e for e in SpoolReader(settings.state_dir / "spool", {}).poll(1000) if e.kind == Kind.AUDIT]
    assert [decode(GateResult, entry.payload) for entry in entries] == [gate]


def audited(spool: Path):
    entries = SpoolReader(spool, {}).poll(1000)
    return [decode(Change, entry.payload) for entry in entries if entry.kind == Kind.AUDIT]


async def test_without_a_log_the_history_is_kept_all_the_same(settings):
    listener, stop = socket.create_server(("127.0.0.1", 0)), asyncio.Event()
    silent = Settings(registry=settings.registry, state_dir=settings.state_dir, log_enabled=False)
    serving = asyncio.create_task(serve_admin(silent, listener, stop))
    port = listener.getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=200) as client:
        shifted = await client.post(f"{SHIFT}warm", json={"version": "2"})
        changes = (await client.get("/admin/audit")).json()["changes"]
    stop.set()
    await asyncio.wait_for(serving, 100)
    listener.close()

    assert (shifted.status_code, [change["verb"] for change in changes]) == (200, ["warm", "start"])
    assert not (settings.state_dir / "spool").exists()
