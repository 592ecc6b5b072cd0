"""A folder that is away, or lost a version: what was fetched serves on from the cache."""

import asyncio
import shutil

import pytest

from contracts.errors import ModelRejected, RegistryUnavailable
from registry_client.folder import FolderRegistry


def test_everything_fetched_serves_when_the_folder_is_gone_even_in_a_new_process(
    registry, root, cache, write, reference
):
    source = write("m", "1", model={"owner": "risk"})
    write("m", "10")
    (source / "reference.json").write_bytes(reference("m", "1"))
    fetched = asyncio.run(registry.fetch("m", "1"))
    asyncio.run(registry.fetch("m", "10"))
    known = asyncio.run(registry.reference("m", "1"))
    shutil.rmtree(root)

    for later in (registry, FolderRegistry(root, cache)):
        assert asyncio.run(later.fetch("m", "1")) == fetched
        assert asyncio.run(later.fetch("m", "1", fetched.digest)) == fetched
        assert asyncio.run(later.reference("m", "1")) == known
        assert asyncio.run(later.remembered()) == {"m": ["1", "10"]}
        for asked in (
            later.models(),
            later.versions("m"),
            later.pointers("m"),
            later.fetch("m", "2"),
            later.reference("m", "10"),
        ):
            with pytest.raises(
                RegistryUnavailable, match=r"the registry folder .* cannot be read: No such file or directory"
            ):
                asyncio.run(asked)


def test_a_version_deleted_from_the_registry_serves_from_the_cache(registry, root, write):
    write("m", "1")
    fetched = asyncio.run(registry.fetch("m", "1"))
    shutil.rmtree(root / "m")

    assert asyncio.run(registry.models()) == []
    assert asyncio.run(registry.fetch("m", "1")) == fetched


def test_a_version_overwritten_with_a_bad_one_is_refused_but_its_pinned_files_serve(registry, write, rewrite):
    source = write("m", "1")
    fetched = asyncio.run(registry.fetch("m", "1"))
    rewrite(source / "model.json", b"{")

    with pytest.raises(ModelRejected, match=r"m version 1: model\.json is not a ModelMetadata"):
        asyncio.run(registry.fetch("m", "1"))
    assert asyncio.run(registry.fetch("m", "1", fetched.digest)) == fetched


def test_a_root_that_is_a_file_is_an_unavailable_registry(tmp_path, cache):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RegistryUnavailable, match="cannot be read: Not a directory"):
        asyncio.run(FolderRegistry(tmp_path / "file", cache).models())
