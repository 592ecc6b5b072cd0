"""A real MLflow server calls a real Pointsman, which else would not ask for a day: only the webhook explains the move."""

import httpx
import pytest

from tests.services.mlflow import RELEASES, MlflowServer

pytestmark = pytest.mark.timeout(900)

SECRET = "shared with nobody"
DAY = 86_400.0


@pytest.fixture
def server(tmp_path):
    made = MlflowServer(tmp_path / "mlflow", max(RELEASES), local_webhooks=True)
    made.start()
    yield made
    made.kill()


def say(server, path, document):
    reply = httpx.post(f"{server.url}/api/2.0/mlflow/{path}", json=document, timeout=60)
    assert reply.status_code == 200, reply.text


def alias(server, version):
    say(server, "registered-models/alias", {"name": "m", "alias": "champion", "version": version})


def infer(running):
    request = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    reply = httpx.post(f"{running.data}/v2/models/m/infer", json=request, timeout=60)
    assert reply.status_code == 200, reply.text
    return reply.json()["model_version"]


def test_an_alias_that_moves_is_followed_though_nobody_polls(server, start, until, monkeypatch):
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET", SECRET)
    server.register(*({"do": "log", "name": "m", "factor": factor} for factor in (1.0, 2.0)))
    # no alias is set before the webhook is there: MLflow remembers for a minute that nobody wants to hear of an event
    running = start("up", registry=server.url, registry_poll_seconds=DAY, workers=2)
    url = f"{running.admin}/admin/registry/webhook"
    events = [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}]
    say(server, "webhooks", {"name": "pointsman", "url": url, "secret": SECRET, "events": events})
    assert infer(running) == "2", "the newest one, without an alias"

    alias(server, "1")
    until(lambda: {infer(running) for _ in range(20)} == {"1"}, seconds=60, what="the move of the champion")
    health = httpx.get(f"{running.admin}/admin/health", timeout=60).json()
    assert (health["webhooks_taken"], health["webhooks_refused"]) == (1, 0)
