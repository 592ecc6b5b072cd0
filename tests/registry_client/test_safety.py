"""A folder that others write is read without being led astray."""

import os
import socket
from pathlib import Path

import pytest

from contracts.errors import ModelRejected
from registry_client.limits import Limits
from registry_client.safety import list_files, list_names, open_folder, open_regular, read_document


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "version"
    path.mkdir()
    (path / "model.onnx").write_bytes(b"graph")
    descriptor = open_folder(path)
    yield path, descriptor
    os.close(descriptor)


def paths(descriptor: int, **limits: int) -> list[str]:
    return [facts.path for facts in list_files(descriptor, Limits(**limits))]


def rejection(descriptor: int, **limits: int) -> str:
    with pytest.raises(ModelRejected) as caught:
        list_files(descriptor, Limits(**limits))
    return str(caught.value)


def test_regular_files_are_listed_sorted_with_their_folders_and_without_hidden_ones(folder):
    path, descriptor = folder
    (path / "deep" / "er").mkdir(parents=True)
    (path / "deep" / "er" / "w.bin").write_bytes(b"abc")
    (path / "a.bin").write_bytes(b"")
    (path / ".git").mkdir()
    (path / ".git" / "config").symlink_to("/etc/passwd")

    assert paths(descriptor) == ["a.bin", "deep/er/w.bin", "model.onnx"]


def test_a_changed_file_has_other_facts_even_with_its_old_size_and_time(folder, clock_of_files):
    path, descriptor = folder
    before = list_files(descriptor, Limits())
    clock_of_files()
    status = (path / "model.onnx").stat()
    (path / "model.onnx").write_bytes(b"GRAPH")
    os.utime(path / "model.onnx", ns=(status.st_atime_ns, status.st_mtime_ns))

    after = list_files(descriptor, Limits())

    assert [(f.bytes, f.mtime_ns) for f in after] == [(f.bytes, f.mtime_ns) for f in before]
    assert after != before


def make_symlink(path: Path) -> None:
    (path / "w.bin").symlink_to("/etc/passwd")


def make_dangling_symlink(path: Path) -> None:
    (path / "w.bin").symlink_to("nowhere")


def make_symlink_inside(path: Path) -> None:
    (path / "w.bin").symlink_to("model.onnx")


def make_symlink_to_device(path: Path) -> None:
    (path / "w.bin").symlink_to("/dev/zero")


def make_hard_link(path: Path) -> None:
    (path.parent / "secret").write_bytes(b"secret")
    os.link(path.parent / "secret", path / "w.bin")


def make_pipe(path: Path) -> None:
    os.mkfifo(path / "w.bin")


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path / "w.bin"))


SYMLINK = "'w.bin' is a symbolic link: copy the file itself"
NOT_REGULAR = "'w.bin' is not a regular file: copy the file itself"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_symlink, SYMLINK),
        (make_dangling_symlink, SYMLINK),
        (make_symlink_inside, SYMLINK),
        (make_symlink_to_device, SYMLINK),
        (make_hard_link, "'w.bin' is a hard link (2 names for one file): copy the file itself"),
        (make_pipe, NOT_REGULAR),
        (make_socket, NOT_REGULAR),
    ],
)
def test_what_is_no_file_of_its_own_is_refused_by_listing(folder, monkeypatch, make, reason):
    path, descriptor = folder
    monkeypatch.chdir(path.parent)
    make(path)

    assert rejection(descriptor) == reason


@pytest.mark.parametrize("make", [make_symlink, make_symlink_to_device, make_hard_link, make_pipe, make_socket])
def test_and_by_opening_too_because_it_may_be_swapped_in_after_listing(folder, monkeypatch, make):
    path, descriptor = folder
    monkeypatch.chdir(path.parent)
    make(path)

    with pytest.raises(ModelRejected, match=r"'w\.bin' is (not a regular file|a hard link)"):
        open_regular(descriptor, "w.bin")


def test_a_folder_that_is_a_link_is_not_entered(folder):
    path, descriptor = folder
    (path / "deep").symlink_to("/etc")

    assert rejection(descriptor) == "'deep' is a symbolic link: copy the file itself"
    with pytest.raises(ModelRejected, match="'deep' is a link or a file, not a folder"):
        open_regular(descriptor, "deep/passwd")


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    path, descriptor = folder
    (path / "deep").mkdir()

    with pytest.raises(ModelRejected, match="'deep' is a folder, not a file"):
        open_regular(descriptor, "deep")


@pytest.mark.parametrize("name", ["a\\b", "a\n", "\N{LATIN SMALL LETTER E WITH ACUTE}"])
def test_file_names_that_could_be_misread_are_refused(folder, name):
    path, descriptor = folder
    (path / name).write_bytes(b"")

    assert "printable ASCII" in rejection(descriptor)


def test_bounds_hold_for_files_entries_and_depth(folder):
    path, descriptor = folder
    (path / "a" / "b").mkdir(parents=True)
    (path / "a" / "b" / "w.bin").write_bytes(b"")

    assert paths(descriptor, files_max=2, depth_max=2) == ["a/b/w.bin", "model.onnx"]
    assert rejection(descriptor, files_max=1) == "more than 1 files in one version"
    assert rejection(descriptor, depth_max=1) == "'a/b/' lies more than 1 folders deep"
    assert rejection(descriptor, entries_max=1) == "more than 1 entries in one folder"
    with pytest.raises(ModelRejected, match="more than 1 entries in one folder"):
        list_names(descriptor, 1)


def test_a_small_document_is_read_and_a_large_one_refused(folder):
    path, descriptor = folder
    (path / "aliases.json").write_bytes(b"12345")

    assert read_document(descriptor, "aliases.json", 5) == b"12345"
    assert read_document(descriptor, "none.json", 5) is None
    with pytest.raises(ModelRejected, match=r"'aliases\.json' is larger than 4 bytes"):
        read_document(descriptor, "aliases.json", 4)
    (path / "link.json").symlink_to("aliases.json")
    with pytest.raises(ModelRejected, match=r"'link\.json' is not a regular file"):
        read_document(descriptor, "link.json", 5)


def test_nothing_stays_open_after_a_refusal(folder, open_below):
    path, descriptor = folder
    make_hard_link(path)
    before = open_below(path)
    for _ in range(10):
        with pytest.raises(ModelRejected):
            open_regular(descriptor, "w.bin")
    assert open_below(path) == before
