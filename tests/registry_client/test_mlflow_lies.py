"""Whatever a server says: a bounded answer, in time, with a reason that says what to do; and what was fetched serves on."""

import asyncio
import json

import pytest

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from registry_client.cache import VersionCache
from registry_client.choice import open_registry
from registry_client.limits import Limits
from registry_client.mlflow import MlflowRegistry
from registry_client.mlflow_rest import Access, MlflowRest
from tests.registry_client.lying_server import ARTIFACTS, LOCATION, ROOT, Answer, LyingServer, refused, said

MLMODEL = b"flavors: {onnx: {data: net.onnx}, python_function: {loader_module: mlflow.onnx}}\n"
HTML = Answer(200, b"<html>Sign in</html>", "text/html; charset=utf-8")


@pytest.fixture
def files(graphs):
    return {"MLmodel": MLMODEL, "net.onnx": graphs.mlp().SerializeToString()}


@pytest.fixture
def meet(tmp_path, files):
    """Runs a scenario `(server, registry)` with a server that has version 1 of `m`."""

    def meet(scenario, limits=None, **seconds):
        async def run():
            bounds = limits or Limits()
            ticks = iter(range(0, 10**9, 100))
            async with LyingServer(dict(files)) as server:
                rest = MlflowRest(Access(url=server.url, headers={}), bounds, **seconds)
                registry = MlflowRegistry(
                    rest,
                    VersionCache(tmp_path / "cache", bounds, "liar"),
                    bounds,
                    clock=lambda: float(next(ticks)),
                    draw=lambda: 0.5,
                )
                try:
                    async with asyncio.timeout(60):
                        return await scenario(server, registry)
                finally:
                    await registry.aclose()

        return asyncio.run(run())

    return meet


@pytest.fixture
def rejection(meet):
    """The error that asking raises: `rejection(wish, "models" or "fetch", kind)`."""

    def rejection(wish, kind, ask="fetch", **more):
        async def scenario(server, registry):
            wish(server)
            with pytest.raises(kind) as caught:
                await (
                    registry.fetch("m", "1") if ask == "fetch" else getattr(registry, ask)(*["m"] * (ask != "models"))
                )
            return str(caught.value)

        return meet(scenario, **more)

    return rejection


def instead(path, answer):
    def wish(server):
        server.instead[path] = answer

    return wish


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


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (HTML, "answered text/html; charset=utf-8 where JSON is due"),
        (Answer(200, b"{", "application/json"), "did not answer as an MLflow server does"),
        (Answer(200, b'{"registered_models": 7}'), "did not answer as an MLflow server does"),
        (Answer(200, b"[" * 100_000), "did not answer as an MLflow server does"),
        (Answer(200, b"\xff\xfe"), "did not answer as an MLflow server does"),
        (Answer(200, b"{}", length=10_000), "did not answer for models: peer closed connection"),
        (Answer(200, b" " * 70_000, endless=True), "sent more than the 100000 bytes due for models"),
        (Answer(200, b"x", headers={"content-encoding": "gzip"}), "sent models compressed"),
        (
            Answer(302, headers={"location": "http://169.254.169.254/latest"}),
            "redirects to 'http://169.254.169.254/latest'",
        ),
        (
            Answer(307, headers={"location": "file:///etc/passwd"}),
            "redirects to 'file:///etc/passwd'; they are not followed",
        ),
        (Answer(401, b"<html>", "text/html"), "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (
            Answer(403, b"Invalid Host header - possible DNS rebinding attack detected", "text/plain"),
            "--allowed-hosts 127.0.0.1:",
        ),
        (Answer(403, b"Permission denied", "text/plain"), "the permission READ"),
        (Answer(404, b"<html>not found", "text/html"), "knows no route to models (404): check the path in registry"),
        (Answer(409, b'{"error_code": "CONFLICT", "message": "m"}'), "answered 409 for models: CONFLICT m"),
        (Answer(429, b"slow down", "text/plain"), "answered 429 for models: slow down; it is asked too often"),
        (
            Answer(500, b'{"error_code": "INTERNAL_ERROR", "message": "boom"}'),
            "answered 500 for models: INTERNAL_ERROR boom",
        ),
        (Answer(503, b"Artifacts are disabled", "text/plain"), "start MLflow with --serve-artifacts"),
        (Answer(500, b"e" * 70_000, "text/plain", endless=True), "answered 500 for models: eee"),
    ],
)
def test_every_bad_answer_is_an_outage_with_a_reason(rejection, answer, reason):
    message = rejection(
        instead("registered-models/search", answer),
        RegistryUnavailable,
        "models",
        limits=Limits(document_bytes_max=100_000),
    )

    assert message.startswith("MLflow at http://127.0.0.1:")
    assert reason in message


def test_a_byte_now_and_then_is_not_waited_for(rejection):
    dripping = Answer(200, b'{"registered_models": []}' * 100, pause=0.05)

    message = rejection(
        instead("registered-models/search", dripping), RegistryUnavailable, "models", answer_seconds=0.5
    )

    assert "was too slow with models: not there after 0.5 s" in message


def test_silence_is_not_waited_for(rejection):
    silent = Answer(200, b"{}", length=100, pause=30.0)

    message = rejection(instead("registered-models/search", silent), RegistryUnavailable, "models", read_seconds=0.2)

    assert "did not answer for models: ReadTimeout" in message


def test_nobody_there_is_an_outage(meet):
    async def scenario(server, registry):
        server._server.close()
        with pytest.raises(RegistryUnavailable, match="did not answer for models: .*; does it run?"):
            await registry.models()

    meet(scenario)


def test_a_bad_question_is_no_outage(rejection):
    assert "refuses to answer for versions of m: INVALID_PARAMETER_VALUE odd" in rejection(
        instead("model-versions/search", refused(400, "INVALID_PARAMETER_VALUE", "odd")), ModelRejected, "versions"
    )
    assert "has no model m: RESOURCE_DOES_NOT_EXIST gone" in rejection(
        instead("registered-models/get", refused(404, "RESOURCE_DOES_NOT_EXIST", "gone")), NotFound, "pointers"
    )
    # how MLflow says that an alias is not there, or, in 2.22, the model of one
    assert "has no model m" in rejection(
        instead(
            "registered-models/get", refused(400, "INVALID_PARAMETER_VALUE", "Registered model alias x not found.")
        ),
        NotFound,
        "pointers",
    )


def test_pages_that_never_end_end(meet):
    def same(query):
        return said({"registered_models": [{"name": "m"}], "next_page_token": "again"})

    def more(query):
        return said(
            {"registered_models": [{"name": "m"}] * 9, "next_page_token": str(int(query.get("page_token", 0)) + 1)}
        )

    async def scenario(server, registry):
        server.instead["registered-models/search"] = same
        with pytest.raises(RegistryUnavailable, match="gives the pages of models in a circle"):
            await registry.models()
        server.instead["registered-models/search"] = more
        with pytest.raises(ModelRejected, match="has more than 50 models"):
            await registry.models()

    meet(scenario, Limits(entries_max=50))


@pytest.mark.parametrize("name", ["../up", "a/b", "nul\0", "x" * 300, "-option", ".hidden", "m\u0435", "", "a b"])
def test_names_that_could_lead_elsewhere_are_passed_over_and_never_asked_for(meet, name):
    async def scenario(server, registry):
        server.model = {"name": "m", "aliases": [{"alias": name, "version": "1"}, {"alias": "good", "version": "1"}]}
        server.instead["model-versions/search"] = said(
            {"model_versions": [{"name": "m", "version": name}, server.version]}
        )
        assert await registry.pointers("m") == {"good": "1"}
        assert await registry.versions("m") == ["1"]
        server.model = {"name": name}
        assert await registry.models() == []
        before = len(server.asked)
        for ask in (
            registry.pointers(name),
            registry.versions(name),
            registry.fetch(name, "1"),
            registry.fetch("m", name),
        ):
            with pytest.raises(NotFound, match="names nothing"):
                await ask
        assert len(server.asked) == before

    meet(scenario)


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


def test_an_answer_about_another_version_is_no_answer(rejection):
    def another(server):
        server.version |= {"version": "2"}

    assert "answered for another version than 1 of m" in rejection(another, RegistryUnavailable)


def test_a_version_without_files_yet_is_not_there_yet(meet):
    async def scenario(server, registry):
        server.version |= {"status": "PENDING_REGISTRATION"}
        assert await registry.versions("m") == []
        with pytest.raises(NotFound, match="is not ready: PENDING_REGISTRATION"):
            await registry.fetch("m", "1")

    meet(scenario)


def test_an_alias_that_flips_between_two_questions_is_two_true_answers(meet):
    async def scenario(server, registry):
        turns = iter("121")

        def flipping(_):
            return said({"registered_model": {"name": "m", "aliases": [{"alias": "champion", "version": next(turns)}]}})

        server.instead["registered-models/get"] = flipping
        assert [(await registry.pointers("m"))["champion"] for _ in range(3)] == ["1", "2", "1"]

    meet(scenario)


def test_two_champions_are_none_and_one_that_goes_backwards_is_one(meet):
    def champions(*versions):
        aliases = [{"alias": "champion", "version": version} for version in versions]
        return said({"registered_model": {"name": "m", "aliases": aliases}})

    async def scenario(server, registry):
        server.instead["registered-models/get"] = champions("1", "2")
        with pytest.raises(RegistryUnavailable, match="gives an alias of m twice"):
            await registry.pointers("m")
        for version in ("7", "3"):
            server.instead["registered-models/get"] = champions(version)
            assert await registry.pointers("m") == {"champion": version}

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


def test_polls_are_spread_and_rarer_while_the_server_is_away(meet):
    async def scenario(server, registry):
        assert registry.poll_after(0) == 10
        assert registry.poll_after(3) == 3
        server.instead["registered-models/search"] = refused(500, "INTERNAL_ERROR", "x")
        waits = []
        for _ in range(8):
            with pytest.raises(RegistryUnavailable):
                await registry.models()
            waits.append(registry.poll_after(0))
        assert waits == [20, 40, 80, 160, 300, 300, 300, 300]
        server.instead.clear()
        await registry.models()
        assert registry.poll_after(0) == 10
        server.instead["registered-models/search"] = HTML
        for _ in range(2):
            with pytest.raises(RegistryUnavailable):
                await registry.models()
        assert registry.poll_after(0) == 40
        server.instead.clear()
        await registry.models()
        registry._draw = lambda: 0.0
        assert registry.poll_after(0) == 8
        registry._draw = lambda: 0.75
        assert registry.poll_after(0) == 11

    meet(scenario)


def test_what_is_gone_is_said_once(meet, caplog):
    async def scenario(server, registry):
        await registry.models()
        await registry.pointers("m")
        await registry.versions("m")
        server.model = {"name": "m", "aliases": []}
        server.instead["model-versions/search"] = said({})
        server.instead["registered-models/search"] = said({})
        for _ in range(2):
            assert await registry.models() == []
            assert await registry.pointers("m") == {}
            assert await registry.versions("m") == []

    meet(scenario)

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    for words in (
        "no model m any more",
        "alias champion of m, which was at version 1, is gone",
        "version 1 of m is gone",
    ):
        assert sum(words in record.message for record in caplog.records) == 1


def test_stages_of_old_are_pointers_that_are_warned_of_once(meet, caplog):
    async def scenario(server, registry):
        server.model |= {"latest_versions": [{"name": "m", "version": "1", "current_stage": "Production"}]}
        for _ in range(2):
            assert await registry.pointers("m") == {"champion": "1", "stage:Production": "1"}

    meet(scenario)

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "m uses stages, which MLflow gave up" in caplog.records[0].message


def test_several_that_want_one_version_fetch_it_once(meet):
    async def scenario(server, registry):
        fetched = await asyncio.gather(*[registry.fetch("m", "1") for _ in range(5)])
        assert len({one.digest for one in fetched}) == 1
        assert server.asked.count(f"{ARTIFACTS}/{ROOT}/net.onnx") == 1

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


def test_credentials_are_sent_and_never_shown(tmp_path):
    async def scenario():
        async with LyingServer({}) as server:
            environment = {"MLFLOW_TRACKING_TOKEN": "secret", "MLFLOW_WORKSPACE": "team-a"}
            registry = open_registry(server.url, tmp_path, environment)
            await registry.models()
            server.instead["registered-models/search"] = Answer(401, b"", "text/html")
            with pytest.raises(RegistryUnavailable) as caught:
                await registry.models()
            await registry.aclose()
            assert all("authorization: Bearer secret\r\n" in head for head in server.heads)
            assert all("x-mlflow-workspace: team-a\r\n" in head.lower() for head in server.heads)
            assert "secret" not in str(caught.value)

    asyncio.run(scenario())
    assert "secret" not in repr(Access(url="http://host", headers={"authorization": "Bearer secret"}))
