"""`pointsman card` against a real admin API and a real monitor: what it prints, writes, and says that it does not know."""

import asyncio
import json
import socket
import sys
import threading
from contextlib import contextmanager

import httpx
import pytest
from msgspec.structs import replace

from contracts.card import Card
from contracts.plan import VersionRef
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.settings import Settings
from contracts.wire import decode, encode
from gateway.admin.main import serve_admin
from monitor.main import serve_monitor
from pointsman.main import main
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer
from tests.gateway.gate_results import flight_gate

MODEL = "flight-delay"
NOBODY = "http://127.0.0.1:1"
APRIL_US = 1_364_774_400_000_000
ROWS = 30
EVIL = "<script>alert(1)</script>\x1b[2J\u202e[bold]"
METADATA = {
    "description": EVIL,
    "owner": "team delay",
    "intended_use": "telling travellers",
    "git_commit": "abc123",
    "inputs": [{"name": "x", "features": ["a", "b", "c"]}],
    "tags": {"approved": EVIL},
}


@pytest.fixture
def settings(tmp_path, graphs, monkeypatch):
    for version in ("1", "2", "3"):
        folder = tmp_path / "models" / MODEL / version
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graphs.mlp(bias=float(version)).SerializeToString())
    (tmp_path / "models" / MODEL / "2" / "model.json").write_text(json.dumps(METADATA))
    (tmp_path / "models" / MODEL / "aliases.json").write_text('{"champion": "1", "next": "2"}')
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)
    return Settings(registry=str(tmp_path / "models"), state_dir=tmp_path / "state", log_segment_bytes=65536)


@contextmanager
def served(serve, settings):
    """A role as it is wired in its process, in a thread; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve(settings, listener, stop),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
        listener.close()
        assert not thread.is_alive()
        loop.close()


@pytest.fixture
def admin(settings):
    with served(serve_admin, settings) as address:
        yield address


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs `pointsman card`; the exit code, what it printed, and what it said."""

    def run(version, *words, admin, monitor=NOBODY):
        words = ["card", MODEL, version, *map(str, words), "--admin", admin, "--monitor", monitor]
        monkeypatch.setattr(sys, "argv", ["pointsman", *words])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


def post(address, path, content):
    response = httpx.post(f"{address}/admin/models/{MODEL}/{path}", content=content, timeout=120)
    assert response.status_code == 200, response.text
    return response.json()


def prediction(number):
    return Prediction(
        prediction_id=f"00000000-0000-7000-8000-{number:012x}",
        request_id=None,
        received_us=APRIL_US + number,
        event_us=APRIL_US + number,
        model=MODEL,
        version="2" if number % 3 else "1",
        digest="d",
        variant="canary-2" if number % 3 else "champion",
        role="challenger" if number % 3 else "champion",
        answered=True,
        revision=2,
        assignment=Assignment(unit_hash="0", unit_source="request_id", salt="s", share=1, propensity=1, reason="hash"),
        rows=1,
        features={"a": [1.0], "b": [2.0], "c": [3.0]},
        extra_features=[],
        outputs={"p": Output(datatype="FP32", shape=[1, 1], data=[0.5])},
        status="ok",
        error_code=None,
        error=None,
        fallback_from=None,
        latency=Latency(queue_us=0, run_us=1, total_us=2),
        batch_rows=1,
        worker="w",
        gateway_version="0",
    )


async def log_predictions(spool):
    log = await open_writer(spool, "worker-0", disk_reserve_bytes=0)
    for number in range(ROWS):
        await log.append(Kind.PREDICTION, encode(prediction(number)))
    await log.aclose()


def counted(address):
    """Waits until the monitor has counted every prediction."""
    with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
        for _ in range(1200):
            rows = client.get("/summaries", params={"model": MODEL, "statistic": "predictions"}).json().get("rows", [])
            if sum(row["value"] for row in rows if not row["slice"]) == ROWS:
                return
            threading.Event().wait(0.05)
    raise AssertionError("the monitor did not count the log")


def test_a_card_says_everything_that_gateway_and_monitor_know(settings, admin, command, tmp_path):
    post(admin, "canary", b'{"version": "2", "share": "10%", "who": "ada", "reason": "a first look"}')
    digest = decode(Card, command("2", "--json", admin=admin)[1].encode()).digest
    kept = replace(flight_gate(), candidate=VersionRef(version="2", digest=digest))
    post(admin, "gates", encode(kept))
    asyncio.run(log_predictions(settings.state_dir / "spool"))
    with served(serve_monitor, settings) as monitor:
        counted(monitor)
        code, shown, _ = command("2", admin=admin, monitor=monitor)
        printed = command("2", "--json", "--html", tmp_path / "card.html", admin=admin, monitor=monitor)
    card = decode(Card, printed[1].encode())

    assert (code, printed[0]) == (0, 0)
    assert card.files.metadata.intended_use == "telling travellers"
    assert [(spec.name, spec.features, spec.shape) for spec in card.signature.inputs] == [
        ("x", ("a", "b", "c"), (-1, 3))
    ]
    assert (card.aliases, card.plan_revision) == (("next",), 2)
    assert [(role.role, role.digest) for role in card.roles] == [("canary", digest)]
    assert [(step.who, step.reason) for step in card.traffic] == [("ada", "a first look")]
    assert [one.gate_id for one in card.gates] == [kept.gate_id]
    assert [row.value for row in card.live if row.statistic == "predictions"] == [20.0]
    assert {row.version for row in card.live} == {"2"}
    assert [gap.part for gap in card.gaps] == ["reference", "live"]
    assert "none that has a label was counted" in card.gaps[-1].reason
    for word in (
        f"{MODEL} version 2",
        digest,
        "team delay",
        "canary-2 (canary), 10%",
        "a first look",
        kept.gate_id,
        "FP32",
    ):
        assert word in shown, word
    assert "note: how good its predictions are: none that has a label was counted" in shown
    assert f"card written to {tmp_path / 'card.html'}" in printed[2]
    assert kept.gate_id in (tmp_path / "card.html").read_text()


def test_without_a_monitor_the_card_says_that_its_part_is_not_known(admin, command):
    code, shown, _ = command("3", admin=admin)

    assert code == 0
    assert f"not known: the monitor does not answer at {NOBODY}" in shown
    assert "not known: no reference was built: `pointsman reference build` makes one" in shown
    assert shown.count("not said") == 9, "description, owner, use, limits, task, slices, run, commit, data version"
    assert "the model has no plan yet" in shown
    assert "it never had a part" in shown


def test_a_monitor_that_refuses_is_told(admin, command):
    shown = command("3", admin=admin, monitor=admin)[1]
    assert f"not known: the monitor at {admin} answered 404" in shown


def test_nothing_that_users_wrote_steers_terminal_or_browser(admin, command, tmp_path):
    shown = command("2", admin=admin)[1]
    command("2", "--html", tmp_path / "card.html", admin=admin)
    page = (tmp_path / "card.html").read_text()

    assert "<script>alert(1)</script>\ufffd[2J\ufffd[bold]" in shown
    assert "\x1b" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page


def test_a_version_that_nobody_knows_is_refused_by_name(admin, command):
    code, shown, said = command("9", admin=admin)
    assert (code, shown) == (1, "")
    assert f"{MODEL} version 9" in said


def test_without_an_admin_api_there_is_no_card(settings, command):
    code, _, said = command("2", admin=NOBODY)
    assert code == 1
    assert f"nobody answers at {NOBODY}" in said


def test_a_page_that_cannot_be_written_is_told(admin, command, tmp_path):
    code, _, said = command("1", "--html", tmp_path / "no" / "card.html", admin=admin)
    assert code == 1
    assert "--html" in said
    assert "cannot be written" in said
