"""The files that a server lists, places and sends: only those of the version get in, whole, each bounded."""

import pytest

from contracts.errors import ModelRejected, RegistryUnavailable
from registry_client.limits import Limits
from tests.registry_client.lying_server import ARTIFACTS, LOCATION, MLMODEL, ROOT, Answer, instead, refused, said


def listing(*names, size=1):
    return said({"files": [{"path": name, "is_dir": False, "file_size": size} for name in names]})


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd", "/etc/passwd", "..", "sub/file", "back\\slash", "nul\0", "x" * 300, "new\nline", "", "\u0435"],
)
def test_a_listed_path_that_leads_elsewhere_is_refused(rejection, path):
    message = rejection(instead(ARTIFACTS, listing("MLmodel", path)), ModelRejected)

    assert message.startswith("m version 1: the server lists ")
    assert "cannot lead elsewhere" in message


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc", "from where nothing is fetched"),
        ("http://169.254.169.254/", "from where nothing is fetched"),
        ("models:/m/1", "from where nothing is fetched"),
        ("mlflow-artifacts://other:5000/1/a", "lie at another server"),
        ("mlflow-artifacts:/1/../../etc", "no path that can be asked for"),
        ("mlflow-artifacts:/1//a", "no path that can be asked for"),
        ("mlflow-artifacts:", "no path that can be asked for"),
        ("/etc", "belong to no run"),
        ("s3://bucket/model", "belong to no run"),
    ],
)
def test_a_location_that_is_none_of_the_servers_is_refused(rejection, location, reason):
    def wish(server):
        server.location = location

    message = rejection(wish, ModelRejected)

    assert message.startswith("m version 1: its files lie at ")
    assert reason in message


def test_a_location_outside_of_its_run_is_refused(rejection):
    def wish(server):
        server.location = "/srv/other/model"
        server.version |= {"run_id": "r", "source": "runs:/r/model"}
        server.instead["runs/get"] = said({"run": {"info": {"artifact_uri": "/srv/r/artifacts"}}})

    assert "outside its run's '/srv/r/artifacts/'" in rejection(wish, ModelRejected)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(200, b"short", "application/octet-stream"), "sent 5 bytes of 'net.onnx', which has"),
        (Answer(200, b"x", "application/octet-stream", length=10**23), "did not answer for 'net.onnx'"),
        (Answer(200, b"x" * 100_000, "application/octet-stream", endless=True), "sent more than the"),
        (Answer(200, b"x", "application/octet-stream", length=500), "did not answer for 'net.onnx'"),
        (Answer(302, headers={"location": "http://169.254.169.254/"}), "redirects to 'http://169.254.169.254/'"),
        (refused(404, "RESOURCE_DOES_NOT_EXIST", "gone"), "'net.onnx' was listed and is gone"),
        (refused(500, "INTERNAL_ERROR", "boom"), "answered 500 for 'net.onnx': INTERNAL_ERROR boom"),
    ],
)
def test_a_file_that_is_not_what_was_listed_never_gets_in(rejection, tmp_path, answer, reason):
    assert reason in rejection(instead("/net.onnx", answer), RegistryUnavailable)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["known-liar"]


def test_a_file_that_breaks_off_is_fetched_again(meet, files):
    async def scenario(server, registry):
        turns = iter([Answer(200, b"x", length=500), Answer(200, b"x", length=500)])
        server.instead["/net.onnx"] = lambda _: next(turns, Answer(200, files["net.onnx"]))
        fetched = await registry.fetch("m", "1")
        assert (fetched.path / "model.onnx").read_bytes() == files["net.onnx"]

    meet(scenario)


@pytest.mark.parametrize(
    ("files_told", "limits", "reason"),
    [
        ({"net.onnx": b"x"}, Limits(), "has no model.onnx"),
        ({"MLmodel": b"a: ["}, Limits(), "MLmodel is no YAML"),
        (
            {"MLmodel": b"flavors: {sklearn: {}, python_function: {}}"},
            Limits(),
            "no onnx flavor: has python_function, sklearn",
        ),
        ({"MLmodel": b"flavors: {onnx: {data: 7}}"}, Limits(), "flavors.onnx.data names no file"),
        ({"MLmodel": b"flavors: {onnx: {data: ../x.onnx}}"}, Limits(), "lies in a folder"),
        (
            {"MLmodel": b"flavors: {onnx: {data: other.onnx}}"},
            Limits(),
            "names 'other.onnx', which is not a file of the version",
        ),
        (
            {"MLmodel": MLMODEL, "net.onnx": b"x", "model.onnx": b"y"},
            Limits(),
            "has a model.onnx or input_example.json beside",
        ),
        ({"MLmodel": MLMODEL, "net.onnx": b"x" * 2000}, Limits(version_bytes_max=1000), "at most 1000 are accepted"),
        (
            {"MLmodel": MLMODEL, "net.onnx": b"x" * 2000},
            Limits(graph_bytes_max=1000),
            "model.onnx has 2000 bytes; at most 1000",
        ),
        ({str(n): b"" for n in range(20)}, Limits(files_max=10), "more than 10 files"),
        ({"MLmodel": b"x: &a {b: 1}\ny: {<<: *a}\n"}, Limits(), "it merges mappings"),
        ({"MLmodel": b"[" * 5_000}, Limits(), "is nested more than 32 deep"),
    ],
)
def test_files_that_cannot_be_served_are_rejected_and_not_fetched_again(meet, files_told, limits, reason):
    async def scenario(server, registry):
        server.files = files_told
        with pytest.raises(ModelRejected) as first:
            await registry.fetch("m", "1")
        before = len(server.asked)
        with pytest.raises(ModelRejected) as second:
            await registry.fetch("m", "1")
        assert reason in str(first.value)
        assert str(second.value) == str(first.value)
        assert [path for path in server.asked[before:] if path.startswith(ARTIFACTS)] == []

    meet(scenario, limits)


def test_external_data_that_is_not_beside_the_graph_is_rejected(meet, graphs):
    async def scenario(server, registry):
        graph = graphs.external(location="/etc/passwd", length="64").SerializeToString()
        server.files = {"MLmodel": MLMODEL, "net.onnx": graph}
        with pytest.raises(ModelRejected, match="outside the version's folder"):
            await registry.fetch("m", "1")

    meet(scenario)


def test_the_artifact_proxy_is_asked_below_the_versions_own_root_only(meet):
    async def scenario(server, registry):
        await registry.fetch("m", "1")
        below = [path for path in server.asked if path.startswith(f"{ARTIFACTS}/")]
        assert below
        assert all(path.startswith(f"{ARTIFACTS}/{ROOT}/") for path in below)
        assert f"mlflow-artifacts:/{ROOT}" == LOCATION

    meet(scenario)


def test_a_rejected_version_is_tried_again_after_a_while(meet, files):
    async def scenario(server, registry):
        server.location = "/srv/artifacts"
        with pytest.raises(ModelRejected, match="start MLflow with --serve-artifacts"):
            await registry.fetch("m", "1")
        server.location = LOCATION
        with pytest.raises(ModelRejected, match="start MLflow with --serve-artifacts"):
            await registry.fetch("m", "1")
        for _ in range(10):
            registry._clock()
        assert (await registry.fetch("m", "1")).version == "1"

    meet(scenario)
