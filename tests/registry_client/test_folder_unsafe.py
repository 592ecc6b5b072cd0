"""Names with tricks, links, pipes and lost graphs in a folder are refused with the reason, and leave nothing behind."""

import asyncio
import os

import pytest

from contracts.errors import ModelRejected, NotFound


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


def test_polling_a_hundred_times_leaves_no_descriptor_and_no_file_behind(registry, root, cache, write, open_below):
    write("m", "1")
    spoil_with_hard_link(write("m", "2"), root)
    asyncio.run(registry.fetch("m", "1"))
    before = (open_below(root.parent), sorted(cache.iterdir()))
    for _ in range(100):
        asyncio.run(registry.models())
        asyncio.run(registry.versions("m"))
        asyncio.run(registry.pointers("m"))
        with pytest.raises(ModelRejected):
            asyncio.run(registry.fetch("m", "2"))
    assert (open_below(root.parent), sorted(cache.iterdir())) == before
