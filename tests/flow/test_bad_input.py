"""Bad bodies over the wire: each gets its exact status and reason, and the next good request is answered."""

import importlib.util
import json
from pathlib import Path

import httpx
import pytest

TABLE = Path(__file__).parent.parent / "gateway" / "test_v2_bad_input.py"
GOOD = b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}'


def table():
    """The catalogue of bad bodies, with the reason of each."""
    spec = importlib.util.spec_from_file_location("bad_input", TABLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CASES


def tensor(name="x", data=(1.0,), datatype="FP32", shape=None):
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": list(data)}


ASKS_OF_THE_MODEL = {
    "35 null where the model takes none": (
        {"inputs": [tensor(data=[None])]},
        400,
        "version 1 of 'echo': input 'x': data[0] is null, and null is no FP32: send a value",
    ),
    "35 an integer for a float input": (
        {"inputs": [tensor(datatype="INT64", data=[1])]},
        400,
        "version 1 of 'echo': input 'x' is INT64 and must be FP32",
    ),
    "38 an input missing": (
        {"inputs": [tensor("y")]},
        400,
        "version 1 of 'echo': input 'x' missing",
    ),
    "38 an input that nobody takes": (
        {"inputs": [tensor(), tensor("z")]},
        400,
        "inputs[1] 'z': no version takes it; known are 'x', 'y'",
    ),
    "40 an output that nobody gives": (
        {"inputs": [tensor()], "outputs": [{"name": "w"}]},
        400,
        "outputs[0] 'w': no version gives it; known are 'v'",
    ),
    "42 more rows than a batch may have": (
        {"inputs": [tensor(data=[1.0] * 300)]},
        400,
        "the request has 300 rows; at most 256 at once (batch_rows_max): split it",
    ),
    "44 a variant that is not there": (
        {"inputs": [tensor()], "parameters": {"variant": "nobody"}},
        404,
        "model 'echo' has no variant 'nobody' in revision 1: use champion",
    ),
    "44 a deadline that cannot be kept": (
        {"inputs": [tensor()], "parameters": {"timeout": 1}},
        504,
        "version 1 of 'echo': the deadline passed after",
    ),
    "31 an output that is NaN": (
        {"inputs": [tensor(data=[-1.0])]},
        500,
        "version 1 of 'echo': output 'v' holds NaN at row 0: JSON cannot carry it",
    ),
}


@pytest.fixture
def echo(tmp_path, graphs, start):
    """A gateway with the model `echo`: v = sqrt(x); version 2 also takes y and is there by its alias."""
    root = tmp_path / "echo-models" / "echo"
    one = graphs.model([graphs.node("Sqrt", ["x"], ["v"])], [graphs.value("x", ["n"])], [graphs.value("v", ["n"])])
    two = graphs.model(
        [graphs.node("Add", ["x", "y"], ["v"])],
        [graphs.value("x", ["n"]), graphs.value("y", ["n"])],
        [graphs.value("v", ["n"])],
    )
    for version, model in (("1", one), ("2", two)):
        (root / version).mkdir(parents=True)
        (root / version / "model.onnx").write_bytes(model.SerializeToString())
    (root / "aliases.json").write_text(json.dumps({"champion": "1", "other": "2"}))
    return start("serve", registry=root.parent)


def test_every_bad_body_gets_its_status_and_reason_and_the_next_good_one_is_answered(echo):
    wrong = {}
    with httpx.Client(base_url=echo.data, timeout=30) as client:
        for name, (content, reason) in table().items():
            refused = client.post("/v2/models/echo/infer", content=content)
            expected = (400, "application/json", {"error": reason})
            got = (refused.status_code, refused.headers["content-type"], refused.json())
            good = client.post("/v2/models/echo/infer", content=GOOD).status_code
            if got != expected or good != 200:
                wrong[name] = (got, expected, good)

    assert wrong == {}


def test_what_only_the_model_can_refuse_gets_its_status_and_reason(echo):
    with httpx.Client(base_url=echo.data, timeout=30) as client:
        for name, (content, status, reason) in ASKS_OF_THE_MODEL.items():
            refused = client.post("/v2/models/echo/infer", json=content)
            assert (refused.status_code, refused.headers["content-type"]) == (status, "application/json"), name
            assert refused.json()["error"].startswith(reason), (name, refused.json())
            good = client.post("/v2/models/echo/infer", content=GOOD)
            assert good.json()["outputs"][0]["data"] == [1.0], name


def test_a_zoo_of_paths_and_headers_is_refused_in_the_one_error_shape(echo):
    cases = [
        ("/v2/models/nope/infer", {}, 404, "Request for unknown model: 'nope' is not found; GET /v2/models lists them"),
        ("/v2/models/..%2f..%2fetc/infer", {}, 404, "Request for unknown model: '../../etc' is not found"),
        (
            "/v2/models/echo/versions/99/infer",
            {},
            404,
            "model 'echo' has no version or alias '99': there are 1, 2, champion, other",
        ),
        ("/v2/models/echo/%69nfer", {}, 404, "POST /v2/models/echo/infer: Not Found"),
        ("/v2/models/echo%ff/infer", {}, 404, "POST /v2/models/echo\ufffd/infer: Not Found"),
        ("/v2/models/echo/infer", {"content-encoding": "gzip"}, 400, "content-encoding 'gzip' is not undone here"),
        ("/v2/models/echo/infer", {"inference-header-content-length": "10"}, 400, "binary tensors"),
    ]
    with httpx.Client(base_url=echo.data, timeout=30) as client:
        for path, headers, status, reason in cases:
            refused = client.post(path, content=GOOD, headers=headers)
            assert refused.status_code == status, (path, headers, refused.text)
            assert refused.json()["error"].startswith(reason)
            assert refused.headers["content-type"] == "application/json"
        for content in (b'{"ready": "\xff"}', b'{"ready":' * 100_000):
            refused = client.post("/v2/repository/index", content=content)
            assert (refused.status_code, refused.headers["content-type"]) == (400, "application/json"), refused.text
            assert refused.json()["error"].startswith("body: ")
        assert client.post("/v2/models/echo/infer", content=GOOD).status_code == 200
