"""Hostile, broken and unsuitable model files: each is refused with its own reason, and the next good version is served."""

import asyncio
import os
import re

import numpy as np
import pytest
from onnx import TensorProto, helper

from contracts.errors import ModelRejected
from gateway.models.sessions import load_session

SECRET = np.full(16, 42, np.float32).tobytes()


def refused(shelf, folder) -> str:
    """Why a version is refused by the registry client or by the session, whichever comes first."""
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(load_session(shelf.fetch(folder.parent.name, folder.name)))
    return str(caught.value).removeprefix(f"{folder.parent.name} version {folder.name}: ")


@pytest.fixture
def next_good_version_serves(shelf, graphs):
    """Whatever came before, the next good version of the same model loads and answers."""
    yield
    session = asyncio.run(load_session(shelf.put(graphs.mlp())))
    assert session.run({"x": np.ones((2, 3), np.float32)})[0].shape == (2, 1)


pytestmark = pytest.mark.usefixtures("next_good_version_serves")


# files outside the version's folder


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../secret", "takes its data from '../secret', outside the version's folder"),
        ("../../../../../../../dev/zero", "outside the version's folder"),
        ("/dev/zero", "takes its data from '/dev/zero', outside the version's folder"),
        ("/etc/hostname", "takes its data from '/etc/hostname', outside the version's folder"),
        ("*/_ORT_MEM_ADDR_/*", "takes its data from an address in memory ('*/_ORT_MEM_ADDR_/*')"),
        ("", "takes its data from '', which is not a file of the version"),
    ],
)
def test_external_data_outside_the_folder(shelf, graphs, location, reason):
    folder = shelf.write("m", "1", graphs.external(location=location, offset="0", length="64"))
    (shelf.root / "m" / "secret").write_bytes(SECRET)

    message = refused(shelf, folder)

    assert message.startswith("tensor 'W' of model.onnx takes its data from ")
    assert message.endswith(reason)


def test_external_data_of_another_version(shelf, graphs):
    shelf.write("m", "1", graphs.mlp(), files={"w.bin": SECRET})
    folder = shelf.write("m", "2", graphs.external(location="../1/w.bin"))

    assert refused(shelf, folder).endswith("takes its data from '../1/w.bin', outside the version's folder")


@pytest.mark.parametrize("target", ["/etc/hostname", "/dev/zero", "../secret", "model.onnx"])
def test_external_data_through_a_symbolic_link(shelf, graphs, target):
    folder = shelf.write("m", "1", graphs.external(location="w.bin"))
    (folder / "w.bin").symlink_to(target)

    assert refused(shelf, folder) == "'w.bin' is a symbolic link: copy the file itself"


def test_external_data_through_a_hard_link(shelf, graphs):
    """What onnxruntime would read, and a graph could give away in its answers."""
    folder = shelf.write("m", "1", graphs.external(location="w.bin"))
    (shelf.root / "secret").write_bytes(SECRET)
    os.link(shelf.root / "secret", folder / "w.bin")

    assert refused(shelf, folder) == "'w.bin' is a hard link (2 names for one file): copy the file itself"


def test_the_graph_itself_as_a_link(shelf, graphs):
    folder = shelf.write("m", "1", graphs.mlp())
    (folder / "model.onnx").rename(folder.parent / "graph")
    (folder / "model.onnx").symlink_to("../graph")
    assert refused(shelf, folder) == "'model.onnx' is a symbolic link: copy the file itself"

    (folder / "model.onnx").unlink()
    os.link(folder.parent / "graph", folder / "model.onnx")
    assert refused(shelf, folder) == "'model.onnx' is a hard link (2 names for one file): copy the file itself"


def test_external_data_through_a_named_pipe(shelf, graphs):
    folder = shelf.write("m", "1", graphs.external(location="w.bin"))
    os.mkfifo(folder / "w.bin")

    assert refused(shelf, folder) == "'w.bin' is not a regular file: copy the file itself"


def test_external_data_in_the_working_directory(shelf, graphs, tmp_path, monkeypatch):
    """A session made of bytes would find this file and answer with it."""
    (tmp_path / "secret.bin").write_bytes(SECRET)
    monkeypatch.chdir(tmp_path)
    folder = shelf.write("m", "1", graphs.external(location="secret.bin"))

    assert refused(shelf, folder) == (
        "tensor 'W' of model.onnx takes its data from 'secret.bin', which is not a file of the version"
    )


# sizes that lie


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "100000", "length": "64"}, "takes bytes 100000 to 100064 of 'w.bin', which has 64"),
        ({"offset": "-5"}, "has external data with offset '-5': must be a count of bytes"),
        ({"length": str(2**60)}, f"takes bytes 0 to {2**60} of 'w.bin', which has 64"),
        ({"offset": str(2**64 - 1), "length": "1"}, f"takes bytes {2**64 - 1} to {2**64} of 'w.bin', which has 64"),
    ],
)
def test_a_stretch_that_the_file_does_not_have(shelf, graphs, entries, reason):
    folder = shelf.write("m", "1", graphs.external(location="w.bin", **entries), files={"w.bin": SECRET})

    assert refused(shelf, folder) == f"tensor 'W' of model.onnx {reason}"


@pytest.mark.parametrize(
    ("dims", "reason"),
    [
        ([2**62, 2**62], r"onnxruntime cannot load it: FAIL : .*Incompatible dimensions"),
        ([4, 2**62], r"onnxruntime cannot load it: FAIL : .*(overflow|out of bounds|Out of bounds|size mismatch)"),
        ([-1, 4], r"onnxruntime cannot load it: FAIL : .*Out of bounds dimensions"),
        ([4, 5], r"onnxruntime cannot load it: FAIL : "),
    ],
)
def test_dimensions_that_overflow_are_negative_or_do_not_match_the_data(shelf, graphs, dims, reason):
    graph = graphs.external(location="w.bin", dims=dims)
    graph.graph.output[0].CopyFrom(graphs.value("y", ["n", "k"]))
    folder = shelf.write("m", "1", graph, files={"w.bin": SECRET})

    assert re.match(reason, refused(shelf, folder))


def test_dimensions_that_do_not_match_data_in_the_graph(shelf, graphs):
    graph = graphs.model(
        [graphs.node("MatMul", ["x", "W"], ["y"])],
        [graphs.value("x", ["n", 4])],
        [graphs.value("y", ["n", 4])],
        [TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 4], raw_data=SECRET[:32])],
    )
    message = refused(shelf, shelf.write("m", "1", graph))

    assert re.match(r"onnxruntime cannot load it: .*(size|Size).*", message)


# no model at all


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "model.onnx is empty"),
        (b"hello world", "onnxruntime cannot load it: INVALID_PROTOBUF : Protobuf parsing failed."),
        (
            np.random.default_rng(3).bytes(4096),
            "onnxruntime cannot load it: INVALID_PROTOBUF : Protobuf parsing failed.",
        ),
        (b"a location of my own", "model.onnx is not an ONNX model: no protobuf field at byte"),
        (b"ORTM" * 100, "onnxruntime cannot load it: INVALID_PROTOBUF : Protobuf parsing failed."),
        (b"\x08\x0a", "onnxruntime cannot load it: INVALID_ARGUMENT : No graph was found in the protobuf."),
    ],
)
def test_junk(shelf, content, reason):
    assert refused(shelf, shelf.write("m", "1", content)).startswith(reason)


def test_a_truncated_graph(shelf, graphs):
    whole = graphs.mlp().SerializeToString()
    for part in (0.1, 0.5, 0.9):
        folder = shelf.write("m", "1", whole[: int(len(whole) * part)])
        assert refused(shelf, folder) == "onnxruntime cannot load it: INVALID_PROTOBUF : Protobuf parsing failed."


def test_a_graph_of_two_gigabytes(shelf, graphs):
    folder = shelf.write("m", "1", graphs.mlp())
    os.truncate(folder / "model.onnx", 2**31)  # a hole: takes no space

    assert refused(shelf, folder) == "model.onnx has 2147483648 bytes; at most 2147483647 are accepted"


# graphs that must not or cannot run


def test_an_operator_of_an_unknown_domain(shelf, graphs):
    graph = graphs.model(
        [graphs.node("Frobnicate", ["x"], ["y"], domain="acme")],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", ["n", 2])],
        domains=["acme"],
    )
    message = refused(shelf, shelf.write("m", "1", graph))

    assert message.startswith("onnxruntime cannot load it: ")
    assert "acme:Frobnicate(-1) is not a registered function/op" in message


def test_an_operator_set_of_the_future(shelf, graphs):
    graph = graphs.model(
        [graphs.node("Identity", ["x"], ["y"])], [graphs.value("x", ["n"])], [graphs.value("y", ["n"])], opset=9999
    )
    message = refused(shelf, shelf.write("m", "1", graph))

    assert message.startswith(
        "onnxruntime cannot load it: FAIL : ONNX Runtime only *guarantees* support for models stamped"
    )


def test_a_cycle(shelf, graphs):
    graph = graphs.model(
        [
            graphs.node("Add", ["x", "b"], ["a"]),
            graphs.node("Identity", ["a"], ["b"]),
            graphs.node("Identity", ["a"], ["y"]),
        ],
        [graphs.value("x", ["n"])],
        [graphs.value("y", ["n"])],
    )
    assert refused(shelf, shelf.write("m", "1", graph)) == (
        "onnxruntime cannot load it: FAIL : This is an invalid model. Error: the graph is not acyclic."
    )


@pytest.mark.parametrize("depth", [45, 200])
def test_branches_nested_too_deep(shelf, graphs, depth):
    folder = shelf.write("m", "1", graphs.nested_ifs(depth))

    assert refused(shelf, folder) == "onnxruntime cannot load it: INVALID_PROTOBUF : Protobuf parsing failed."


def test_branches_nested_too_deep_with_a_place_outside_at_the_bottom(shelf, graphs):
    outside = graphs.external(location="../secret").graph.initializer[0]

    assert refused(shelf, shelf.write("m", "1", graphs.nested_ifs(45, outside))) == (
        "model.onnx is nested more than 100 messages deep"
    )
    assert refused(shelf, shelf.write("m", "2", graphs.nested_ifs(30, outside))).endswith(
        "outside the version's folder"
    )


def test_branches_nested_less_deep_are_served(shelf, graphs):
    session = asyncio.run(load_session(shelf.put(graphs.nested_ifs(30))))

    assert session.run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[1.0, 1.0]]


def test_a_compiled_context_from_outside(shelf, graphs):
    """EPContext names a file or holds a binary for an accelerator: nothing of it is for the CPU."""
    graph = graphs.model(
        [
            graphs.node(
                "EPContext",
                ["x"],
                ["y"],
                domain="com.microsoft",
                embed_mode=0,
                ep_cache_context="../secret",
                main_context=1,
            )
        ],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", ["n", 2])],
        domains=["com.microsoft"],
    )
    assert refused(shelf, shelf.write("m", "1", graph)).startswith("onnxruntime cannot load it: NOT_IMPLEMENTED : ")


def test_a_sparse_output(shelf, graphs):
    graph = graphs.model(
        [graphs.node("Identity", ["x"], ["y"])],
        [graphs.value("x", ["n", 2])],
        [helper.make_sparse_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
    )
    assert refused(shelf, shelf.write("m", "1", graph)).startswith("onnxruntime cannot load it: ")


# files that change


def test_a_file_that_changes_between_hash_and_load(shelf, graphs):
    folder = shelf.write("m", "1", graphs.identity())
    fetched = shelf.fetch("m", "1")
    (folder / "model.onnx").write_bytes(graphs.external(location="/etc/hostname").SerializeToString())

    session = asyncio.run(load_session(fetched))

    assert session.run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[1.0, 1.0]]
    assert refused(shelf, folder).endswith("outside the version's folder")


def test_the_same_version_with_another_digest(shelf, graphs):
    shelf.write("m", "1", graphs.mlp(bias=-5.0))
    old = shelf.fetch("m", "1")
    shelf.write("m", "1", graphs.mlp(bias=+5.0))
    new = shelf.fetch("m", "1")
    pinned = asyncio.run(shelf.registry.fetch("m", "1", old.digest))

    ones = {"x": np.ones((1, 3), np.float32)}
    answers = [asyncio.run(load_session(fetched)).run(ones)[0].item() for fetched in (old, new, pinned)]

    assert old.digest != new.digest
    assert answers[0] == answers[2] < answers[1]
