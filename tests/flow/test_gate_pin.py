"""A plan pins the suite: who passed an easier one gets no traffic, who passes the pinned one does. Real processes and clients."""

import json
import re
import shlex
import subprocess

import httpx
import numpy as np
import pytest

from tests.flow.conftest import BINARY, FLOATS, scoring_model

MODEL = "flight-delay"
EASY = 'data = "../rows.csv"\nlabel = "late"\n[headline]\nmetric = "auc"\nepsilon = 1.0\n'
HARD = EASY.replace("1.0", "0.05")


@pytest.fixture
def shop(tmp_path, registry):
    """Two suites on the same rows, whose truth is version 1's own opinion; 2 ranks nearly as well, 5 the other way round."""
    scoring_model(registry / MODEL / "5" / "model.onnx", FLOATS, [-0.001, -0.05], 2.0)
    (registry / MODEL / "5" / "model.json").write_text(json.dumps({"task": BINARY}))
    random = np.random.default_rng(0)
    distance, hour = random.uniform(0, 3000, 3000), random.uniform(0, 24, 3000)
    late = random.random(3000) < 1 / (1 + np.exp(2 - 0.001 * distance - 0.05 * hour))
    lines = [f"{d},{h},{int(truth)}" for d, h, truth in zip(distance, hour, late, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["distance,hour,late", *lines]))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "easy.toml").write_text(EASY)
    (tmp_path / "suites" / "hard.toml").write_text(HARD)
    return tmp_path


def test_who_passed_an_easier_suite_is_refused_and_who_passes_the_pinned_one_answers(shop, start, flight):
    running = start("up", workers=1)

    def run(code, *words):
        done = subprocess.run(
            [*running.command[:3], *words],
            env=running.environment | {"COLUMNS": "250"}, cwd=shop, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done

    def served():
        answers = [
            httpx.post(
                f"{running.data}/v2/models/{MODEL}/infer", json=flight(routing_key=f"unit-{unit}"), timeout=30
            ).json()["model_version"]
            for unit in range(60)
        ]
        return set(answers)

    pinned = run(0, "traffic", "require-gate", MODEL, "on", "--suite", "suites/hard.toml", "--reason", "policy 7")
    for version in "25":
        easy = run(0, "gate", MODEL, version, "--suite", "suites/easy.toml")
        assert "recorded at" in easy.stderr
        assert "it opens no traffic: revision 2 of 'flight-delay' wants a gate of policy" in easy.stderr
    refused = run(1, "traffic", "canary", MODEL, "2", "50%").stderr
    assert served() == {"1"}

    [command] = re.findall("`(pointsman gate [^`]+)`", refused)
    assert "opens no traffic" not in run(0, *shlex.split(command)[1:]).stderr
    run(0, "traffic", "canary", MODEL, "2", "50%", "--wait", "60")
    assert served() == {"1", "2"}

    run(1, *shlex.split(command.replace(f"{MODEL} 2", f"{MODEL} 5"))[1:])
    worse = run(1, "traffic", "canary", MODEL, "5", "10%").stderr
    history = run(0, "traffic", "history", MODEL).stdout
    assert running.stop() == 0

    [policy] = re.findall(r"a gate must be of policy (\w{12}) \(suites/hard.toml\) on data \w{12}", pinned.stderr)
    assert f"of policy {policy} (suites/hard.toml) on data " in refused
    assert ": those that it has are of policy " in refused
    assert re.search(r"its last one, [\w-]{36}, says fail", worse)
    assert f"a gate is required; a gate must be of policy {policy}" in history
    assert "policy 7" in history
