"""The folder registry tells what is there and fetches it as a private copy, once for each state of its files."""

import asyncio
import os
import time

import pytest

from contracts.errors import ModelRejected, NotFound
from contracts.metadata import InputMetadata, ModelMetadata
from registry_client.folder import FolderRegistry
from registry_client.limits import Limits
from registry_client.registry import RegistryClient


def test_a_folder_registry_is_a_registry_client(registry):
    client: RegistryClient = registry
    assert client is registry


def test_models_versions_and_pointers_are_what_the_folder_holds(registry, root, write):
    for version in ("10", "2", "1", "candidate"):
        write("flight-delay", version)
    write("other", "1")
    (root / "flight-delay" / "aliases.json").write_text('{"champion": "2", "challenger": "10"}')
    (root / "README.md").write_text("not a model")
    (root / ".hidden").mkdir()
    (root / "flight-delay" / "notes").mkdir()
    (root / "flight-delay" / ".11").mkdir()

    assert asyncio.run(registry.models()) == ["flight-delay", "other"]
    assert asyncio.run(registry.versions("flight-delay")) == ["1", "2", "10", "candidate"]
    assert asyncio.run(registry.pointers("flight-delay")) == {"champion": "2", "challenger": "10"}
    assert asyncio.run(registry.pointers("other")) == {}


def test_a_fetched_version_is_a_private_copy_with_its_metadata(registry, root, cache, write):
    source = write(
        "m",
        "1",
        model={
            "owner": "risk",
            "inputs": [{"name": "x", "features": ["a", "b", "c"]}],
            "tags": {"git": "abc"},
            "intended_use": "letters",
            "limits": "no minors",
            "run_id": "r1",
            "git_commit": "abc",
            "data_version": "7",
            "params": {"depth": "6"},
        },
        input_example={"x": [[1, 2, 3]]},
    )
    os.utime(source / "model.onnx", ns=(0, 1_700_000_000_123_456_000))

    fetched = asyncio.run(registry.fetch("m", "1"))

    assert (fetched.model, fetched.version, fetched.path) == ("m", "1", cache / fetched.digest)
    assert fetched.metadata == ModelMetadata(
        owner="risk",
        inputs=(InputMetadata(name="x", features=("a", "b", "c")),),
        tags={"git": "abc"},
        intended_use="letters",
        limits="no minors",
        run_id="r1",
        git_commit="abc",
        data_version="7",
        params={"depth": "6"},
    )
    assert fetched.created_us == 1_700_000_000_123_456
    assert sorted(path.name for path in fetched.path.iterdir()) == ["input_example.json", "model.json", "model.onnx"]


def test_a_version_without_documents_has_empty_metadata(registry, write):
    write("m", "1")
    assert asyncio.run(registry.fetch("m", "1")).metadata == ModelMetadata()


def test_another_byte_anywhere_is_another_digest_and_a_reference_is_none(registry, write, rewrite, reference):
    source = write("m", "1", files={"w.bin": b"0"})
    first = asyncio.run(registry.fetch("m", "1"))
    (source / "reference.json").write_bytes(reference("m", "1"))
    same = asyncio.run(registry.fetch("m", "1"))
    rewrite(source / "w.bin", b"1")
    second = asyncio.run(registry.fetch("m", "1"))
    (source / "w.bin").rename(source / "v.bin")
    third = asyncio.run(registry.fetch("m", "1"))

    assert same == first
    assert len({first.digest, second.digest, third.digest}) == 3


def test_the_same_version_with_other_files_is_another_digest_and_the_old_one_stays_at_hand(
    registry, write, rewrite, graphs
):
    source = write("m", "1")
    old = asyncio.run(registry.fetch("m", "1"))
    rewrite(source / "model.onnx", graphs.mlp(bias=1.0).SerializeToString())
    new = asyncio.run(registry.fetch("m", "1"))

    assert new.digest != old.digest
    assert asyncio.run(registry.fetch("m", "1", old.digest)) == old
    assert asyncio.run(registry.fetch("m", "1")) == new


def test_a_pinned_digest_that_is_nowhere_is_refused_with_both_digests(registry, write):
    write("m", "1")
    present = asyncio.run(registry.fetch("m", "1")).digest
    pinned = "0" * 64

    with pytest.raises(ModelRejected) as caught:
        asyncio.run(registry.fetch("m", "1", pinned))
    assert str(caught.value) == (
        f"m version 1: digest {pinned} is asked for, but its files have {present} and the cache does not hold the others: "
        "put them back, or register what is there as a new version"
    )


def test_a_file_changed_after_the_fetch_does_not_change_what_is_loaded(registry, write):
    source = write("m", "1")
    fetched = asyncio.run(registry.fetch("m", "1"))
    original = (fetched.path / "model.onnx").read_bytes()
    with (source / "model.onnx").open("r+b") as file:
        file.write(b"\xff" * 10)

    assert (fetched.path / "model.onnx").read_bytes() == original


def test_polling_reads_no_file_again_while_nothing_changes(root, cache, write, monkeypatch):
    source = write("m", "1")
    registry = FolderRegistry(root, cache, clock=lambda: time.time_ns() + 10**10)
    first = asyncio.run(registry.fetch("m", "1"))

    def read(*_: object) -> None:
        raise AssertionError("a file was read again")

    monkeypatch.setattr("registry_client.cache.copy_files", read)
    monkeypatch.setattr("registry_client.cache.hash_files", read)
    assert asyncio.run(registry.fetch("m", "1")) == first
    os.utime(source / "model.onnx", ns=(0, 1))
    with pytest.raises(AssertionError, match="a file was read again"):
        asyncio.run(registry.fetch("m", "1"))


def test_another_process_need_not_copy_again_what_the_cache_holds(root, cache, write, monkeypatch):
    write("m", "1")
    late = lambda: time.time_ns() + 10**10  # noqa: E731
    first = asyncio.run(FolderRegistry(root, cache, clock=late).fetch("m", "1"))

    def copy(*_: object) -> None:
        raise AssertionError("a file was copied again")

    monkeypatch.setattr("registry_client.cache.copy_files", copy)
    assert asyncio.run(FolderRegistry(root, cache, clock=late).fetch("m", "1")) == first


def test_files_too_fresh_to_trust_are_read_again(root, cache, write):
    """Two writes within one tick of the file system's clock leave the same facts."""
    source = write("m", "1")
    stamps = (source / "model.onnx").stat()
    registry = FolderRegistry(root, cache, clock=lambda: stamps.st_ctime_ns + 10**9)
    copies = []
    adopt = registry._cache.adopt

    def counted(*arguments):
        copies.append(1)
        return adopt(*arguments)

    registry._cache.adopt = counted
    for _ in range(3):
        asyncio.run(registry.fetch("m", "1"))
    assert len(copies) == 3


def test_a_version_replaced_in_the_cache_by_others_is_fetched_again(root, cache, write):
    registry = FolderRegistry(root, cache, Limits(cached_versions_max=1), clock=lambda: 2**62)
    write("m", "1", files={"w.bin": b"1"})
    write("m", "2", files={"w.bin": b"2"})
    for _ in range(2):
        for version in ("1", "2"):
            fetched = asyncio.run(registry.fetch("m", version))
            assert (fetched.path / "w.bin").read_text() == version


@pytest.mark.parametrize(("model", "version", "what"), [("n", "1", "n"), ("m", "2", "m version 2")])
def test_what_the_registry_does_not_have_is_not_found(registry, write, model, version, what):
    write("m", "1")
    with pytest.raises(NotFound) as caught:
        asyncio.run(registry.fetch(model, version))
    assert str(caught.value) == f"the registry has no {what}"
