"""What an MLmodel says of a graph becomes metadata: names of features, and which inputs may be null."""

import json

import pytest
import yaml

from contracts.errors import ModelRejected
from contracts.metadata import InputMetadata, ModelMetadata
from registry_client.graph_inputs import GraphInput, graph_inputs
from registry_client.mlmodel import decode_mlmodel, metadata_of


def mlmodel(inputs=None, **more):
    document = {"flavors": {"onnx": {"data": "model.onnx"}, "python_function": {}}, **more}
    if inputs is not None:
        document["signature"] = {"inputs": json.dumps(inputs), "outputs": None}
    return yaml.safe_dump(document).encode()


def column(name, kind="double", required=True):
    return {"name": name, "type": kind, "required": required}


def described(inputs, *graph):
    return metadata_of(decode_mlmodel(mlmodel(inputs)), graph).inputs


def test_an_mlmodel_names_graph_and_example():
    saved = {"artifact_path": "input_example.json", "serving_input_path": "serving_input_example.json"}
    said = decode_mlmodel(mlmodel(saved_input_example_info=saved))

    assert (said.graph, said.example, said.replaced) == (
        "model.onnx",
        "serving_input_example.json",
        "input_example.json",
    )
    assert (said.columns, said.metadata) == ((), None)


def test_columns_of_one_input_are_its_features():
    inputs = [column("a"), column("b", required=False)]

    assert described(inputs, GraphInput("x", True)) == (InputMetadata(name="x", features=("a", "b"), nullable=True),)
    assert described(inputs, GraphInput("x", False)) == (InputMetadata(name="x", features=("a", "b")),)


def test_columns_with_inputs_of_their_own_need_no_names():
    inputs = [
        column("home country", "string", required=False),
        column("a", required=False),
        column("b"),
        column("n", "long"),
    ]
    graph = [GraphInput("home_country", False), GraphInput("a", True), GraphInput("b", True), GraphInput("n", False)]

    assert described(inputs, *graph) == (InputMetadata(name="a", nullable=True),)
    assert described([column("x", required=False)], GraphInput("x", True)) == (InputMetadata(name="x", nullable=True),)


def test_columns_that_would_be_one_input_are_refused_by_name():
    graph = [GraphInput("a_b", True), GraphInput("c", True)]

    with pytest.raises(ModelRejected, match="the columns 'a b' and 'a-b' both stand for the input 'a_b'"):
        described([column("a b"), column("a-b"), column("c")], *graph)
    exact = described([column("a b"), column("a_b", required=False), column("c")], *graph)
    assert exact == (InputMetadata(name="a_b", nullable=True),), "an input's very name comes first"


def test_strings_and_numbers_cannot_share_one_input():
    with pytest.raises(ModelRejected, match="columns of strings and of numbers are to share the only input 'x'"):
        described([column("a"), column("b", "string")], GraphInput("x", True))
    texts = described([column("a", "string"), column("b", "string")], GraphInput("x", False))
    assert texts == (InputMetadata(name="x", features=("a", "b")),)


@pytest.mark.parametrize(
    "inputs",
    [
        [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 4]}}],
        [{"type": "double"}, {"type": "double"}],
        [{"name": 0, "type": "double"}],
        [{"name": "a", "type": "array", "items": {"type": "double"}}],
        [column("a"), column("a")],
        {"name": "a"},
        [],
    ],
)
def test_other_signatures_say_nothing(inputs):
    assert described(inputs, GraphInput("x", True)) == ()


def test_own_metadata_of_an_mlmodel_is_that_of_model_json():
    said = decode_mlmodel(mlmodel([column("a")], metadata={"pointsman": {"owner": "risk"}, "other": 1}))

    assert metadata_of(said, [GraphInput("x", True)]) == ModelMetadata(
        owner="risk", inputs=(InputMetadata(name="x", features=("a",)),)
    )
    own = {"inputs": [{"name": "x", "features": ["b"]}]}
    assert metadata_of(decode_mlmodel(mlmodel([column("a")], metadata={"pointsman": own})), []).inputs[0].features == (
        "b",
    )
    with pytest.raises(ModelRejected, match=r"metadata.pointsman is not what model.json may hold: .*`oops`"):
        decode_mlmodel(mlmodel(metadata={"pointsman": {"oops": 1}}))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "MLmodel is no YAML object"),
        (b"- a", "MLmodel is no YAML object"),
        (b"\xff", "MLmodel is no YAML"),
        (b"flavors: 7", "flavors is no object"),
        (b"{}", "no onnx flavor: has none"),
        (b"flavors: {onnx: {data: x}}\nsignature: {inputs: '['}", "signature.inputs is no JSON"),
        (b"flavors: {onnx: {data: x}}\nsignature: {inputs: '%s'}" % (b"[" * 100_000), "signature.inputs is no JSON"),
        (b'flavors: {onnx: {data: x}}\nsignature: {inputs: "\\ud800"}', "signature.inputs is no JSON"),
        (b"!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        (b"x" * (2**20 + 1), "at most 1048576 are accepted"),
    ],
)
def test_a_bad_mlmodel_is_refused_with_the_reason(content, reason):
    with pytest.raises(ModelRejected) as caught:
        decode_mlmodel(content)
    assert reason in str(caught.value)


def test_a_graphs_inputs_are_read_without_the_onnx_package(graphs):
    model = graphs.model(
        [graphs.node("MatMul", ["x", "w"], ["y"]), graphs.node("Identity", ["s"], ["t"])],
        [graphs.value("x", ["n", 3]), graphs.value("w", [3, 1]), graphs.value("s", ["n", 1], "BYTES")],
        [graphs.value("y", ["n", 1]), graphs.value("t", ["n", 1], "BYTES")],
        [graphs.constant("w", [[1], [2], [3]])],
    )

    assert graph_inputs(model.SerializeToString()) == [GraphInput("x", True), GraphInput("s", False)]
    with pytest.raises(ModelRejected, match="is not an ONNX model"):
        graph_inputs(b"\x3a\x7fjunk")


def test_an_mlmodel_in_a_folder_is_read_where_there_is_no_model_json(shelf, graphs):
    files = {"MLmodel": mlmodel([column("a"), column("b"), column("c")])}
    shelf.write("m", "1", graphs.mlp(), files=files)
    shelf.write("m", "2", graphs.mlp(), files=files, model={"owner": "risk"})

    assert shelf.fetch("m", "1").metadata.inputs == (InputMetadata(name="x", features=("a", "b", "c")),)
    assert shelf.fetch("m", "2").metadata == ModelMetadata(owner="risk")


@pytest.mark.parametrize("kind", [{}, [], {"type": "array"}, 7, None])
def test_columns_of_a_type_that_is_none_are_passed_over(kind):
    assert decode_mlmodel(mlmodel([column("a"), column("b", kind)])).columns == ()
