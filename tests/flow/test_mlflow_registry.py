"""Real MLflow servers, of both major releases: what teams do to their registry, and what is served meanwhile and after."""

import asyncio
import json
import signal
import subprocess
import sys

import httpx
import pytest

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from gateway.models.sessions import load_session
from registry_client.choice import open_registry
from registry_client.mlflow import MlflowRegistry
from tests.flow.mlflow_desk import Desk
from tests.services.mlflow import RELEASES, MlflowServer

pytestmark = pytest.mark.timeout(900)  # the first run installs two releases of MLflow


@pytest.fixture(scope="session", params=sorted(RELEASES))
def mlflow(request, tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp(f"mlflow-{request.param}"), request.param)
    server.start()
    try:
        yield Desk(server)
    finally:
        server.kill()


@pytest.fixture
def ask(mlflow, tmp_path):
    """Runs a scenario `(registry)` with a client that was just made; the cache is there from one to the next."""

    def ask(scenario, url=None, environment=None, **more):
        async def run():
            registry = open_registry(url or mlflow.url, tmp_path / "cache", environment or {})
            assert isinstance(registry, MlflowRegistry)
            registry._clock = iter(float(turn * 1000) for turn in range(10**6)).__next__
            for name, value in more.items():
                setattr(registry._questions, f"_{name}", value)
            try:
                return await scenario(registry)
            finally:
                await registry.aclose()

        return asyncio.run(run())

    return ask


def test_what_a_pipeline_registers_can_be_served(mlflow, ask, caplog):
    async def scenario(registry):
        models = await registry.models()
        assert set(models) >= {"m", "heavy", "mixed", "bare", "files", "sk"}
        assert await registry.versions("m") == ["1", "2"]
        assert await registry.pointers("heavy") == {}
        fetched = {name: await registry.fetch(name, "1") for name in ("m", "heavy", "mixed", "bare", "files")}
        sessions = {name: await load_session(one) for name, one in fetched.items()}
        assert fetched["m"].metadata.task.output == "y"
        assert fetched["m"].metadata.inputs[0].features == ("c0", "c1", "c2")
        assert fetched["files"].metadata.owner == "risk"
        assert fetched["m"].metadata.params == {"depth": "3", "seed": "7"}
        assert fetched["m"].metadata.metrics == {"auc": 0.81}
        assert (fetched["m"].metadata.data_version, len(fetched["m"].metadata.run_id)) == ("2026-11", 32)
        assert (fetched["files"].path / "more" / "notes.txt").read_text() == "hello"
        assert [path.suffix for path in fetched["heavy"].path.glob("*.data")] == [".data"]
        assert [spec.name for spec in sessions["mixed"].signature.inputs] == ["age", "home_country", "income"]
        assert {name: (one.path / "input_example.json").exists() for name, one in fetched.items()} == {
            "m": True,
            "heavy": True,
            "mixed": True,
            "bare": False,
            "files": True,
        }
        with pytest.raises(ModelRejected, match=r"^sk version 1: no onnx flavor: has python_function, sklearn$"):
            await registry.fetch("sk", "1")

    ask(scenario)
    assert caplog.records == []


def test_lists_come_in_pages(mlflow, ask):
    mlflow.make("pages", *"1212121")

    async def scenario(registry):
        assert {"m", "heavy", "mixed", "bare", "files", "sk", "pages"} <= set(await registry.models())
        assert await registry.versions("pages") == list("1234567")

    ask(scenario, page_entries=2)


def test_aliases_set_moved_and_deleted(mlflow, ask, caplog):
    mlflow.make("aliased", "1", "2")

    async def scenario(registry):
        assert await registry.pointers("aliased") == {}
        mlflow.alias("aliased", "champion", "1")
        mlflow.alias("aliased", "Challenger", "2")
        assert await registry.pointers("aliased") == {"champion": "1", "Challenger": "2"}
        mlflow.alias("aliased", "champion", "2")
        assert await registry.pointers("aliased") == {"champion": "2", "Challenger": "2"}
        mlflow.unalias("aliased", "champion")
        assert await registry.pointers("aliased") == {"Challenger": "2"}

    with caplog.at_level("INFO", "pointsman.registry"):
        ask(scenario)
    said = [record.message.partition("alias ")[2] for record in caplog.records]
    assert said[-2:] == [
        "champion of aliased is at version 2, was at 1",
        "champion of aliased, which was at version 2, is gone: what serves goes on serving",
    ]


def test_stages_of_old_are_shown(mlflow, ask):
    mlflow.make("staged", "1", "2")
    mlflow.say("POST", "model-versions/transition-stage", {"name": "staged", "version": "1", "stage": "Production"})

    async def scenario(registry):
        assert await registry.pointers("staged") == {"stage:Production": "1"}

    ask(scenario)


def test_a_deleted_version_serves_on_and_what_is_gone_is_said(mlflow, ask, caplog):
    # MLflow 2.22 leaves an alias behind that points at nothing, 3.x deletes it too
    left = {"champion": "2"} if mlflow.server.release.startswith("2.") else {}
    mlflow.make("shrinking", "1", "2")
    mlflow.alias("shrinking", "champion", "2")

    async def scenario(registry):
        assert await registry.pointers("shrinking") == {"champion": "2"}
        assert await registry.versions("shrinking") == ["1", "2"]
        fetched = await registry.fetch("shrinking", "2")
        mlflow.delete("shrinking", "2")
        assert await registry.pointers("shrinking") == left
        assert await registry.versions("shrinking") == ["1"]
        assert await registry.fetch("shrinking", "2") == fetched
        with pytest.raises(NotFound, match="has no version 3 of shrinking: RESOURCE_DOES_NOT_EXIST"):
            await registry.fetch("shrinking", "3")
        return fetched

    fetched = ask(scenario)
    assert sum("alias champion of shrinking" in record.message for record in caplog.records) == 1 - len(left)
    assert sum("version 2 of shrinking is gone" in record.message for record in caplog.records) == 1

    async def after_a_restart(registry):
        assert await registry.fetch("shrinking", "2", fetched.digest) == fetched

    ask(after_a_restart)


def test_a_model_deleted_and_made_again_has_new_versions_under_old_numbers(mlflow, ask, caplog):
    mlflow.make("phoenix", "1")

    async def scenario(registry):
        await registry.models()
        old = await registry.fetch("phoenix", "1")
        mlflow.delete("phoenix")
        assert "phoenix" not in await registry.models()
        with pytest.raises(NotFound, match="has no model phoenix"):
            await registry.pointers("phoenix")
        assert await registry.versions("phoenix") == []
        assert await registry.fetch("phoenix", "1") == old
        mlflow.make("phoenix", "2")
        new = await registry.fetch("phoenix", "1")
        assert new.digest != old.digest
        pinned = await registry.fetch("phoenix", "1", old.digest)
        assert (pinned.digest, pinned.path, pinned.created_us) == (old.digest, old.path, old.created_us)
        assert (pinned.metadata.run_id, pinned.metadata.params) == ("", {}), "what MLflow says is of the new one"
        assert new.created_us > old.created_us

    ask(scenario)
    assert any("has no model phoenix any more" in record.message for record in caplog.records)
    assert any("version 1 of phoenix was made again" in record.message for record in caplog.records)


def test_tags_and_description_are_read_again_without_fetching_the_files_again(mlflow, ask):
    mlflow.make("tagged", "1")
    mlflow.say("PATCH", "model-versions/update", {"name": "tagged", "version": "1", "description": "first"})

    async def scenario(registry):
        first = await registry.fetch("tagged", "1")
        assert (first.metadata.description, first.metadata.owner) == ("first", "")
        mlflow.say("POST", "registered-models/set-tag", {"name": "tagged", "key": "owner", "value": "risk"})
        mlflow.say("POST", "model-versions/set-tag", {"name": "tagged", "version": "1", "key": "git", "value": "abc"})
        second = await registry.fetch("tagged", "1")
        assert (second.metadata.owner, second.metadata.tags["git"]) == ("risk", "abc")
        assert (second.digest, second.path) == (first.digest, first.path)

    ask(scenario)


def test_a_server_that_nobody_finds_and_that_comes_back(mlflow, ask, make_proxy):
    """As one that is stopped and started again, without half a minute of waiting for it."""
    way = make_proxy(mlflow.server.port)
    url = f"http://{way.address}"

    async def before(registry):
        return await registry.fetch("m", "1")

    fetched = ask(before, url)
    way.close()

    async def meanwhile(registry):
        with pytest.raises(RegistryUnavailable, match="does it run"):
            await registry.models()
        assert await registry.fetch("m", "1") == fetched
        assert await registry.fetch("m", "1", fetched.digest) == fetched
        with pytest.raises(RegistryUnavailable, match="does it run"):
            await registry.fetch("m", "2")
        assert registry.poll_after(10.0) > 10.0

    ask(meanwhile, url)
    make_proxy(mlflow.server.port, way.port)

    async def again(registry):
        assert "m" in await registry.models()
        assert (await registry.fetch("m", "2")).digest != fetched.digest

    ask(again, url)


def infer(running, x, version=None):
    path = "/v2/models/m/infer" if version is None else f"/v2/models/m/versions/{version}/infer"
    request = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": x}]}
    reply = httpx.post(f"{running.data}{path}", json=request, timeout=60)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    return said["model_version"], said["outputs"][0]["data"]


def test_predictions_follow_the_champion_and_outlive_the_server(mlflow, start, until):
    mlflow.alias("m", "champion", "1")
    settings = {"registry": mlflow.url, "registry_poll_seconds": 0.3, "workers": 1}
    running = start("up", **settings)

    assert infer(running, [1, 2, 3]) == ("1", [6.0])
    summaries = f"{running.monitor}/summaries?model=m&version=1"
    until(
        lambda: httpx.get(summaries, timeout=60).json().get("rows"),
        seconds=60,
        what="the monitor's count of a prediction",
    )
    mlflow.alias("m", "champion", "2")
    until(lambda: infer(running, [1, 2, 3]) == ("2", [12.0]), seconds=60, what="the move of the champion")
    reply = httpx.post(
        f"{running.data}/v2/models/mixed/infer",
        json={
            "inputs": [
                {"name": "age", "shape": [1], "datatype": "FP32", "data": [44]},
                {"name": "home_country", "shape": [1], "datatype": "BYTES", "data": ["de"]},
                {"name": "income", "shape": [1], "datatype": "FP32", "data": [3]},
            ]
        },
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    shown = httpx.get(f"{running.admin}/admin/models", timeout=60).json()["models"]
    assert {row["model"]: row["aliases"] for row in shown}["m"] == {"champion": "2"}

    mlflow.server.stop()
    try:
        assert infer(running, [1, 2, 3]) == ("2", [12.0])
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        assert "HTTP Request" not in running.log.read_text(), "what is asked again and again is no news"
        again = start("serve", state=running.state, **settings)
        assert infer(again, [1, 2, 3]) == ("2", [12.0])
    finally:
        mlflow.server.start()
    mlflow.alias("m", "champion", "1")
    until(lambda: infer(again, [1, 2, 3]) == ("1", [6.0]), seconds=240, what="the move after the outage")


def test_a_move_at_the_server_waits_for_a_person_where_the_plan_says_so(mlflow, start, until):
    mlflow.make("asked", "1", "2")
    mlflow.alias("asked", "champion", "1")
    running = start("up", registry=mlflow.url, registry_poll_seconds=0.3, workers=2)
    path = f"{running.admin}/admin/models/asked"
    until(lambda: httpx.get(f"{path}/plan", timeout=60).status_code == 200, seconds=60, what="the first plan")
    assert httpx.post(f"{path}/alias-policy", json={"policy": "request"}, timeout=60).status_code == 200
    mlflow.alias("asked", "champion", "2")

    def promotions():
        return httpx.get(f"{path}/promotions", timeout=60).json()

    [waiting] = until(lambda: promotions()["promotions"], seconds=60, what="the promotion")
    reply = httpx.post(f"{path}/promotions/{waiting['promotion_id']}/approve", json={"who": "ada"}, timeout=60)
    assert reply.status_code == 200, reply.text
    assert reply.json()["plan"]["champion"]["version"] == waiting["candidate"]["version"] == "2"
    mlflow.unalias("asked", "champion")
    until(lambda: len(promotions()["moves"]) == 2, seconds=60, what="the deletion")
    assert [move["after"] and move["after"]["version"] for move in promotions()["moves"]] == [None, "2"]
    assert httpx.get(f"{path}/plan", timeout=60).json()["champion"]["version"] == "2"


def test_a_gates_result_stands_at_the_version_where_that_is_asked_for(mlflow, tmp_path):
    (tmp_path / "suite.toml").write_text("[size]\nbytes_max = 1_000_000\n")
    command = [sys.executable, "-m", "pointsman", "gate", "m", "2", "--baseline", "1", "--registry", mlflow.url]
    command += ["--suite", str(tmp_path / "suite.toml"), "--no-record", "--json", "--write-tags"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    reply = httpx.get(
        f"{mlflow.url}/api/2.0/mlflow/model-versions/get", params={"name": "m", "version": "2"}, timeout=60
    )
    tags = {tag["key"]: tag["value"] for tag in reply.json()["model_version"]["tags"]}
    result = json.loads(done.stdout)
    assert (tags["pointsman.gate_id"], tags["pointsman.gate_outcome"]) == (result["gate_id"], "pass")
    assert tags["pointsman.gate_baseline"] == f"1@{result['baseline']['digest']}"
