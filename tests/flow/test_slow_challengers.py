"""A challenger that hangs cannot hurt: the champion answers within the caller's deadline, and the hung run is ended."""

import json
import re
import time

import httpx
import pytest

from prediction_log.spool.segment import Kind

INFER = "/v2/models/steady/infer"
HANGS = 2e8
GATEWAY_SECONDS = 60.0
CALLER_SECONDS = 10.0
SHADOW_SECONDS = 10.0
"""As long as a gateway gives a request: far from what a busy machine takes for one that waits for nobody."""


@pytest.fixture
def steady(request, tmp_path, graphs, start):
    """The model `steady`: version 1 is the identity, version 2 hangs on a huge input. Every run takes a thread."""
    limit_ms = 1000 * getattr(request, "param", GATEWAY_SECONDS)
    root = tmp_path / "steady-models" / "steady"
    for version, model in (("1", graphs.identity(shape=["n", 1])), ("2", graphs.hanging())):
        (root / version).mkdir(parents=True)
        (root / version / "model.onnx").write_bytes(model.SerializeToString())
    (root / "aliases.json").write_text(json.dumps({"champion": "1"}))
    return start("serve", registry=root.parent, inline_run_us_max=0, session_threads=2, request_timeout_ms=limit_ms)


def ask(running, value, **parameters):
    tensor = {"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [value]}
    return httpx.post(running.data + INFER, json={"inputs": [tensor], "parameters": parameters}, timeout=60)


def shift(running, verb, **body):
    reply = httpx.post(
        f"{running.admin}/admin/models/steady/{verb}", json=body | {"who": "test", "wait_ms": 60_000}, timeout=120
    )
    assert reply.status_code == 200, reply.text


def test_a_hanging_canary_is_replaced_by_the_champion_within_the_deadline(steady, records):
    shift(steady, "canary", version="2", share=1.0)
    assert ask(steady, 1.0).json()["model_version"] == "2"

    began = time.monotonic()
    reply = ask(steady, HANGS, timeout=int(CALLER_SECONDS * 1e6))
    took = time.monotonic() - began

    assert reply.status_code == 200, reply.text
    assert reply.json()["model_version"] == "1"
    assert took < 0.4 * GATEWAY_SECONDS, "half of the caller's time is the canary's, not half of the gateway's"
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
        assert re.search("no answer within|the deadline passed", refused.json()["error"]), refused.text

    assert ask(steady, 1.0).status_code == 200, "the threads are free again"
    timeouts = [r for r in records(steady.state, Kind.PREDICTION) if r.status == "timeout"]
    assert [(r.version, r.answered, r.error_code) for r in timeouts] == [("2", False, "deadline_exceeded")] * 4


@pytest.mark.parametrize("steady", [SHADOW_SECONDS], indirect=True)
def test_a_hanging_shadow_delays_nobody_and_leaves_its_record(start, steady, records, until):
    shift(steady, "shadow", version="2", share=1.0)

    took = []
    for _ in range(5):
        began = time.monotonic()
        assert ask(steady, HANGS).json()["model_version"] == "1"
        took.append(time.monotonic() - began)

    assert sum(one > SHADOW_SECONDS / 2 for one in took) < 2, (
        f"a machine may stand still once, shadows always hang: {took}"
    )
    shadows = until(
        lambda: len(found := [r for r in records(steady.state, Kind.PREDICTION) if r.role == "shadow"]) == 5 and found,
        seconds=90,
        what="the records of five shadows that hung",
    )
    assert {r.status for r in shadows} <= {"timeout", "skipped"}
    assert all(not r.answered and r.error for r in shadows)
