"""The probe: what crashes, hangs or eats memory does so in a child, and comes back as a reason."""

import asyncio
import os
from pathlib import Path

import numpy as np
import pytest

from contracts.errors import ModelRejected
from contracts.signature import Signature
from gateway.models.probe import _environment, probe_in_child
from gateway.models.sessions import load_session

MEMORY = 512 * 2**20
SECONDS = 200.0


def probe(fetched, *, memory_bytes_max=MEMORY, timeout_seconds=SECONDS, **limits):
    return asyncio.run(
        probe_in_child(fetched.path, memory_bytes_max=memory_bytes_max, timeout_seconds=timeout_seconds, **limits)
    )


def rejection(fetched, **limits) -> str:
    with pytest.raises(ModelRejected) as caught:
        probe(fetched, **limits)
    return str(caught.value)


@pytest.fixture
def good_version_passes(shelf, graphs):
    """Whatever came before, the next good version passes and is served."""
    yield
    fetched = shelf.put(graphs.mlp(), input_example={"x": [[1, 2, 3]]})
    probe(fetched)
    assert asyncio.run(load_session(fetched)).run({"x": np.ones((1, 3), np.float32)})[0].shape == (1, 1)


def test_a_good_version_passes_and_leaves_nothing_behind(shelf, graphs, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fetched = shelf.put(graphs.mlp(), model={"inputs": [{"name": "x", "features": ["a", "b", "c"]}]})
    before = sorted(tmp_path.iterdir())

    probe(fetched)

    assert sorted(tmp_path.iterdir()) == before


def test_a_good_version_tells_the_signature_that_it_is_served_by(shelf, graphs):
    fetched = shelf.put(graphs.mlp(), model={"inputs": [{"name": "x", "features": ["a", "b", "c"]}]})

    assert probe(fetched) == asyncio.run(load_session(fetched)).signature


def test_a_signature_too_long_for_the_report_is_left_out_and_the_version_passes(shelf, graphs):
    names = [f"{number:>0500}" for number in range(3000)]
    fetched = shelf.put(graphs.mlp(features=3000), model={"inputs": [{"name": "x", "features": names}]})

    assert probe(fetched) is None


def test_a_relative_path_is_found_from_the_childs_own_directory(shelf, graphs, monkeypatch):
    fetched = shelf.put(graphs.mlp())
    monkeypatch.chdir(fetched.path.parent)

    asyncio.run(probe_in_child(Path(fetched.path.name), memory_bytes_max=MEMORY, timeout_seconds=SECONDS))


def test_the_childs_reason_is_the_sessions_reason(shelf, graphs):
    fetched = shelf.put(graphs.identity(shape=[3, 2]))

    assert rejection(fetched) == "input 'x' is fixed to 3 rows: export it with a free first dimension, or with 1"


def test_metadata_are_checked_in_the_child_too(shelf, graphs):
    fetched = shelf.put(graphs.mlp(), model={"inputs": [{"name": "z"}]})

    assert rejection(fetched) == "model.json describes the input 'z', but the graph has 'x'"


@pytest.mark.usefixtures("good_version_passes")
def test_a_graph_that_takes_256_gigabytes_when_it_runs(shelf, graphs):
    message = rejection(shelf.put(graphs.bomb(2**36)))

    assert message.startswith("fails on a row of zeros: ")
    assert "ConstantOfShape" in message
    assert "Failed to allocate memory for requested buffer of size 274877906944" in message


@pytest.mark.usefixtures("good_version_passes")
def test_a_graph_that_takes_more_memory_than_the_limit_but_less_than_the_machine_has(shelf, graphs):
    fetched = shelf.put(graphs.bomb(2**26))  # 256 MiB

    assert "Failed to allocate memory" in rejection(fetched, memory_bytes_max=64 * 2**20)
    probe(fetched, memory_bytes_max=1024 * 2**20)


@pytest.mark.usefixtures("good_version_passes")
def test_a_graph_that_never_ends(shelf, graphs):
    assert (
        rejection(shelf.put(graphs.loop(2**62)), timeout_seconds=1.5)
        == "loading and trying it took longer than 1.5 seconds"
    )


@pytest.mark.usefixtures("good_version_passes")
def test_a_graph_that_uses_too_much_processor_time_kills_the_child(shelf, graphs):
    assert rejection(shelf.put(graphs.loop(2**62)), cpu_seconds_max=1) == (
        "the process that tried it died of SIGXCPU: it used more processor time than it may"
    )


def test_what_the_interpreter_takes_to_start_is_not_counted(shelf, graphs, tmp_path, monkeypatch):
    """On a slow machine it is seconds, whatever the version."""
    (tmp_path / "sitecustomize.py").write_text("import time\nwhile time.process_time() < 2.1:\n    pass\n")
    environment = _environment()
    monkeypatch.setattr(
        "gateway.models.probe._environment",
        lambda: environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"},
    )
    probe(shelf.put(graphs.mlp()), cpu_seconds_max=1)


@pytest.mark.usefixtures("good_version_passes")
def test_a_child_without_memory_for_its_threads_crashes_or_says_so(shelf, graphs):
    """How onnxruntime ends here is its own affair (seen: SIGSEGV, an error, a hang); that it is a reason is ours."""
    message = rejection(shelf.put(graphs.mlp()), memory_bytes_max=2**16, threads=8, timeout_seconds=5.0)

    assert message.startswith(
        (
            "the process that tried it died of SIG",
            "onnxruntime cannot load it: ",
            "loading and trying it took longer than 5 seconds",
        )
    )


def test_a_child_that_cannot_even_start_is_a_reason_with_its_last_words(shelf, graphs, monkeypatch):
    monkeypatch.setattr(
        "gateway.models.probe._environment", lambda: {"PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"}
    )
    message = rejection(shelf.put(graphs.mlp()))

    assert message.startswith("the process that tried it ended with code 1 and no report: ")


def test_a_folder_that_is_gone_is_a_reason(shelf, graphs):
    fetched = shelf.put(graphs.mlp())
    for path in fetched.path.iterdir():
        path.unlink()

    assert rejection(fetched).startswith("onnxruntime cannot load it: NO_SUCHFILE : ")


def child_of(fetched) -> int | None:
    """The process that probes a version, found by its arguments."""
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = arguments.read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if b"gateway.models.probe_child" in words and str(fetched.path).encode() in words[-2]:
            return int(arguments.parent.name)
    return None


def seen_from_outside(pid: int) -> tuple[bytes, Path, list[Path]]:
    """A process's environment, its working directory and what is in it, as the kernel tells."""
    assert os.getsid(pid) != os.getsid(0), "a Ctrl-C in our terminal must not look like a bad version"
    directory = Path(f"/proc/{pid}/cwd").readlink()
    return Path(f"/proc/{pid}/environ").read_bytes(), directory, list(directory.iterdir())


def test_the_child_has_an_empty_directory_none_of_our_secrets_and_dies_with_its_asker(shelf, graphs, monkeypatch):
    monkeypatch.setenv("POINTSMAN_TEST_SECRET", "swordfish")
    fetched = shelf.put(graphs.loop(2**62))

    async def watched() -> tuple[int, tuple[bytes, Path, list[Path]]]:
        probing = asyncio.create_task(probe_in_child(fetched.path, memory_bytes_max=MEMORY, timeout_seconds=SECONDS))
        while (pid := child_of(fetched)) is None and not probing.done():
            await asyncio.sleep(0.01)
        assert pid is not None
        seen = seen_from_outside(pid)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        return pid, seen

    pid, (environment, directory, content) = asyncio.run(watched())

    assert b"swordfish" not in environment
    assert content == []
    assert directory != Path.cwd()
    assert not directory.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_several_probes_may_run_at_once(shelf, graphs):
    good, bad = shelf.put(graphs.mlp()), shelf.put(graphs.identity(shape=[3, 2]))

    async def outcomes():
        probes = [probe_in_child(f.path, memory_bytes_max=MEMORY, timeout_seconds=SECONDS) for f in (good, bad, good)]
        return await asyncio.gather(*probes, return_exceptions=True)

    assert [type(outcome) for outcome in asyncio.run(outcomes())] == [Signature, ModelRejected, Signature]
