"""`pointsman gate` beside a real admin API: the result is kept and logged, and opens a plan that requires or pins it."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager

import httpx

from contracts.settings import Settings
from gateway.admin.main import serve_admin
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from tests.pointsman.gate_shop import MODEL, rows


@contextmanager
def served(shop):
    """The admin API as `pointsman serve` wires it, in a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(registry=str(shop / "models"), state_dir=shop / "state", log_segment_bytes=65536)
    loops, stops = [], []

    async def run():
        stop = asyncio.Event()
        loops.append(asyncio.get_running_loop())
        stops.append(stop)
        await serve_admin(settings, listener, stop)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loops[0].call_soon_threadsafe(stops[0].set)
        thread.join(timeout=60)
        listener.close()
    assert not thread.is_alive()


def audited(shop):
    entries = SpoolReader(shop / "state" / "spool", {}).poll(1000)
    return [json.loads(entry.payload) for entry in entries if entry.kind == Kind.AUDIT]


def test_where_a_gateway_runs_its_plan_names_the_champion_and_the_result_is_kept_and_logged(shop, gate, command):
    with served(shop) as address:
        before = gate("3", code=1, admin=address)
        switched = httpx.post(f"{address}/admin/models/{MODEL}/switch", json={"version": "3"}, timeout=60)
        assert switched.status_code == 200, switched.text
        after = gate("2", "--who", "ada", code=0, admin=address)
        gate("2", "--no-record", code=0, admin=address)
        code, listed, _ = command("gates", MODEL, "--json", admin=address)
        assert code == 0
        shown = command("gates", MODEL, admin=address)[1]
        nothing = command("gates", "other", admin=address)[1]

    assert (before.baseline.version, after.baseline.version) == ("1", "3")
    assert after.who == "ada"
    assert [one["gate_id"] for one in json.loads(listed)["gates"]] == [after.gate_id, before.gate_id]
    assert before.gate_id in shown
    assert "headline auc" in shown
    assert "no gate of 'other' is recorded" in nothing
    kept = [record["gate_id"] for record in audited(shop) if "gate_id" in record]
    assert kept == [before.gate_id, after.gate_id]


def test_a_plan_that_requires_a_gate_opens_when_the_command_has_passed(shop, gate, command):
    with served(shop) as address:
        on = command("traffic", "require-gate", MODEL, "on", admin=address)
        refused = command("traffic", "canary", MODEL, "2", "5%", "--wait", "0", admin=address)
        gate("3", code=1, admin=address)
        worse = command("traffic", "canary", MODEL, "3", "5%", "--wait", "0", admin=address)
        gate("2", code=0, admin=address)
        opened = command("traffic", "canary", MODEL, "2", "5%", "--wait", "0", admin=address)
        off = command("traffic", "require-gate", MODEL, "off", admin=address)

    assert (on[0], refused[0], worse[0], opened[0], off[0]) == (0, 1, 1, 0, 0)
    assert "more traffic needs a passing gate" in on[1]
    assert "a gate is required" in on[2]
    assert "pointsman gate flight-delay 2 --suite FILE" in refused[2]
    assert "says fail" in worse[2]
    assert "a gate is not required any more" in off[2]


def test_a_suite_is_pinned_by_the_hashes_that_its_gate_has(shop, gate, command):
    pin = ("traffic", "require-gate", MODEL, "on", "--json", "--wait", "0", "--suite", shop / "suite.toml")
    behaviour = '[[behaviours]]\nname = "late"\ninputs = { delay = 60.0, noise = 0.0 }\nlow = 0.95'
    with served(shop) as address:
        pins = [
            json.loads(command(*pin, *more, admin=address)[1])["plan"]["gate_pin"] for more in ((), ("--any-data",))
        ]
        result = gate("2", code=0, admin=address)
        (shop / "suite.toml").write_text(behaviour)
        pins.append(json.loads(command(*pin, admin=address)[1])["plan"]["gate_pin"])
        without = gate("2", code=0, admin=address)
        shown = command("gates", MODEL, admin=address)[1]

    file = str(shop / "suite.toml")
    policy, data = result.policy_sha256, result.data_sha256
    assert pins == [
        {"policy_sha256": policy, "data_sha256": data, "suite": file},
        {"policy_sha256": policy, "data_sha256": None, "suite": file},
        {"policy_sha256": without.policy_sha256, "data_sha256": None, "suite": file},
    ]
    assert policy[:12] in shown
    assert without.policy_sha256[:12] in shown


def test_other_rows_are_another_exam_unless_any_will_do(shop, gate, command):
    pin = ("traffic", "require-gate", MODEL, "on", "--wait", "0", "--suite", shop / "suite.toml")
    canary = ("traffic", "canary", MODEL, "2", "5%", "--wait", "0")
    with served(shop) as address:
        pinned = command(*pin, admin=address)
        rows(3000).iloc[::-1].to_csv(shop / "rows.csv", index=False)
        other = gate("2", code=0, admin=address)
        refused = command(*canary, admin=address)
        command(*pin, "--any-data", admin=address)
        opened = command(*canary, admin=address)

    assert (pinned[0], refused[0], opened[0]) == (0, 1, 0)
    assert f"those that it has are of policy {other.policy_sha256[:12]} on data {other.data_sha256[:12]}" in refused[2]
    assert f"--suite {shop / 'suite.toml'}`" in refused[2]
