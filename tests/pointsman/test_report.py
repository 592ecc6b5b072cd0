"""`pointsman report`: asked of a real monitor that counted a real log, it shows what the summaries say."""

import asyncio
import json
import socket
import threading

import httpx
import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidInput, NotFound, Unavailable
from contracts.prediction import Assignment, Latency, Output, Prediction
from contracts.settings import Settings
from contracts.wire import encode
from monitor.main import serve_monitor
from pointsman.main import app
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

PATIENCE_SECONDS = 60
APRIL_US = 1_364_774_400_000_000
WIDE = {"COLUMNS": "200"}


def make_prediction(number, variant, version):
    identity = f"00000000-0000-7000-8000-{number:012x}"
    assignment = Assignment(unit_hash="0", unit_source="request_id", salt="s", share=1, propensity=1, reason="hash")
    return Prediction(
        prediction_id=identity,
        request_id=None,
        received_us=APRIL_US + number,
        event_us=APRIL_US + number,
        model="fraud",
        version=version,
        digest="d",
        variant=variant,
        role="champion" if variant == "champion" else "challenger",
        answered=True,
        revision=1,
        assignment=assignment,
        rows=1,
        features={"amount": [1.5]},
        extra_features=[],
        outputs={"p": Output(datatype="FP64", shape=[1, 1], data=[0.5])},
        status="ok",
        error_code=None,
        error=None,
        fallback_from=None,
        latency=Latency(queue_us=0, run_us=1, total_us=2),
        batch_rows=1,
        worker="w",
        gateway_version="0",
    )


async def write_log(spool):
    log = await open_writer(spool, "worker-0", disk_reserve_bytes=0)
    for number in range(30):
        who = ("canary-2", "2") if number % 3 == 0 else ("champion", "1")
        await log.append(Kind.PREDICTION, encode(make_prediction(number, *who)))
    await log.aclose()


@pytest.fixture(scope="module")
def monitor(tmp_path_factory):
    """The address of a monitor that has counted thirty predictions."""
    home = tmp_path_factory.mktemp("report")
    (home / "models").mkdir()
    settings = Settings(registry=str(home / "models"), state_dir=home / "state")
    asyncio.run(write_log(settings.state_dir / "spool"))
    listener = socket.create_server(("127.0.0.1", 0))
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(serve_monitor(settings, listener, stop),))
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with httpx.Client(base_url=address, trust_env=False, timeout=PATIENCE_SECONDS) as client:
        for _ in range(1200):
            body = client.get("/status").json()
            if body.get("counted_records") == 30:
                break
            threading.Event().wait(0.05)
    yield address
    loop.call_soon_threadsafe(stop.set)
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    loop.close()


def run(*arguments):
    return CliRunner().invoke(app, ["report", *arguments], env=WIDE)


def test_the_table_shows_every_variant_and_what_to_look_at_first(monitor):
    result = run("fraud", "--monitor", monitor)
    assert result.exit_code == 0, result.output
    head = next(line for line in result.output.splitlines() if "champion" in line and "┃" in line)
    assert head.index("champion") < head.index("canary-2")
    figures = next(line for line in result.output.splitlines() if "predictions" in line and "│" in line)
    assert [cell.strip() for cell in figures.strip("│ ").split("│")] == ["predictions", "20", "10"]
    assert "2013-04-01T00:00:00Z to 2013-04-01T00:05:00Z of event time" in result.output


def test_json_is_the_body_of_the_summaries(monitor):
    result = run("fraud", "--monitor", monitor, "--json")
    rows = json.loads(result.output)["rows"]
    totals = {row["variant"]: row["value"] for row in rows if row["statistic"] == "predictions"}
    assert totals == {"champion": 20.0, "canary-2": 10.0}


def test_html_is_the_report_in_a_file(monitor, tmp_path):
    target = tmp_path / "fraud.html"
    result = run("fraud", "--monitor", monitor, "--html", str(target))
    assert result.exit_code == 0, result.output
    assert target.read_text().startswith("<!doctype html>")
    assert "champion (version 1)" in target.read_text()


def test_html_and_json_together_give_both(monitor, tmp_path):
    target = tmp_path / "fraud.html"
    result = CliRunner().invoke(
        app, ["report", "fraud", "--monitor", monitor, "--html", str(target), "--json"], env=WIDE
    )
    assert json.loads(result.stdout)["rows"]
    assert target.exists()


def test_a_model_or_period_without_predictions_is_refused_by_name(monitor):
    for arguments in (["no-such"], ["fraud", "--from", "2014-01-01T00:00:00Z", "--to", "2014-02-01T00:00:00Z"]):
        result = run(*arguments, "--monitor", monitor)
        assert isinstance(result.exception, NotFound)
        assert arguments[0] in str(result.exception)


def test_a_wrong_time_is_refused_with_the_monitors_reason(monitor):
    result = run("fraud", "--monitor", monitor, "--from", "yesterday")
    assert isinstance(result.exception, InvalidInput)
    assert "from: 'yesterday'" in str(result.exception)


def test_without_a_monitor_the_command_says_how_to_start_one():
    with socket.socket() as nobody:  # has the port, so that nobody else gets it, and does not listen
        nobody.bind(("127.0.0.1", 0))
        result = run("fraud", "--monitor", f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert isinstance(result.exception, Unavailable)
    assert "pointsman up" in str(result.exception)


def test_an_address_that_is_none_is_refused():
    assert isinstance(run("fraud", "--monitor", "localhost").exception, InvalidInput)
