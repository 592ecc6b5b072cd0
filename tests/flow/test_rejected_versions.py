"""A version in the registry that is no model, under real processes: why is told wherever one looks, until it is replaced."""

import json
import subprocess
import sys
import time

import httpx

MODEL = "flight-delay"
WHY = "onnxruntime cannot load it"


def run(running, *words):
    command = [sys.executable, "-m", "pointsman", *words]
    environment = running.environment | {"COLUMNS": "240"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def versions(running):
    reply = httpx.get(f"{running.admin}/admin/models/{MODEL}/versions", timeout=30).json()
    return {row["version"]: row for row in reply["versions"]}


def of_version_2(rows):
    (row,) = [row for row in rows if row["version"] == "2"]
    return row


def test_why_a_version_is_rejected_is_told_wherever_one_looks_until_good_bytes_replace_it(
    start, registry, flight, until
):
    graph = registry / MODEL / "2" / "model.onnx"
    good = graph.read_bytes()
    graph.write_bytes(b"no model")
    (registry / MODEL / "aliases.json").write_text(json.dumps({"champion": "1", "next": "2"}))
    before_us = time.time_ns() // 1000
    running = start("up", workers=2)

    by = ["worker-0", "worker-1"]
    found = until(lambda: (rows := versions(running))["2"]["by"] == by and rows, seconds=60, what="the rejection")
    assert {version: row["state"] for version, row in found.items()} == {
        "1": "serving",
        "2": "rejected",
        "3": "available",
        "4": "available",
    }
    assert found["2"]["reason"].startswith(WHY)
    assert before_us <= found["2"]["since_us"] <= time.time_ns() // 1000

    out = run(running, "models").stdout
    assert f"version 2 of {MODEL} is rejected since 20" in out
    assert WHY in out
    (model,) = json.loads(run(running, "models", "--json").stdout)["models"]
    assert of_version_2(model["states"]) == found["2"]

    pinned = f"{running.data}/v2/models/{MODEL}/versions"
    index = httpx.post(f"{running.data}/v2/repository/index", timeout=30).json()
    assert of_version_2(index)["state"] == "UNAVAILABLE"
    assert of_version_2(index)["reason"].startswith(f"rejected: {WHY}")
    for name in ("2", "next"):
        ready, answer = httpx.get(f"{pinned}/{name}/ready"), httpx.post(f"{pinned}/{name}/infer", json=flight())
        assert (ready.status_code, answer.status_code) == (503, 503)
        assert f"it is rejected: {WHY}" in ready.text
        assert f"it is rejected: {WHY}" in answer.text

    refused = run(running, "traffic", "warm", MODEL, "2")
    assert refused.returncode != 0
    assert WHY in refused.stderr
    assert versions(running)["2"]["by"] == [*by, "admin"]

    graph.write_bytes(good)
    taken = run(running, "traffic", "warm", MODEL, "2", "--wait", "60")
    assert taken.returncode == 0, taken.stderr
    loaded = {"version": "2", "state": "loaded", "reason": "", "since_us": None, "by": by}
    until(lambda: versions(running)["2"] == loaded, what="loading version 2")
    assert "rejected" not in run(running, "models").stdout
    index = httpx.post(f"{running.data}/v2/repository/index", timeout=30).json()
    assert of_version_2(index) == {"name": MODEL, "version": "2", "state": "READY", "reason": ""}
    assert httpx.get(f"{pinned}/2/ready").status_code == 200
    assert httpx.post(f"{pinned}/next/infer", json=flight()).status_code == 200
