"""A challenger that hangs cannot hurt: the champion answers within the caller's deadline, and the hung run is ended."""

import json
import time

import httpx
import pytest

from prediction_log.spool.segment import Kind

INFER = "/v2/models/steady/infer"
HANGS = 2e8


@pytest.fixture
def steady(tmp_path, graphs, start):
    """The model `steady`: version 1 is the identity, version 2 hangs on a huge input. Every run takes a thread."""
    root = tmp_path / "steady-models" / "steady"
    for version, model in (("1", graphs.identity(shape=["n", 1])), ("2", graphs.hanging())):
        (root / version).mkdir(parents=True)
        (root / version / "model.onnx").write_bytes(model.SerializeToString())
    (root / "aliases.json").write_text(json.dumps({"champion": "1"}))
    return start("serve", registry=root.parent, inline_run_us_max=0, session_threads=2)


def ask(running, value, **parameters):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
    return httpx.post(running.data + INFER, json={"inputs": [tensor], "parameters": parameters}, timeout=30)


def shift(running, verb, **body):
    reply = httpx.post(
        f"{running.admin}/admin/models/steady/{verb}", json=body | {"who": "test", "wait_ms": 5000}, timeout=60
    )
    assert reply.status_code == 200, reply.text


def test_a_hanging_canary_is_replaced_by_the_champion_within_the_deadline(steady, records):
    shift(steady, "canary", version="2", share=1.0)
    assert ask(steady, 1.0).json()["model_version"] == "2"

    began = time.monotonic()
    reply = ask(steady, HANGS, timeout=800_000)
    took = time.monotonic() - began

    assert reply.status_code == 200, reply.text
    assert reply.json()["model_version"] == "1"
    assert took < 0.8
    about = [
        r
        for r in records(steady.state, Kind.PREDICTION)
        if r.prediction_id == reply.json()["parameters"]["prediction_id"]
    ]
    assert [(r.version, r.status, r.answered, r.fallback_from) for r in about] == [
        ("2", "timeout", False, None),
        ("1", "ok", True, "canary-2"),
    ]


def test_a_hanging_champion_is_a_504_with_a_record_and_its_run_is_ended(steady, records):
    shift(steady, "switch", version="2")

    for _ in range(4):
        refused = ask(steady, HANGS, timeout=300_000)
        assert refused.status_code == 504
        assert "no answer within" in refused.json()["error"]

    assert ask(steady, 1.0).status_code == 200, "the threads are free again"
    timeouts = [r for r in records(steady.state, Kind.PREDICTION) if r.status == "timeout"]
    assert [(r.version, r.answered, r.error_code) for r in timeouts] == [("2", False, "deadline_exceeded")] * 4


def test_a_hanging_shadow_delays_nobody_and_leaves_its_record(start, steady, records, until):
    shift(steady, "shadow", version="2", share=1.0)

    began = time.monotonic()
    for _ in range(5):
        assert ask(steady, HANGS).json()["model_version"] == "1"
    took = time.monotonic() - began

    assert took < 3
    shadows = until(
        lambda: len(found := [r for r in records(steady.state, Kind.PREDICTION) if r.role == "shadow"]) == 5 and found,
        seconds=40,
        what="the records of five shadows that hung",
    )
    assert {r.status for r in shadows} <= {"timeout", "skipped"}
    assert all(not r.answered and r.error for r in shadows)
