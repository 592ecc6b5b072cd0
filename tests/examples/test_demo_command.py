"""`pointsman demo` as a newcomer runs it, in small: it ends by itself, every figure counted twice."""

import json
import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager, suppress

import pytest
from typer.testing import CliRunner

from contracts.errors import InvalidSettings
from examples.flights import demo as flights
from examples.flights.addresses import DEFAULT_PORTS
from pointsman.claims import sole_owner
from pointsman.demo import MARK, empty
from pointsman.main import app

PREDICTIONS = 1_000
PATIENT = {"POINTSMAN_REQUEST_TIMEOUT_MS": "60000"}
"""How long a request may take: a machine that stands still for a while must neither refuse a flight nor skip a shadow."""


@contextmanager
def default_ports_taken():
    """The ports in somebody's hands, whether ours or another's; else two demos at a time would look for the same."""
    with ExitStack() as held:
        for port in DEFAULT_PORTS.values():
            taken = held.enter_context(socket.socket())
            with suppress(OSError):
                taken.bind(("127.0.0.1", port))
                taken.listen()
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The result of one small demo whose default ports are taken."""
    folder = tmp_path_factory.mktemp("demo")
    arguments = ["--predictions", str(PREDICTIONS), "--json", "result.json", "--seed", "3"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    with default_ports_taken():
        ended = subprocess.run(
            [sys.executable, "-m", "pointsman", "demo", *arguments],
            cwd=folder,
            env=environment | PATIENT,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder, json.loads((folder / "result.json").read_bytes()), ended.stdout


def test_every_prediction_was_answered_and_counted(demo):
    _, result, _ = demo
    assert result["predictions"] == PREDICTIONS
    of_variant = {(c["variant"], c["version"]): c["recount"]["predictions"] for c in result["closings"]}
    assert of_variant["shadow-3", "3"] == PREDICTIONS
    assert sum(count for (variant, _), count in of_variant.items() if variant != "shadow-3") == PREDICTIONS


def test_every_figure_stood_up_to_the_recount(demo):
    _, result, _ = demo
    assert result["agrees"]
    for closing in result["closings"]:
        assert {c["statistic"] for c in closing["comparisons"]} >= {"predictions", "auc", "log_loss", "brier", "ece"}
        assert all(c["agrees"] for c in closing["comparisons"])


def test_the_log_is_certified_complete_and_counted_once(demo):
    _, result, _ = demo
    assert result["complete"]
    assert result["certificate"]["ok"]
    assert result["certificate"]["missing"] == 0
    assert result["certificate"]["counted"] == result["certificate"]["records"] > 3 * PREDICTIONS


def test_the_traffic_was_shifted_promoted_and_rolled_back(demo):
    _, result, _ = demo
    assert [step["words"].split()[1] for step in result["steps"]] == [
        "shadow",
        "canary",
        "canary",
        "promote",
        "rollback",
    ]
    assert {(c["variant"], c["version"]) for c in result["closings"]} == {
        ("champion", "1"),
        ("canary-2", "2"),
        ("champion", "2"),
        ("shadow-3", "3"),
    }


def test_labels_came_late_corrected_and_twice_and_never_for_cancelled_flights(demo):
    _, result, _ = demo
    assert result["labels"] > PREDICTIONS
    shadow = next(c for c in result["closings"] if c["variant"] == "shadow-3")
    assert 0.9 < shadow["recount"]["label_coverage"] < 1.0


def test_it_says_what_it_does_without_a_terminal(demo):
    _, result, said = demo
    assert re.search(r"^201[34]-\d\d-\d\d  [\d,]+ predictions", said, re.MULTILINE), "event time went on"
    for words in ("training version 1", "pointsman up", "stand up to the recount", result["report"]):
        assert words in said


def test_a_second_demo_may_take_the_place_of_the_first(demo):
    folder, _, _ = demo
    empty(folder / "demo-state")
    assert [entry.name for entry in (folder / "demo-state").iterdir() if entry.is_dir()] == []


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(InvalidSettings, match="no demo made"):
        empty(tmp_path)
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_demo_that_still_serves_is_left_alone(tmp_path):
    (tmp_path / MARK).touch()
    (tmp_path / "spool").mkdir()
    with sole_owner(tmp_path, "worker.lock"), pytest.raises(InvalidSettings, match="in use"):
        empty(tmp_path)
    assert (tmp_path / "spool").exists()


def test_the_demo_runs_over_kafka_and_redis_and_is_certified_there(kafka, redis_server, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    redis_server.kill()
    redis_server.start()  # what is not kept is not synced either: a shift is given two seconds, whatever the disk does
    monkeypatch.setattr(flights, "load", lambda: table.iloc[::20])  # trained in a blink: how well does not matter here
    command = ["demo", "--predictions", "400", "--json", "result.json", "--kafka", kafka.address]
    command += ["--redis", redis_server.url]
    with default_ports_taken():
        ended = CliRunner().invoke(app, [*command, "--seed", "5"], env=PATIENT)
    assert ended.exit_code == 0, ended.output
    result = json.loads((tmp_path / "result.json").read_bytes())

    assert result["predictions"] == 400
    assert (result["agrees"], result["complete"]) == (True, True)
    assert result["certificate"]["missing"] == 0
    assert not (tmp_path / "demo-state" / "plans.sqlite").exists()
    assert "topics demo-" in ended.stdout

    # other versions: what the store names cannot be had here
    with default_ports_taken():
        again = CliRunner().invoke(app, [*command, "--seed", "6"], env=PATIENT)
    assert again.exit_code == 1
    assert "name an empty plan store" in again.stderr
