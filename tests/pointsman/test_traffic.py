"""The operator's commands against a real admin API over HTTP: what they print, and the exit code a script sees."""

import asyncio
import getpass
import json
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from contracts.errors import ModelRejected
from contracts.plan import VersionRef
from contracts.promotion import AliasBook, Promotion
from contracts.standing import MonitorStanding
from contracts.wire import encode
from gateway.admin.app import AdminParts, admin_app
from gateway.admin.gate_book import GateBook
from gateway.admin.plan_control import PlanControl
from gateway.admin.promotion_desk import PromotionDesk
from gateway.admin.version_check import VersionCheck
from gateway.clock import system_clock
from gateway.fleet.seam import HostFleet, applied_of
from gateway.fleet.worker_status import WorkerStatus, write_status
from gateway.models.version_states import VersionStates
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic.last_good import LastGood
from pointsman.main import main
from pointsman.traffic_view import when
from registry_client.folder import FolderRegistry

MODEL = "flight-delay"


class Server(uvicorn.Server):
    """In a thread, where signals are not its business."""

    @contextmanager
    def capture_signals(self):
        yield


class Quiet(uvicorn.Config):
    """Logging belongs to the test."""

    def configure_logging(self):
        return


class Traffic:
    """The command line, its admin API, and the folder behind it."""

    def __init__(self, folder, address, capsys, monkeypatch):
        self.folder = folder
        self.address = address
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def run(self, *words, admin=True):
        arguments = [*words, *(["--admin", self.address] if admin else [])]
        self._monkeypatch.setattr(sys, "argv", ["pointsman", *arguments])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = self._capsys.readouterr()
        return code, out, err

    def ok(self, *words):
        code, out, err = self.run(*words)
        assert code == 0, err
        return out, err

    def json(self, *words):
        return json.loads(self.ok(*words, "--json")[0])

    def worker(self, slot, revision, error=None):
        write_status(
            self.folder / "workers",
            WorkerStatus(
                slot=slot,
                pid=os.getpid(),
                started_us=1,
                applied={MODEL: revision},
                loaded={MODEL: (VersionRef(version="1", digest="d"),)},
                errors={MODEL: error} if error else {},
                at_us=1,
            ),
        )


@pytest.fixture(autouse=True)
def wide(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "220")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def traffic(tmp_path, graphs, capsys, monkeypatch):
    for version in ("1", "2", "3", "4"):
        folder = tmp_path / "models" / MODEL / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graphs.mlp(bias=float(version)).SerializeToString())
    (tmp_path / "models" / MODEL / "aliases.json").write_text('{"champion": "1"}')
    (tmp_path / "broken").touch()
    listener = socket.create_server(("127.0.0.1", 0))
    thread, server = serve(tmp_path, listener)
    try:
        yield Traffic(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}", capsys, monkeypatch)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()
    assert not thread.is_alive()


@pytest.fixture
def alone(tmp_path, capsys, monkeypatch):
    """The command line where no admin API runs."""
    return Traffic(tmp_path, "http://127.0.0.1:1", capsys, monkeypatch)


def serve(folder, listener):
    registry = FolderRegistry(folder / "models", folder / "cache")
    store = SqlitePlanStore(folder / "plans.sqlite")
    refused = folder / "refused"

    async def probe(path):
        if refused.exists():
            raise ModelRejected("it answers its own example with NaN")

    async def audit(change):
        return

    fleet = HostFleet(folder, system_clock().now_us)

    async def applied(model):
        return await applied_of(model, LastGood(folder / "last_good"), fleet)

    states = VersionStates(system_clock().now_us)
    check = VersionCheck(registry, probe, states)
    control = PlanControl(store, registry, check, audit, system_clock(), applied)
    gates, clock = GateBook(store, audit), system_clock()
    desk = PromotionDesk(store, control, check, audit, clock)
    app = admin_app(AdminParts(control, gates, store, registry, fleet, clock, "0.1.0", check.signature, states, desk))
    server = Server(Quiet(app, lifespan="off", ws="none", log_config=None, access_log=False))

    async def run():
        await server.serve(sockets=[listener])
        await store.aclose()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    return thread, server


def test_a_canary_is_shown_with_its_share_as_a_bar_and_what_to_do_next(traffic):
    out, err = traffic.ok("traffic", "canary", MODEL, "2", "25%", "--wait", "0")

    assert "flight-delay  revision 2" in out
    champion, canary = (line for line in out.splitlines() if "█" in line)
    assert (champion.split()[:2], champion.count("█")) == (["champion", "1"], 30)
    assert (canary.split()[:3], canary.count("█")) == (["canary-2", "canary", "2"], 10)
    assert "25%" in canary
    assert "changed: canary-2 (canary, version 2) 25%" in err
    assert (
        "next: pointsman report flight-delay, then pointsman promote flight-delay or pointsman rollback flight-delay"
        in err
    )


def test_every_pattern_has_its_command(traffic):
    traffic.ok("traffic", "shadow", MODEL, "3", "100%", "--name", "watcher")
    traffic.ok("traffic", "ab", MODEL, "2", "0.5")
    plan = traffic.json("traffic", "show", MODEL)
    assert [(c["name"], c["mode"]) for c in plan["challengers"]] == [("watcher", "shadow"), ("ab-2", "ab")]
    assert "champion 1 → 2; ab-2 removed" in traffic.ok("promote", MODEL, "--reason", "better AUC")[1]
    assert (
        "back to version 1: pointsman rollback"
        in traffic.ok("traffic", "show", MODEL)[0] + traffic.ok("traffic", "remove", MODEL, "watcher")[1]
    )
    traffic.ok("traffic", "warm", MODEL, "4")
    traffic.ok("traffic", "cool", MODEL, "4")
    traffic.ok("traffic", "switch", MODEL, "3")
    assert "champion 3 → 2" in traffic.ok("rollback", MODEL)[1]
    assert traffic.json("rollback", MODEL, "--to", "3")["plan"]["champion"]["version"] == "1"


def test_history_says_who_when_what_and_why_newest_first(traffic):
    traffic.ok("traffic", "canary", MODEL, "2", "5%", "--reason", "first [look]")
    traffic.ok("traffic", "canary", MODEL, "2", "10%", "--who", "grace")
    out, _ = traffic.ok("traffic", "history", MODEL)
    lines = out.splitlines()[1:]

    assert [line.split()[0] for line in lines] == ["3", "2", "1"]
    assert "grace" in lines[0]
    assert "canary-2 5% → 10%" in lines[0]
    assert getpass.getuser() in lines[1]
    assert "first [look]" in lines[1]
    assert "first plan: champion 1" in lines[2]
    changes = traffic.json("traffic", "history", MODEL, "--limit", "2")["changes"]
    assert [change["who"] for change in changes] == ["grace", getpass.getuser()]


def test_models_shows_what_is_registered_loaded_and_routed(traffic):
    assert "no plan yet" in traffic.ok("models")[0]
    traffic.ok("traffic", "canary", MODEL, "2", "5%")
    traffic.worker("worker-0", 2)
    out, _ = traffic.ok("models")

    for word in (MODEL, "1 loaded, 2, 3, 4", "champion = 1", "canary-2 5%", "worker-0: 1"):
        assert word in out
    (row,) = traffic.json("models")["models"]
    assert row["plan"]["revision"] == 2


def test_models_says_why_a_version_is_rejected_until_it_is_not(traffic):
    traffic.ok("traffic", "warm", MODEL, "3")
    traffic.worker("worker-0", 2)
    (traffic.folder / "refused").touch()
    assert traffic.run("traffic", "canary", MODEL, "2", "5%")[0] == 1
    graph = traffic.folder / "models" / MODEL / "1" / "model.onnx"
    good = graph.read_bytes()
    graph.write_bytes(b"")
    traffic.ok("card", MODEL, "1")
    out, _ = traffic.ok("models")
    rows = {row["version"]: row for row in traffic.json("models")["models"][0]["states"]}

    assert "1 loaded, 2 rejected, 3, 4" in out
    two = when(rows["2"]["since_us"])
    assert f"version 2 of {MODEL} is rejected since {two} UTC: it answers its own example with NaN" in out
    assert f"version 1 of {MODEL} is loaded, but files of its number are rejected since" in out
    assert [(rows[v]["state"], rows[v]["reason"] != "") for v in "123"] == [
        ("loaded", True),
        ("rejected", True),
        ("available", False),
    ]
    (traffic.folder / "refused").unlink()
    graph.write_bytes(good)
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.ok("card", MODEL, "1")
    assert "rejected" not in traffic.ok("models")[0]


def test_models_warns_where_the_registry_is_away(traffic):
    traffic.worker("worker-0", 2)
    Path("models").rename("away")
    out, err = traffic.ok("models")

    assert MODEL in out
    assert "warning:" in err


def test_models_of_an_empty_registry_says_so(traffic):
    Path("models").rename("away")
    Path("models").mkdir()
    assert "no models are registered yet" in traffic.ok("models")[0]


def test_a_change_tells_how_many_workers_follow(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.worker("worker-0", 2)
    traffic.worker("worker-1", 1, error="version 3 [3] cannot be loaded")
    _, err = traffic.ok("traffic", "switch", MODEL, "3", "--wait", "0.01")
    assert "converged: 0/2 in " in err
    assert "worker-1 stays behind: version 3 [3] cannot be loaded" in err
    assert "converged" not in traffic.ok("traffic", "switch", MODEL, "4", "--wait", "0")[1]


def test_show_says_who_follows_and_who_stays_behind_and_why(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    assert "no worker runs: the plan applies when one starts" in traffic.ok("traffic", "show", MODEL)[0]
    for number in range(3):
        traffic.worker(f"worker-{number}", 2)
    assert "3 of 3 workers at revision 2" in traffic.ok("traffic", "show", MODEL)[0]
    traffic.worker("worker-2", 1, error="version 2 [2] cannot be loaded")
    out, _ = traffic.ok("traffic", "show", MODEL)
    assert "2 of 3 workers at revision 2" in out
    assert "worker-2 at revision 1: version 2 [2] cannot be loaded" in out


def test_show_says_how_far_the_monitors_are(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    monitors = traffic.folder / "monitors"
    monitors.mkdir()
    now_us = time.time_ns() // 1000
    for member, at_us in (("monitor-0", now_us), ("gone", now_us - 60_000_000)):
        standing = MonitorStanding(member=member, started_us=1, at_us=at_us, lag_records=1234)
        (monitors / f"{member}.json").write_bytes(encode(standing))

    out, _ = traffic.ok("traffic", "show", MODEL)
    assert "monitor monitor-0: 1,234 records behind" in out
    assert "gone" not in out


def test_a_plan_store_that_lost_changes_is_settled_by_a_command(traffic):
    traffic.ok("traffic", "warm", MODEL, "2")
    traffic.worker("worker-0", 7)
    code, _, err = traffic.run("traffic", "switch", MODEL, "3")
    assert (code, "holds revision 2 of 'flight-delay', though worker worker-0 runs revision 7" in err) == (1, True)
    out, _ = traffic.ok("traffic", "republish", MODEL, "--stored", "--wait", "0", "--reason", "failover")
    assert "flight-delay  revision 8" in out


def test_json_is_all_that_stands_on_stdout(traffic):
    moved = traffic.json("traffic", "canary", MODEL, "2", "5%", "--expect", "1")

    assert moved["change"]["verb"] == "canary"
    assert moved["plan"]["revision"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("traffic", "show", "nobody"), "'nobody' has no plan"),
        (("traffic", "show", "a/../b"), "error:"),
        (("traffic", "switch", MODEL, "9"), "9"),
        (("traffic", "remove", MODEL, "x"), "no challenger 'x' in revision 1: there are none"),
        (("promote", MODEL), "0 challengers of 'flight-delay' answer requests"),
        (("rollback", MODEL), "nothing to roll back"),
        (("traffic", "switch", MODEL, "2", "--expect", "7"), "is at revision 1, not 7"),
        (("traffic", "ab", MODEL, "1", "150%", "--name", "champion"), "between 0% and 100%"),
    ],
)
def test_a_refusal_exits_with_1_and_says_why(traffic, words, message):
    code, out, err = traffic.run(*words)

    assert code == (2 if "150%" in words else 1)
    assert out == ""
    assert message in err


def test_a_version_that_fails_its_probe_is_refused_and_the_plan_stays(traffic):
    traffic.ok("traffic", "canary", MODEL, "2", "5%")
    (traffic.folder / "refused").touch()
    code, _, err = traffic.run("traffic", "canary", MODEL, "3", "5%")

    assert code == 1
    assert "error: version 3 of" in err
    assert "it answers its own example with NaN" in err
    assert traffic.json("traffic", "show", MODEL)["revision"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("traffic", "canary", MODEL, "2", "5"), 'write "5%"'),
        (("traffic", "canary", MODEL, "2"), "SHARE"),
        (("traffic", "dance", MODEL), "dance"),
        (("traffic", "history", MODEL, "--limit", "0"), "--limit"),
    ],
)
def test_wrong_usage_exits_with_2_and_names_the_argument(alone, words, message):
    code, _, err = alone.run(*words)

    assert code == 2
    assert message in err


def test_where_nobody_answers_the_address_and_the_remedy_are_named(alone, monkeypatch):
    monkeypatch.setenv("POINTSMAN_ADMIN_PORT", "1")
    code, _, err = alone.run("traffic", "show", MODEL, admin=False)

    assert code == 1
    assert (
        "nobody answers at http://127.0.0.1:1: start Pointsman with `pointsman up`, or name its admin API with --admin"
        in err
    )


def test_the_address_comes_from_the_settings_unless_said(traffic, monkeypatch):
    traffic.ok("traffic", "warm", MODEL, "2")
    Path("mine.toml").write_text(f"admin_port = {traffic.address.rpartition(':')[2]}")
    code, out, err = traffic.run("traffic", "show", MODEL, "--config", "mine.toml", admin=False)

    assert (code, err) == (0, "")
    assert "revision 2" in out


def test_settings_that_cannot_be_meant_are_said_before_anybody_is_asked(alone, monkeypatch):
    monkeypatch.setenv("POINTSMAN_ADMIN_PROT", "8003")
    code, _, err = alone.run("traffic", "show", MODEL, admin=False)

    assert code == 1
    assert "did you mean 'POINTSMAN_ADMIN_PORT'" in err


@pytest.mark.parametrize("address", ["127.0.0.1:8003", "ftp://127.0.0.1", "http://[", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_an_error_not_a_traceback(alone, address):
    code, _, err = alone.run("traffic", "show", MODEL, "--admin", address, admin=False)

    assert code == 1
    assert err.startswith("error: ")


def test_an_answer_of_somebody_else_is_not_taken_for_the_admin_api(alone):
    async def other(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    with answering(other) as port:
        code, _, err = alone.run("traffic", "show", MODEL, "--admin", f"http://127.0.0.1:{port}", admin=False)

    assert code == 1
    assert "is it the admin API of this release?" in err


@contextmanager
def answering(handle):
    started, ports, loops = threading.Event(), [], []

    async def run():
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        loops.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        started.set()
        async with server:
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    started.wait(10)
    try:
        yield ports[0]
    finally:
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def asked_for(traffic, candidate="2"):
    """What a worker writes down that sees the alias move, where the policy is request."""

    async def write():
        registry = FolderRegistry(traffic.folder / "models", traffic.folder / "cache")
        refs = [VersionRef(version=v, digest=(await registry.fetch(MODEL, v)).digest) for v in (candidate, "1")]
        store = SqlitePlanStore(traffic.folder / "plans.sqlite")
        number = 1 + getattr(await store.alias_book(MODEL), "number", 0)
        one = Promotion(
            promotion_id=f"p{number}",
            model=MODEL,
            candidate=refs[0],
            champion=refs[1],
            why="the policy is request",
            requested_us=1,
            seen_by="host/0",
        )
        await store.write_alias_book(AliasBook(model=MODEL, number=number, promotions=(one,)))
        await store.aclose()
        return one.promotion_id

    return asyncio.run(write())


def test_a_policy_is_set_and_shown(traffic):
    out, err = traffic.ok(
        "traffic", "alias-policy", MODEL, "request", "--reason", "a person looks first", "--wait", "0"
    )

    assert "moves of the alias champion: request" in out
    assert "changed: the alias champion: request" in err
    assert traffic.json("traffic", "show", MODEL)["alias_policy"] == "request"
    assert traffic.run("traffic", "alias-policy", MODEL, "sometimes")[0] == 2


def test_a_promotion_is_listed_refused_and_another_approved(traffic):
    traffic.ok("traffic", "alias-policy", MODEL, "request", "--wait", "0")
    assert "no promotion waits" in traffic.ok("promotions", "list", MODEL)[0]
    first = asked_for(traffic)

    out, _ = traffic.ok("promotions", "list")
    assert all(word in out for word in (first, MODEL, "pending", "the policy is request"))
    assert "refused" in traffic.ok("promotions", "refuse", MODEL, first, "--reason", "not now")[0]
    code, _, err = traffic.run("promotions", "approve", MODEL, first)
    assert (code, "refused already (not now)" in err) == (1, True)

    second = asked_for(traffic)
    _, err = traffic.ok("promotions", "approve", MODEL, second, "--reason", "seen", "--who", "ada", "--wait", "0")
    assert "changed: champion 1 → 2" in err
    [found] = traffic.json("promotions", "list", MODEL)["promotions"]
    assert (found["state"], found["who"], found["reason"]) == ("approved", "ada", "seen")


def test_the_policy_that_a_gate_must_be_of_is_named_shown_kept_and_taken_away(traffic):
    policy, data = "f" * 64, "a" * 64
    words = ("traffic", "require-gate", MODEL, "on", "--wait", "0")
    out, err = traffic.ok(*words, "--policy-sha256", policy, "--data-sha256", data, "--reason", "policy 7")
    of = f"of policy {policy[:12]} on data {data[:12]}"
    assert f"more traffic needs a passing gate against the champion, {of}" in out
    assert f"changed: a gate is required; a gate must be {of}" in err
    assert of in traffic.ok("traffic", "show", MODEL)[0]
    assert traffic.json("traffic", "show", MODEL)["gate_pin"] == {
        "policy_sha256": policy,
        "data_sha256": data,
        "suite": "",
    }

    assert "changed: nobody moved" in traffic.ok(*words)[1]
    code, _, err = traffic.run("traffic", "canary", MODEL, "2", "5%")
    assert (code, f"`pointsman gate {MODEL} 2 --suite FILE`, FILE being the suite of policy {policy}" in err) == (
        1,
        True,
    )
    assert "is at revision 3, not 2" in traffic.run(*words, "--any-suite", "--expect", "2")[2]
    out, err = traffic.ok(*words, "--any-suite", "--who", "ada", "--reason", "suite retired")
    assert "changed: a gate must be of any suite" in err
    assert "passing gate against the champion\n" in out
    lines = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1:]
    assert all(word in lines[0] for word in ("ada", "require-gate", "a gate must be of any suite", "suite retired"))
    assert "policy 7" in lines[2]


def test_a_pin_that_is_lifted_with_a_shift_is_told_beside_it(traffic):
    traffic.ok("traffic", "require-gate", MODEL, "on", "--policy-sha256", "f" * 64, "--wait", "0")
    plan = traffic.json("traffic", "show", MODEL) | {"gate_pin": None, "gate_required": False, "salt": "other"}
    reply = httpx.put(f"{traffic.address}/admin/models/{MODEL}/plan", json=plan, headers={"If-Match": "2"}, timeout=30)
    assert reply.status_code == 200, reply.text
    newest = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1]
    assert "new salt: every unit was assigned anew; a gate is not required any more" in newest


def test_a_rule_that_changes_with_what_is_kept_warm_hides_neither(traffic):
    traffic.ok("traffic", "warm", MODEL, "2", "--wait", "0")
    plan = traffic.json("traffic", "show", MODEL) | {"gate_required": True, "warm": []}
    reply = httpx.put(f"{traffic.address}/admin/models/{MODEL}/plan", json=plan, headers={"If-Match": "2"}, timeout=30)
    assert reply.status_code == 200, reply.text
    newest = traffic.ok("traffic", "history", MODEL)[0].splitlines()[1]
    assert "version 2 let go; a gate is required" in newest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("on", "--policy-sha256", "f" * 63), "not 64 lower-case hexadecimal digits"),
        (("on", "--policy-sha256", "x" * 64), "not 64 lower-case hexadecimal digits"),
        (("on", "--policy-sha256", "f" * 64, "--data-sha256", "F" * 64), "data_sha256: 'FFF"),
        (("on", "--data-sha256", "f" * 64), "--data-sha256 goes with --policy-sha256"),
        (("on", "--suite", "s.toml", "--data-sha256", "f" * 64), "--suite FILE names its data itself"),
        (("on", "--any-data"), "--any-data goes with --suite FILE"),
        (("on", "--policy-sha256", "f" * 64, "--any-data"), "--any-data goes with --suite FILE"),
        (("on", "--suite", "s.toml", "--any-suite"), "name one of them"),
        (("on", "--suite", "s.toml", "--policy-sha256", "f" * 64), "name one of them"),
        (("off", "--suite", "s.toml"), "nothing to name a suite for"),
        (("off", "--policy-sha256", "f" * 64), "nothing to name a suite for"),
    ],
)
def test_a_pin_that_cannot_be_meant_exits_with_2_before_anybody_is_asked(alone, words, message):
    code, out, err = alone.run("traffic", "require-gate", MODEL, *words)

    assert (code, out) == (2, "")
    assert message in err


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (None, "s.toml: cannot be read: No such file"),
        ("heading = 1", "unknown field `heading`"),
        ("", "s.toml asks nothing: an empty policy never passes"),
        ('data = "gone.csv"\n[latency]\nratio_max = 1.2', "gone.csv cannot be read"),
    ],
)
def test_a_suite_that_nobody_could_pass_is_never_pinned(alone, suite, message):
    if suite is not None:
        Path("s.toml").write_text(suite)
    code, _, err = alone.run("traffic", "require-gate", MODEL, "on", "--suite", "s.toml")

    assert code == 1
    assert message in err


def test_a_long_way_to_a_suite_is_shown_by_its_last_part(traffic):
    far = Path("/".join(["d" * 60] * 6))
    far.mkdir(parents=True)
    (far / "s.toml").write_text("[size]\nbytes_max = 1")
    moved = traffic.json("traffic", "require-gate", MODEL, "on", "--suite", str(far / "s.toml"), "--wait", "0")
    assert (moved["plan"]["gate_pin"]["suite"], moved["plan"]["gate_pin"]["data_sha256"]) == ("s.toml", None)
