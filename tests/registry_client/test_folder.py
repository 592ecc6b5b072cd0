"""The folder registry tells what is there, fetches it safely, and serves from its cache when the folder is away."""

import asyncio
import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
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
    os.utime(source / "model.onnx")
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


@pytest.mark.parametrize(("model", "version", "what"), [("n", "1", "n"), ("m", "2", "m version 2")])
def test_what_the_registry_does_not_have_is_not_found(registry, write, model, version, what):
    write("m", "1")
    with pytest.raises(NotFound) as caught:
        asyncio.run(registry.fetch(model, version))
    assert str(caught.value) == f"the registry has no {what}"


@pytest.mark.parametrize(
    "name", ["..", "../secret", "/etc", "a/b", "", ".hidden", "a\0b", "x" * 300, "\N{CYRILLIC SMALL LETTER A}"]
)
def test_names_with_tricks_are_not_found_and_never_reach_the_disk(registry, root, write, name):
    write("m", "1")
    (root.parent / "secret").mkdir(exist_ok=True)
    for asked in (
        registry.versions(name),
        registry.pointers(name),
        registry.fetch(name, "1"),
        registry.fetch("m", name),
        registry.fetch("m", name, "0" * 64),
        registry.reference("m", name),
    ):
        with pytest.raises(NotFound, match="names nothing: a name is 1 to 128 letters, digits or"):
            asyncio.run(asked)


def test_links_in_the_place_of_models_and_versions_are_refused_aloud(registry, root, write, tmp_path):
    write("m", "1")
    (root / "linked").symlink_to(root / "m")
    (root / "m" / "2").symlink_to(root / "m" / "1")

    assert asyncio.run(registry.models()) == ["linked", "m"]
    assert asyncio.run(registry.versions("m")) == ["1", "2"]
    for asked in (registry.fetch("linked", "1"), registry.versions("linked"), registry.fetch("m", "2")):
        with pytest.raises(ModelRejected, match="is a link or a file, not a folder: copy the folder itself"):
            asyncio.run(asked)


def spoil_with_symlink(source, root):
    (source / "w.bin").symlink_to("/etc/passwd")


def spoil_with_hard_link(source, root):
    (root.parent / "secret").write_bytes(b"secret")
    os.link(root.parent / "secret", source / "w.bin")


def spoil_with_pipe(source, root):
    os.mkfifo(source / "w.bin")


def spoil_by_taking_the_graph(source, root):
    (source / "model.onnx").unlink()
    (source / "readme").write_text("x")


def spoil_by_emptying_the_graph(source, root):
    (source / "model.onnx").write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (spoil_with_symlink, "'w.bin' is a symbolic link: copy the file itself"),
        (spoil_with_hard_link, "'w.bin' is a hard link (2 names for one file): copy the file itself"),
        (spoil_with_pipe, "'w.bin' is not a regular file: copy the file itself"),
        (spoil_by_taking_the_graph, "has no model.onnx"),
        (spoil_by_emptying_the_graph, "model.onnx is empty"),
    ],
)
def test_an_unsafe_version_is_refused_with_the_reason_and_the_next_good_one_is_fetched(
    registry, root, write, spoil, reason
):
    spoil(write("m", "1"), root)
    write("m", "2")

    for _ in range(2):
        with pytest.raises(ModelRejected) as caught:
            asyncio.run(registry.fetch("m", "1"))
        assert str(caught.value) == f"m version 1: {reason}"
    assert asyncio.run(registry.fetch("m", "2")).version == "2"


def test_a_bad_version_that_was_repaired_is_fetched(registry, write, rewrite):
    source = write("m", "1", model={"owner": 1})
    with pytest.raises(ModelRejected):
        asyncio.run(registry.fetch("m", "1"))
    rewrite(source / "model.json", b'{"owner": "one"}')
    assert asyncio.run(registry.fetch("m", "1")).metadata.owner == "one"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"owner": 3}, "model.json is not a ModelMetadata: Expected `str`, got `int` - at `$.owner`"),
        ({"ownr": "x"}, "model.json is not a ModelMetadata: Object contains unknown field `ownr`"),
        ([], "model.json is not a ModelMetadata: Expected `object`, got `array`"),
        (
            {"limits": "x" * 20_001},
            "model.json is not a ModelMetadata: Expected `str` of length <= 20000 - at `$.limits`",
        ),
        (
            {"params": {"depth": 6}},
            "model.json is not a ModelMetadata: Expected `str`, got `int` - at `$.params[...]`",
        ),
        ({"inputs": [{"name": "x"}, {"name": "x"}]}, "model.json names an input twice: ['x', 'x']"),
        (
            {"task": {"kind": "magic", "output": "p"}},
            "model.json is not a ModelMetadata: Invalid enum value 'magic' - at `$.task.kind`",
        ),
    ],
)
def test_metadata_are_read_strictly(registry, write, model, reason):
    write("m", "1", model=model)
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(registry.fetch("m", "1"))
    assert str(caught.value) == f"m version 1: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "aliases.json does not map aliases to versions: Input data was truncated"),
        (b"[]", "aliases.json does not map aliases to versions: Expected `object`, got `array`"),
        (b'{"champion": 1}', "aliases.json does not map aliases to versions: Expected `str`, got `int` - at `$[...]`"),
        (b'{"champion": "1", "champion": "2"}', "aliases.json has an alias twice: ['champion', 'champion']"),
        (b'{"1": "2"}', "aliases.json has the alias '1': must be a name and not a number"),
        (b'{"../x": "2"}', "aliases.json has the alias '../x': must be a name and not a number"),
        (b'{"champion": "../2"}', "aliases.json points 'champion' at '../2', which cannot name a version"),
        (
            b"\xff\xfe{\x00",
            "aliases.json does not map aliases to versions: JSON is malformed: invalid character (byte 0)",
        ),
    ],
)
def test_aliases_are_read_strictly(registry, root, write, content, reason):
    write("m", "1")
    (root / "m" / "aliases.json").write_bytes(content)
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(registry.pointers("m"))
    assert str(caught.value) == f"m: {reason}"


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_aliases_are_either_a_map_of_names_or_refused(content):
    from registry_client.documents import decode_aliases

    try:
        aliases = decode_aliases(content)
    except ModelRejected:
        return
    assert aliases == json.loads(content)


def test_a_reference_is_read_and_read_again_when_it_changes(registry, write, reference):
    source = write("m", "1")
    assert asyncio.run(registry.reference("m", "1")) is None
    (source / "reference.json").write_bytes(reference("m", "1", rows=5))
    assert asyncio.run(registry.reference("m", "1")).rows == 5
    (source / "reference.json").write_bytes(reference("m", "1", rows=6))
    assert asyncio.run(registry.reference("m", "1")).rows == 6
    (source / "reference.json").unlink()
    assert asyncio.run(registry.reference("m", "1")) is None


def test_a_reference_from_before_a_field_was_added_is_still_whole(registry, write, reference):
    source = write("m", "1")
    older = msgspec.json.decode(reference("m", "1"))
    del older["slice_performance"]
    older["hash"] = hashlib.sha256(msgspec.json.encode(older | {"hash": ""}, order="sorted")).hexdigest()
    (source / "reference.json").write_bytes(msgspec.json.encode(older))

    assert asyncio.run(registry.reference("m", "1")).rows == 1


def test_a_reference_of_another_version_or_with_another_hash_is_refused(registry, write, reference):
    source = write("m", "1")
    (source / "reference.json").write_bytes(reference("m", "2"))
    with pytest.raises(ModelRejected, match=r"m version 1: reference\.json is that of m version 2"):
        asyncio.run(registry.reference("m", "1"))
    (source / "reference.json").write_bytes(reference("m", "1").replace(b'"rows":1', b'"rows":2'))
    with pytest.raises(
        ModelRejected, match=r"m version 1: reference\.json has the hash '.*', its content '.*': build it again"
    ):
        asyncio.run(registry.reference("m", "1"))
    (source / "reference.json").write_bytes(b"{}")
    with pytest.raises(ModelRejected, match=r"m version 1: reference\.json is not a Reference: .*`model`"):
        asyncio.run(registry.reference("m", "1"))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_polling_a_hundred_times_leaves_no_descriptor_and_no_file_behind(registry, root, cache, write):
    write("m", "1")
    spoil_with_hard_link(write("m", "2"), root)
    asyncio.run(registry.fetch("m", "1"))
    before = (open_descriptors(), sorted(cache.iterdir()))
    for _ in range(100):
        asyncio.run(registry.models())
        asyncio.run(registry.versions("m"))
        asyncio.run(registry.pointers("m"))
        with pytest.raises(ModelRejected):
            asyncio.run(registry.fetch("m", "2"))
    assert (open_descriptors(), sorted(cache.iterdir())) == before
