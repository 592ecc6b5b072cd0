"""`pointsman explain`: one prediction, by the log of a real gateway: who decided, on what, under whose plan, and the label."""

import json
import shutil
import subprocess

import httpx
import pytest
from typer.testing import CliRunner

from pointsman.main import app
from prediction_log.spool.segment import Kind

INFER = "/v2/models/flight-delay/infer"


def explain(running, prediction_id, *words):
    """The command in this process: it takes a second less than in one of its own."""
    done = CliRunner().invoke(app, ["explain", prediction_id, *words], env=running.environment)
    return done.exit_code, done.stdout, done.stderr


def explain_apart(running, prediction_id, *words):
    """The command as people run it: so an error is told, too."""
    done = subprocess.run(
        [*running.command[:3], "explain", prediction_id, *words],
        env=running.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def running(start):
    """A gateway whose log has many small segments."""
    return start("serve", log_segment_bytes=8192)


def ask(running, request):
    reply = httpx.post(running.data + INFER, json=request, timeout=30).json()
    return reply["parameters"]["prediction_id"], reply


def shift(running, verb, **body):
    url = f"{running.admin}/admin/models/flight-delay/{verb}"
    reply = httpx.post(url, json={"who": "ada", "reason": "try it", "wait_ms": 60_000} | body, timeout=120)
    assert reply.status_code == 200, reply.text
    assert reply.json()["converged"].startswith("1/1 in"), reply.text


def asked_twice(records, running, prediction_id):
    """Whether the shadow's record is there, too: nobody waits for it."""
    return sum(record.prediction_id == prediction_id for record in records(running.state, Kind.PREDICTION)) == 2


def test_everything_that_is_known_of_one_prediction(running, flight, records, until):
    for _ in range(200):
        ask(running, flight())
    shift(running, "shadow", version="2", share=1.0)
    prediction_id, reply = ask(running, flight(routing_key="N14228") | {"id": "mine"})
    labels = [
        {"prediction_id": prediction_id, "label": 0},
        {"prediction_id": prediction_id, "label": 1, "label_version": 1},
    ]
    assert httpx.post(f"{running.data}/v2/labels", json={"labels": labels}, timeout=30).status_code == 202
    until(lambda: asked_twice(records, running, prediction_id), what="the shadow's record")

    code, said, _ = explain(running, prediction_id, "--json")
    found = json.loads(said)

    assert code == 0
    assert (found["prediction_id"], found["row"]) == (prediction_id, 0)
    answer = found["answer"]
    assert (answer["version"], answer["variant"], answer["request_id"]) == ("1", "champion", "mine")
    assert answer["outputs"]["probabilities"]["data"] == pytest.approx(reply["outputs"][0]["data"])
    assert [(one["version"], one["role"], one["status"]) for one in found["others"]] == [("2", "shadow", "ok")]
    assert [label["label"] for label in found["labels"]] == [1, 0], "the one that counts comes first"
    assert (found["change"]["verb"], found["change"]["who"]) == ("shadow", "ada")
    assert found["change"]["revision"] == answer["revision"] == 2

    screen = explain(running, prediction_id)[1]
    for words in (
        "version 1 of flight-delay",
        answer["digest"],
        "shadow by ada",
        '"try it"',
        "hour = 17",
        "version 2 as",
    ):
        assert words in " ".join(screen.split()), screen


def test_a_row_of_many_has_its_own_features_answer_and_label(running):
    rows = [
        {"name": "distance", "shape": [3, 1], "datatype": "FP32", "data": [100, 200, 300]},
        {"name": "hour", "shape": [3, 1], "datatype": "FP32", "data": [1, 2, 3]},
    ]
    prediction_id, reply = ask(running, {"inputs": rows})
    labels = [{"prediction_id": f"{prediction_id}#{row}", "label": row % 2} for row in range(3)]
    assert httpx.post(f"{running.data}/v2/labels", json={"labels": labels}, timeout=30).status_code == 202

    found = json.loads(explain(running, f"{prediction_id}#2", "--json")[1])
    assert (found["row"], [label["label"] for label in found["labels"]]) == (2, [0])
    screen = " ".join(explain(running, f"{prediction_id}#2")[1].split())
    assert "distance = 300, hour = 3" in screen
    assert f"probabilities = [{reply['outputs'][0]['data'][4]:.4}"[:-2] in screen


def test_a_fallback_and_a_failure_are_told_as_what_they_were(running, flight):
    shift(running, "canary", version="4", share=1.0)
    fallback, _ = ask(running, flight())
    screen = " ".join(explain(running, fallback)[1].split())
    assert "version 1 of flight-delay, as champion (champion), in place of canary-4" in screen
    assert "version 4 as canary-4 (challenger): error" in screen

    shift(running, "switch", version="4")
    assert httpx.post(running.data + INFER, json=flight(), timeout=30).status_code == 500
    lines = subprocess.run(
        [*running.command[:3], "log", "cat", "--kind", "prediction"],
        env=running.environment, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    failed = json.loads(lines[-1])["record"]["prediction_id"]
    screen = " ".join(explain(running, failed)[1].split())
    assert "nobody: version 4 of flight-delay (champion) error" in screen
    assert json.loads(explain(running, failed, "--json")[1])["answer"] is None


UNKNOWN = {
    "0190b8a0-0000-7000-8000-000000000001": "is not in the log of",
    "0190b8a0-0000-4000-8000-000000000001": "those are UUIDs of version 7",
    "nonsense": "is none that a reply carried",
    "0190b8a0-0000-7000-8000-000000000001#x": "after '#' comes a row number",
}


def test_an_id_that_nobody_recorded_is_an_error_that_says_what_to_do(running):
    for prediction_id, reason in UNKNOWN.items():
        code, said, error = explain_apart(running, prediction_id)
        assert (code, said) == (1, ""), prediction_id
        assert reason in " ".join(error.split())


def test_what_kafka_has_counts_once_and_suffices_where_the_spool_is_gone(start, kafka, flight, records, until):
    options = json.dumps({"prefix": kafka.prefix(), "partitions": 3})
    running = start("serve", kafka=kafka.address, kafka_options=options)
    shift(running, "shadow", version="2", share=1.0)
    prediction_id, _ = ask(running, flight())
    label = {"prediction_id": prediction_id, "label": 1}
    assert httpx.post(f"{running.data}/v2/labels", json={"labels": [label]}, timeout=30).status_code == 202
    until(lambda: asked_twice(records, running, prediction_id), what="the shadow's record")
    forwarder = start("forward", state=running.state, kafka=kafka.address, kafka_options=options)
    until(lambda: all_sent(running), seconds=120, every=1.0, what="all records in Kafka")
    assert forwarder.stop() == 0  # or it might write into the spool while that goes away

    code, both, error = explain(running, prediction_id, "--json")
    assert code == 0, error
    shutil.rmtree(running.state / "spool")
    code, alone, error = explain(running, prediction_id, "--json")

    assert code == 0, error
    assert json.loads(both) == json.loads(alone)
    found = json.loads(alone)
    assert (found["answer"]["version"], [label["label"] for label in found["labels"]]) == ("1", [1])
    assert [(one["version"], one["role"]) for one in found["others"]] == [("2", "shadow")]
    assert (found["change"]["verb"], found["change"]["who"], found["doubts"]) == ("shadow", "ada", [])


def all_sent(running):
    """Whether Kafka has the whole log; that no monitor counts from there is no matter here."""
    command = [*running.command[:3], "log", "verify", "--state-dir", str(running.state), "--wait", "30", "--json"]
    said = subprocess.run(command, env=running.environment, capture_output=True, timeout=120, check=False).stdout
    return bool(said) and all(json.loads(said)[name] == 0 for name in ("pending", "missing"))


def test_a_kafka_that_is_away_leaves_the_spool_and_is_told(running, flight):
    prediction_id, _ = ask(running, flight())

    code, said, _ = explain(running, prediction_id, "--json", "--kafka", "127.0.0.1:9")
    assert code == 0
    (doubt,) = json.loads(said)["doubts"]
    assert doubt.startswith("not read: Kafka at 127.0.0.1:9")
    code, _, error = explain_apart(running, "0190b8a0-0000-7000-8000-000000000001", "--kafka", "127.0.0.1:9")
    assert code == 1
    assert "Kafka at 127.0.0.1:9" in " ".join(error.split())


def test_damage_on_the_way_is_told_beside_the_answer(running, flight):
    ids = [ask(running, flight())[0] for _ in range(100)]
    running.stop()
    (segment, *_) = sorted((running.state / "spool").glob("worker-0/*/*"), key=lambda path: path.name)[2:]
    content = bytearray(segment.read_bytes())
    content[len(content) // 3] ^= 0xFF
    segment.write_bytes(content)

    code, said, error = explain(running, ids[0], "--json")
    assert code == 0, error
    assert any("loss" in doubt or "rot" in doubt for doubt in json.loads(said)["doubts"])
    assert "in doubt" in explain(running, ids[0])[1]
