"""MLflow servers that are set up otherwise: one that does not proxy its files, and one that asks who we are."""

import asyncio

import pytest

from contracts.errors import RegistryUnavailable
from gateway.models.sessions import load_session
from registry_client.choice import open_registry
from tests.services.mlflow import RELEASES, MlflowServer

pytestmark = pytest.mark.timeout(900)  # the first run installs two releases of MLflow


@pytest.fixture
def own(tmp_path):
    """Servers of a test's own: `own(release, **options)`."""
    started = []

    def start(release, **options):
        server = MlflowServer(tmp_path / f"server-{len(started)}", release, **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_files_that_are_not_proxied_are_read_by_the_server(own, tmp_path, release):
    server = own(release, proxied=False)
    files = {"more/notes.txt": "hello"}
    server.register({"do": "log", "name": "heavy", "kind": "heavy"}, {"do": "log", "name": "files", "files": files})

    async def scenario():
        registry = open_registry(server.url, tmp_path / "cache", {})
        try:
            heavy, files = await registry.fetch("heavy", "1"), await registry.fetch("files", "1")
            await load_session(heavy)
            assert len(list(heavy.path.glob("*.data"))) == 1
            assert (files.path / "more" / "notes.txt").read_text() == "hello"
        finally:
            await registry.aclose()

    asyncio.run(scenario())


def test_a_server_that_asks_who_we_are(own, tmp_path):
    server = own(max(RELEASES), password="not-a-secret-of-anybody")

    async def asked(environment):
        registry = open_registry(server.url, tmp_path / "cache", environment)
        try:
            return await registry.models()
        finally:
            await registry.aclose()

    for environment in ({}, {"MLFLOW_TRACKING_TOKEN": "wrong"}):
        with pytest.raises(RegistryUnavailable, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
            asyncio.run(asked(environment))
    known = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": server.password}
    assert asyncio.run(asked(known)) == []
