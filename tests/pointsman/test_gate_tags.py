"""`pointsman gate --write-tags`: what an MLflow server is told, and that a result is never lost because of one."""

import asyncio
import json
import os
import sys

import pytest

from contracts.gate import GateResult
from contracts.wire import decode
from tests.registry_client.lying_server import LyingServer, refused, said

SUITE = '[size]\nbytes_max = 100_000\n\n[[behaviours]]\nname = "zero"\ninputs = {{ "x[0]" = 0, "x[1]" = 0, "x[2]" = 0 }}\nlow = {low}\n'
MLMODEL = b"flavors:\n  onnx:\n    data: model.onnx\n"


@pytest.fixture
def gate(tmp_path, graphs):
    """Runs the command beside a server whose `m` has one version; `meanwhile` changes the server before it is asked."""

    def run(*words, meanwhile=lambda _server: None, low=-10, registry=None):
        (tmp_path / "suite.toml").write_text(SUITE.format(low=low))
        graph = graphs.mlp().SerializeToString()
        task = json.dumps({"task": {"kind": "regression", "output": "p"}}).encode()

        async def scenario():
            async with LyingServer({"MLmodel": MLMODEL, "model.onnx": graph, "model.json": task}) as server:
                meanwhile(server)
                command = [sys.executable, "-m", "pointsman", "gate", "m", "1", "--suite", str(tmp_path / "suite.toml")]
                command += ["--registry", registry or server.url, "--baseline", "1", "--no-record", "--json", *words]
                process = await asyncio.create_subprocess_exec(
                    *command, env=os.environ | {"COLUMNS": "250"}, stdout=-1, stderr=-1
                )
                out, err = await asyncio.wait_for(process.communicate(), 100)
                return process.returncode, out, " ".join(err.decode().split()), server.told

        return asyncio.run(scenario())

    return run


def test_the_version_bears_the_result_and_the_outcome_comes_last(gate):
    code, out, err, told = gate("--write-tags")

    result = decode(GateResult, out)
    assert code == 0, err
    assert {(one["name"], one["version"]) for one in told} == {("m", "1")}
    assert {one["key"]: one["value"] for one in told} == {
        "pointsman.gate_id": result.gate_id,
        "pointsman.gate_digest": result.candidate.digest,
        "pointsman.gate_baseline": f"1@{result.candidate.digest}",
        "pointsman.gate_policy_sha256": result.policy_sha256,
        "pointsman.gate_data_sha256": "none",
        "pointsman.gate_evaluated_at": told[5]["value"],
        "pointsman.gate_who": result.who,
        "pointsman.gate_outcome": "pass",
    }
    assert told[-1]["key"] == "pointsman.gate_outcome"
    assert told[5]["value"].endswith("Z")


def test_a_failure_is_written_too_and_nothing_is_unless_asked(gate):
    code, _, _, told = gate("--write-tags", low=10)
    assert (code, told[-1]["value"]) == (1, "fail")
    code, _, _, told = gate()
    assert (code, told) == (0, [])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refused(403, "PERMISSION_DENIED", "Permission denied"), "the tag pointsman.gate_id of m version 1"),
        (refused(500, "INTERNAL_ERROR", "oops"), "the tag pointsman.gate_id of m version 1"),
    ],
)
def test_a_server_that_refuses_a_tag_fails_the_command_and_the_result_is_there_all_the_same(
    gate, tmp_path, answer, reason
):
    def refusing(server):
        server.instead["model-versions/set-tag"] = answer

    code, out, err, _ = gate("--write-tags", "--out", str(tmp_path / "gate.json"), meanwhile=refusing)

    assert code == 1
    assert reason in err
    assert "not tagged" in err
    assert decode(GateResult, out).outcome == "pass"
    assert (tmp_path / "gate.json").read_bytes() == out.rstrip(b"\n")


def test_a_version_that_was_made_again_meanwhile_gets_no_tags(gate, graphs):
    other = graphs.mlp(bias=9.0).SerializeToString()

    def made_again(server):
        def version(_query):
            if any(path.endswith("/model.onnx") for path in server.asked):
                server.files["model.onnx"] = other
                server.version["creation_timestamp"] = 1_800_000_000_000
            return said({"model_version": server.version})

        server.instead["model-versions/get"] = version

    code, out, err, told = gate("--write-tags", meanwhile=made_again)

    assert code == 1, err
    assert "has other files now than the gate saw" in err
    assert told == []
    assert decode(GateResult, out).outcome == "pass"


def test_a_folder_has_no_tags_and_that_is_said_before_anything_runs(gate, tmp_path):
    code, out, err, told = gate("--write-tags", registry=str(tmp_path))
    assert (code, out, told) == (1, b"", [])
    assert "is a folder, which has no tags" in err
