"""Whatever a server says when it is asked: a bounded answer, in time, with a reason that says what to do."""

import asyncio

import pytest

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from registry_client.choice import open_registry
from registry_client.limits import Limits
from registry_client.mlflow_rest import Access
from tests.registry_client.lying_server import HTML, Answer, LyingServer, instead, refused, said


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HTML, "answered text/html; charset=utf-8 where JSON is due"),
        (Answer(200, b"{", "application/json"), "did not answer as an MLflow server does"),
        (Answer(200, b'{"registered_models": 7}'), "did not answer as an MLflow server does"),
        (Answer(200, b"[" * 100_000), "did not answer as an MLflow server does"),
        (Answer(200, b"\xff\xfe"), "did not answer as an MLflow server does"),
        (Answer(200, b"{}", length=10_000), "did not answer for models: peer closed connection"),
        (Answer(200, b" " * 70_000, endless=True), "sent more than the 100000 bytes due for models"),
        (Answer(200, b"x", headers={"content-encoding": "gzip"}), "sent models compressed"),
        (
            Answer(302, headers={"location": "http://169.254.169.254/latest"}),
            "redirects to 'http://169.254.169.254/latest'",
        ),
        (
            Answer(307, headers={"location": "file:///etc/passwd"}),
            "redirects to 'file:///etc/passwd'; they are not followed",
        ),
        (Answer(401, b"<html>", "text/html"), "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (
            Answer(403, b"Invalid Host header - possible DNS rebinding attack detected", "text/plain"),
            "--allowed-hosts 127.0.0.1:",
        ),
        (Answer(403, b"Permission denied", "text/plain"), "the permission READ"),
        (Answer(404, b"<html>not found", "text/html"), "knows no route to models (404): check the path in registry"),
        (Answer(409, b'{"error_code": "CONFLICT", "message": "m"}'), "answered 409 for models: CONFLICT m"),
        (Answer(429, b"slow down", "text/plain"), "answered 429 for models: slow down; it is asked too often"),
        (
            Answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "boom"}'),
            "answered 500 for models: INTERNAL_ERROR boom",
        ),
        (Answer(503, b"Artifacts are disabled", "text/plain"), "start MLflow with --serve-artifacts"),
        (Answer(500, b"e" * 70_000, "text/plain", endless=True), "answered 500 for models: eee"),
    ],
)
def test_every_bad_answer_is_an_outage_with_a_reason(rejection, answer, reason):
    message = rejection(
        instead("registered-models/search", answer),
        RegistryUnavailable,
        "models",
        limits=Limits(document_bytes_max=100_000),
    )

    assert message.startswith("MLflow at http://127.0.0.1:")
    assert reason in message


def test_a_byte_now_and_then_is_not_waited_for(rejection):
    dripping = Answer(200, b'{"registered_models": []}' * 100, pause=0.05)

    message = rejection(
        instead("registered-models/search", dripping), RegistryUnavailable, "models", answer_seconds=0.5
    )

    assert "was too slow with models: not there after 0.5 s" in message


def test_silence_is_not_waited_for(rejection):
    silent = Answer(200, b"{}", length=100, pause=30.0)

    message = rejection(instead("registered-models/search", silent), RegistryUnavailable, "models", read_seconds=0.2)

    assert "did not answer for models: ReadTimeout" in message


def test_nobody_there_is_an_outage(meet):
    async def scenario(server, registry):
        server._server.close()
        with pytest.raises(RegistryUnavailable, match="did not answer for models: .*; does it run?"):
            await registry.models()

    meet(scenario)


def test_a_bad_question_is_no_outage(rejection):
    assert "refuses to answer for versions of m: INVALID_PARAMETER_VALUE odd" in rejection(
        instead("model-versions/search", refused(400, "INVALID_PARAMETER_VALUE", "odd")), ModelRejected, "versions"
    )
    assert "has no model m: RESOURCE_DOES_NOT_EXIST gone" in rejection(
        instead("registered-models/get", refused(404, "RESOURCE_DOES_NOT_EXIST", "gone")), NotFound, "pointers"
    )
    # how MLflow says that an alias is not there, or, in 2.22, the model of one
    assert "has no model m" in rejection(
        instead(
            "registered-models/get", refused(400, "INVALID_PARAMETER_VALUE", "Registered model alias x not found.")
        ),
        NotFound,
        "pointers",
    )


def test_pages_that_never_end_end(meet):
    def same(query):
        return said({"registered_models": [{"name": "m"}], "next_page_token": "again"})

    def more(query):
        return said(
            {"registered_models": [{"name": "m"}] * 9, "next_page_token": str(int(query.get("page_token", 0)) + 1)}
        )

    async def scenario(server, registry):
        server.instead["registered-models/search"] = same
        with pytest.raises(RegistryUnavailable, match="gives the pages of models in a circle"):
            await registry.models()
        server.instead["registered-models/search"] = more
        with pytest.raises(ModelRejected, match="has more than 50 models"):
            await registry.models()

    meet(scenario, Limits(entries_max=50))


@pytest.mark.parametrize("name", ["../up", "a/b", "nul\0", "x" * 300, "-option", ".hidden", "m\u0435", "", "a b"])
def test_names_that_could_lead_elsewhere_are_passed_over_and_never_asked_for(meet, name):
    async def scenario(server, registry):
        server.model = {"name": "m", "aliases": [{"alias": name, "version": "1"}, {"alias": "good", "version": "1"}]}
        server.instead["model-versions/search"] = said(
            {"model_versions": [{"name": "m", "version": name}, server.version]}
        )
        assert await registry.pointers("m") == {"good": "1"}
        assert await registry.versions("m") == ["1"]
        server.model = {"name": name}
        assert await registry.models() == []
        before = len(server.asked)
        for ask in (
            registry.pointers(name),
            registry.versions(name),
            registry.fetch(name, "1"),
            registry.fetch("m", name),
        ):
            with pytest.raises(NotFound, match="names nothing"):
                await ask
        assert len(server.asked) == before

    meet(scenario)


def test_an_answer_about_another_version_is_no_answer(rejection):
    def another(server):
        server.version |= {"version": "2"}

    assert "answered for another version than 1 of m" in rejection(another, RegistryUnavailable)


def test_credentials_are_sent_and_never_shown(tmp_path):
    async def scenario():
        async with LyingServer({}) as server:
            environment = {"MLFLOW_TRACKING_TOKEN": "secret", "MLFLOW_WORKSPACE": "team-a"}
            registry = open_registry(server.url, tmp_path, environment)
            await registry.models()
            server.instead["registered-models/search"] = Answer(401, b"", "text/html")
            with pytest.raises(RegistryUnavailable) as caught:
                await registry.models()
            await registry.aclose()
            assert all("authorization: Bearer secret\r\n" in head for head in server.heads)
            assert all("x-mlflow-workspace: team-a\r\n" in head.lower() for head in server.heads)
            assert "secret" not in str(caught.value)

    asyncio.run(scenario())
    assert "secret" not in repr(Access(url="http://host", headers={"authorization": "Bearer secret"}))
