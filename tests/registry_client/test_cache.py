"""The cache holds exactly what was hashed, in one piece or not at all, whoever dies or writes beside it."""

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.errors import ModelRejected, RegistryUnavailable
from registry_client.cache import Known, VersionCache
from registry_client.limits import Limits
from registry_client.safety import list_files, open_folder

HOUSE = Path(__file__).parent.parent.parent


@pytest.fixture
def source(tmp_path, graphs):
    path = tmp_path / "source"
    (path / "deep").mkdir(parents=True)
    (path / "model.onnx").write_bytes(graphs.external(location="deep/w.bin").SerializeToString())
    (path / "deep" / "w.bin").write_bytes(os.urandom(64))
    return path


def adopt(cache: VersionCache, source: Path) -> str:
    folder = open_folder(source)
    try:
        return cache.adopt(folder, list_files(folder, Limits()))
    finally:
        os.close(folder)


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir())


def test_the_digest_is_the_sha256_of_the_list_of_files(source, cache):
    digest = adopt(VersionCache(cache, Limits()), source)

    files = []
    for name in ("deep/w.bin", "model.onnx"):
        content = (source / name).read_bytes()
        files.append([name, len(content), hashlib.sha256(content).hexdigest()])
    assert digest == hashlib.sha256(json.dumps(files, separators=(",", ":")).encode()).hexdigest()


def test_a_copy_is_private_whole_and_keeps_its_times(source, cache):
    os.utime(source / "model.onnx", ns=(1_000, 1_700_000_000_123_456_789))
    digest = adopt(VersionCache(cache, Limits()), source)

    copied = cache / digest
    assert names(cache) == [digest]
    assert (copied / "model.onnx").read_bytes() == (source / "model.onnx").read_bytes()
    assert (copied / "deep" / "w.bin").read_bytes() == (source / "deep" / "w.bin").read_bytes()
    assert (copied / "model.onnx").stat().st_mtime_ns == 1_700_000_000_123_456_789
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [cache, copied, *copied.rglob("*")]}
    assert modes == {"cache": 0o700, digest: 0o700, "deep": 0o700, "w.bin": 0o400, "model.onnx": 0o400}


def test_the_same_files_are_kept_once(source, cache):
    versions = VersionCache(cache, Limits())
    assert adopt(versions, source) == adopt(versions, source) == adopt(VersionCache(cache, Limits()), source)
    assert len(names(cache)) == 1


def test_what_is_rejected_leaves_nothing_behind(source, cache, graphs):
    (source / "model.onnx").write_bytes(graphs.external(location="../secret").SerializeToString())
    with pytest.raises(ModelRejected, match="outside the version's folder"):
        adopt(VersionCache(cache, Limits()), source)
    assert names(cache) == []


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(version_bytes_max=100), r"its files have \d+ bytes; at most 100 are accepted"),
        (Limits(graph_bytes_max=10), r"model\.onnx has \d+ bytes; at most 10 are accepted"),
    ],
)
def test_sizes_are_bounded(source, cache, limits, reason):
    with pytest.raises(ModelRejected, match=reason):
        adopt(VersionCache(cache, limits), source)
    assert not cache.exists()


def test_a_graph_larger_than_protobuf_allows_is_refused_without_reading_it(source, cache):
    os.truncate(source / "model.onnx", 2**31)  # a hole: takes no space
    with pytest.raises(ModelRejected, match=r"model\.onnx has 2147483648 bytes; at most 2147483647 are accepted"):
        adopt(VersionCache(cache, Limits()), source)


@pytest.mark.parametrize("change", ["other content", "longer", "shorter", "replaced", "same time", "gone"])
def test_a_file_that_changes_between_listing_and_copying_ends_the_copy(source, cache, change, clock_of_files):
    folder = open_folder(source)
    files = list_files(folder, Limits())
    clock_of_files()
    weights = source / "deep" / "w.bin"
    times = (0, weights.stat().st_mtime_ns if change == "same time" else 0)
    if change == "replaced":
        weights.rename(source / "deep" / "old.bin")
    if change != "gone":
        weights.write_bytes(os.urandom({"longer": 65, "shorter": 63}.get(change, 64)))
        os.utime(weights, ns=times)
    else:
        weights.unlink()

    with pytest.raises(RegistryUnavailable, match=r"'deep/w\.bin' changed while it was read"):
        VersionCache(cache, Limits()).adopt(folder, files)

    os.close(folder)
    assert names(cache) == []


def test_a_hard_link_swapped_in_after_listing_is_refused(source, cache, tmp_path):
    (tmp_path / "secret").write_bytes(os.urandom(64))
    folder = open_folder(source)
    files = list_files(folder, Limits())
    (source / "deep" / "w.bin").unlink()
    os.link(tmp_path / "secret", source / "deep" / "w.bin")

    with pytest.raises(ModelRejected, match="is a hard link"):
        VersionCache(cache, Limits()).adopt(folder, files)
    os.close(folder)


def test_rot_is_removed_and_not_served(source, cache):
    digest = adopt(VersionCache(cache, Limits()), source)
    weights = cache / digest / "deep" / "w.bin"
    weights.chmod(0o600)
    weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])

    fresh = VersionCache(cache, Limits())
    assert fresh.recall(digest) is None
    assert names(cache) == []
    assert adopt(fresh, source) == digest
    assert fresh.recall(digest) == cache / digest


def test_a_link_in_the_cache_is_rot(source, cache):
    digest = adopt(VersionCache(cache, Limits()), source)
    os.link(cache / digest / "model.onnx", cache / "other")

    assert VersionCache(cache, Limits()).recall(digest) is None


@pytest.mark.parametrize("digest", ["", "known", "..", "../source", "a" * 64])
def test_what_is_not_cached_is_not_recalled(source, cache, digest):
    versions = VersionCache(cache, Limits())
    adopt(versions, source)
    assert versions.recall(digest) is None


def test_the_least_recently_used_make_room(source, cache):
    versions = VersionCache(cache, Limits(cached_versions_max=2))
    digests = []
    for number in range(2):
        (source / "deep" / "w.bin").write_bytes(bytes([number]) * 64)
        digests.append(adopt(versions, source))
        os.utime(cache / digests[-1], ns=(number, number))
    versions.recall(digests[0])
    (source / "deep" / "w.bin").write_bytes(b"\x09" * 64)
    digests.append(adopt(versions, source))

    assert names(cache) == sorted([digests[0], digests[2]])
    assert versions.recall(digests[1]) is None


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_makes_is_not(source, cache):
    cache.mkdir()
    (cache / "staging-dead" / "version").mkdir(parents=True)
    (cache / "staging-dead" / "version" / "model.onnx").write_bytes(b"half")
    versions = VersionCache(cache, Limits())

    with versions._staging() as living:
        digest = adopt(VersionCache(cache, Limits()), source)
        assert names(cache) == sorted([digest, living.name])
    assert names(cache) == [digest]


def test_a_copy_that_is_begun_is_not_swept_before_its_maker_has_locked_it(source, cache, monkeypatch):
    made = tempfile.mkdtemp

    def made_and_looked_at(**terms: object) -> str:
        folder = made(**terms)
        VersionCache(cache, Limits())._sweep()
        return folder

    monkeypatch.setattr("tempfile.mkdtemp", made_and_looked_at)
    digest = adopt(VersionCache(cache, Limits()), source)

    assert names(cache) == [digest]


ADOPT = """
import os, sys
from pathlib import Path
from registry_client.cache import VersionCache
from registry_client.limits import Limits
from registry_client.safety import list_files, open_folder
folder = open_folder(sys.argv[1])
for _ in range(8):
    print(VersionCache(Path(sys.argv[2]), Limits()).adopt(folder, list_files(folder, Limits())))
"""


def test_processes_and_threads_may_fill_one_cache_at_once(source, cache):
    others = [
        subprocess.Popen([sys.executable, "-c", ADOPT, source, cache], stdout=subprocess.PIPE, cwd=HOUSE)
        for _ in range(2)
    ]
    versions = VersionCache(cache, Limits())
    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(lambda _: adopt(versions, source), range(64)))
    digests |= {line.decode() for other in others for line in other.communicate()[0].split()}

    assert [other.returncode for other in others] == [0, 0]
    assert len(digests) == 1
    assert names(cache) == list(digests)


def test_what_is_remembered_outlives_the_process(cache):
    known = Known(digest="a" * 64, files=())
    VersionCache(cache, Limits()).remember("m", "1", known)

    assert VersionCache(cache, Limits()).remembered("m", "1") == known
    assert VersionCache(cache, Limits()).remembered("m", "2") is None
    assert VersionCache(cache, Limits()).all_remembered() == {}  # its files are not there


@pytest.mark.parametrize("content", [b"", b"{", b'{"schema":2,"digest":"a","files":[]}', b"\xff"])
def test_an_unreadable_memory_is_none(cache, content):
    versions = VersionCache(cache, Limits())
    versions.remember("m", "1", Known(digest="a" * 64, files=()))
    (cache / "known" / "m" / "1" / "digest.json").write_bytes(content)

    assert versions.remembered("m", "1") is None


def test_references_are_kept_replaced_and_forgotten(cache):
    versions = VersionCache(cache, Limits())
    assert versions.remembered_reference("m", "1") is None
    versions.remember_reference("m", "1", b"one")
    versions.remember_reference("m", "1", b"two")
    assert versions.remembered_reference("m", "1") == b"two"
    versions.remember_reference("m", "1", None)
    assert versions.remembered_reference("m", "1") is None
