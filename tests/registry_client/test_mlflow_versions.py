"""A version of an MLflow server under its digest: fetched once, described by its tags, and it serves on while the server lies."""

import asyncio
import json

import pytest

from contracts.errors import ModelRejected, NotFound
from tests.registry_client.lying_server import ARTIFACTS, HTML, ROOT, refused


def test_the_server_as_it_should_be(meet, files):
    async def scenario(server, registry):
        assert await registry.models() == ["m"]
        assert await registry.pointers("m") == {"champion": "1"}
        assert await registry.versions("m") == ["1"]
        fetched = await registry.fetch("m", "1")
        assert (fetched.path / "model.onnx").read_bytes() == files["net.onnx"]
        assert sorted(path.name for path in fetched.path.iterdir()) == ["MLmodel", "model.onnx"]
        assert fetched.created_us == 1_700_000_000_123_000
        before = len(server.asked)
        assert await registry.fetch("m", "1") == fetched
        assert [path for path in server.asked[before:] if path.startswith(ARTIFACTS)] == []

    meet(scenario)


def test_a_version_without_files_yet_is_not_there_yet(meet):
    async def scenario(server, registry):
        server.version |= {"status": "PENDING_REGISTRATION"}
        assert await registry.versions("m") == []
        with pytest.raises(NotFound, match="is not ready: PENDING_REGISTRATION"):
            await registry.fetch("m", "1")

    meet(scenario)


def test_what_was_fetched_serves_on_while_the_server_lies_and_after_a_restart(meet):
    async def fetch(server, registry):
        return await registry.fetch("m", "1")

    fetched = meet(fetch)

    async def lie(server, registry):
        for answer in (HTML, refused(500, "INTERNAL_ERROR", "x"), refused(404, "RESOURCE_DOES_NOT_EXIST", "gone")):
            server.instead["model-versions/get"] = answer
            assert await registry.fetch("m", "1") == fetched
            assert await registry.fetch("m", "1", fetched.digest) == fetched

    meet(lie)


def test_a_number_that_means_other_files_is_another_version(meet, graphs):
    async def scenario(server, registry):
        old = await registry.fetch("m", "1")
        server.version |= {"creation_timestamp": 1_800_000_000_000}
        server.files = server.files | {"net.onnx": graphs.mlp(bias=1.0).SerializeToString()}
        new = await registry.fetch("m", "1")
        assert new.digest != old.digest
        assert await registry.fetch("m", "1", old.digest) == old
        with pytest.raises(ModelRejected, match="a model that was deleted and made again"):
            await registry.fetch("m", "1", "0" * 64)

    meet(scenario)


def test_tags_and_descriptions_tell_what_the_files_do_not(meet):
    task = {"kind": "regression", "output": "p"}

    async def scenario(server, registry):
        server.model |= {
            "description": "of the model",
            "tags": [{"key": "owner", "value": "risk"}, {"key": "a", "value": "1"}],
        }
        server.version |= {
            "tags": [
                {"key": "pointsman.task", "value": json.dumps(task)},
                {"key": "mlflow.user", "value": "x"},
                {"key": "a"},
            ]
        }
        plain = await registry.fetch("m", "1")
        assert (plain.metadata.description, plain.metadata.owner, plain.metadata.tags) == (
            "of the model",
            "risk",
            {"a": ""},
        )
        assert plain.metadata.task.output == "p"
        server.version |= {"description": "of the version", "creation_timestamp": 2}
        server.files |= {"model.json": b'{"owner": "files"}'}
        told = await registry.fetch("m", "1")
        assert (told.metadata.description, told.metadata.owner) == ("of the version", "files")
        server.version |= {"tags": [{"key": "pointsman.task", "value": "{}"}]}
        with pytest.raises(ModelRejected, match="its tag pointsman.task is not a Task"):
            await registry.fetch("m", "1")

    meet(scenario)


def test_a_reference_among_the_files_is_no_part_of_the_version(meet, reference):
    async def scenario(server, registry):
        before = await registry.fetch("m", "1")
        assert await registry.reference("m", "1") is None
        server.files |= {"reference.json": reference("m", "1")}
        server.version |= {"creation_timestamp": 2}
        found = await registry.reference("m", "1")
        assert (found.model, found.version) == ("m", "1")
        assert (await registry.fetch("m", "1")).digest == before.digest
        server.instead["model-versions/get"] = HTML
        assert await registry.reference("m", "1") == found

    meet(scenario)


def test_several_that_want_one_version_fetch_it_once(meet):
    async def scenario(server, registry):
        fetched = await asyncio.gather(*[registry.fetch("m", "1") for _ in range(5)])
        assert len({one.digest for one in fetched}) == 1
        assert server.asked.count(f"{ARTIFACTS}/{ROOT}/net.onnx") == 1

    meet(scenario)
