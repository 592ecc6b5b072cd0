"""The input example is read as live requests are, and a version must answer it as it declares."""

import asyncio
import json

import numpy as np
import pytest

from contracts.errors import ModelRejected
from contracts.signature import Signature, TensorSpec
from gateway.models.input_example import read_example, zeros
from gateway.models.sessions import load_session

SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", datatype="FP32", shape=(-1, 2), nullable=True),
        TensorSpec(name="who", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(),
)


def v2(**tensors):
    return {"inputs": [{"name": name, **tensor} for name, tensor in tensors.items()]}


X = {"shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, None]}
WHO = {"shape": [2, 1], "datatype": "BYTES", "data": ["a", "b"]}


@pytest.mark.parametrize(
    "example",
    [
        v2(x=X, who=WHO),
        v2(who=WHO, x=X | {"data": [[1, 2], [3, None]]}) | {"id": "example"},
        {"x": [[1, 2], [3, None]], "who": [["a"], ["b"]]},
        {"who": ["a", "b"], "x": [[1.0, 2.0], [3.0, None]]},
    ],
)
def test_an_example_may_be_a_v2_request_or_plain_lists_by_name(example):
    feeds = read_example(json.dumps(example).encode(), SIGNATURE)

    np.testing.assert_array_equal(feeds["x"], np.array([[1, 2], [3, np.nan]], np.float32))
    assert feeds["x"].dtype == np.float32
    assert feeds["who"].tolist() == [["a"], ["b"]]


def test_an_input_called_inputs_is_no_v2_request():
    signature = Signature(inputs=(TensorSpec(name="inputs", datatype="INT64", shape=(-1, 2)),), outputs=())

    assert read_example(b'{"inputs": [[1, 2]]}', signature)["inputs"].tolist() == [[1, 2]]


def example_rejection(content: bytes) -> str:
    with pytest.raises(ModelRejected) as caught:
        read_example(content, SIGNATURE)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the body is empty"),
        (b"[]", "must be a V2 request, or an object of input names and lists of values"),
        (b"{}", "must be a V2 request, or an object of input names and lists of values"),
        (b'{"x": [[NaN, 1]], "who": ["a"]}', "JSON has no NaN"),
        (b'{"x": [[1, 2]], "who": ["a"], "y": [1]}', "the graph has no input 'y'; it has 'x', 'who'"),
        (b'{"x": [[1, 2]], "x": [[1, 2]], "who": ["a"]}', "'x' stands twice"),
        (b'{"x": [[1, 2]]}', "input 'who' missing"),
        (b'{"x": [[1, "2"]], "who": ["a"]}', "is not an FP32"),
        (b'{"x": [[1, 2]], "who": [7]}', "is not a BYTES element"),
        (b'{"x": [[1, 2]], "who": [null]}', "null is no BYTES"),
        (b'{"x": [[1, 2, 3]], "who": ["a"]}', "has shape [1, 3] and must have [-1, 2]"),
        (b'{"x": [[1, 2], [3]], "who": ["a", "b"]}', "'x'"),
        (b'{"x": [[1, 2]], "who": ["a", "b"]}', "rows"),
        (b'{"x": [], "who": []}', "shape"),
        (b'{"x": 1, "who": ["a"]}', "shape"),
        (b'{"x": [[1, 1e39]], "who": ["a"]}', "out of range for FP32"),
        (
            b'{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}',
            "is FP64 and must be FP32",
        ),
        (b"[" * 10_000, "nested too deeply"),
        (b"\xff\xfe{\x00", "UTF-16"),
    ],
)
def test_an_example_that_could_not_be_sent_is_refused(content, reason):
    message = example_rejection(content)

    assert message.startswith("input_example.json: ")
    assert reason in message


def test_zeros_fit_every_signature():
    feeds = zeros(
        Signature(
            inputs=(
                TensorSpec(name="a", datatype="FP16", shape=(-1, 3)),
                TensorSpec(name="b", datatype="BYTES", shape=(1, -1)),
                TensorSpec(name="c", datatype="BOOL", shape=(-1,)),
            ),
            outputs=(),
        )
    )

    assert {name: (array.dtype, array.tolist()) for name, array in feeds.items()} == {
        "a": (np.dtype(np.float16), [[0, 0, 0]]),
        "b": (np.dtype(object), [[""]]),
        "c": (np.dtype(bool), [False]),
    }


def rejection(fetched) -> str:
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(load_session(fetched))
    return str(caught.value).removeprefix(f"m version {fetched.version}: ")


def logarithm(graphs):
    return graphs.model([graphs.node("Log", ["x"], ["y"])], [graphs.value("x", ["n"])], [graphs.value("y", ["n"])])


def test_nan_for_the_example_is_refused_and_for_zeros_it_is_not(shelf, graphs):
    assert rejection(shelf.put(logarithm(graphs), input_example={"x": [1, -1]})) == (
        "answers input_example.json with NaN or an infinity in output 'y'"
    )
    assert rejection(shelf.put(logarithm(graphs), input_example={"x": [0]})) == (
        "answers input_example.json with NaN or an infinity in output 'y'"
    )
    asyncio.run(load_session(shelf.put(logarithm(graphs))))
    asyncio.run(load_session(shelf.put(logarithm(graphs), input_example={"x": [1, 2]})))


def picky(graphs):
    """Fails on everything but 1 to 3: 0 leaves the table."""
    return graphs.model(
        [graphs.node("Sub", ["x", "five"], ["at"]), graphs.node("Gather", ["table", "at"], ["y"])],
        [graphs.value("x", ["n"], "INT64")],
        [graphs.value("y", ["n"])],
        [graphs.constant("table", [1, 2, 3]), graphs.constant("five", 4, np.int64)],
    )


def test_a_version_that_fails_on_its_example_is_refused(shelf, graphs):
    message = rejection(shelf.put(picky(graphs), input_example={"x": [9]}))

    assert message.startswith(
        "fails on input_example.json: INVALID_ARGUMENT : Non-zero status code returned while running Gather"
    )


def test_a_version_that_fails_on_zeros_is_refused_until_an_example_shows_what_it_answers(shelf, graphs):
    message = rejection(shelf.put(picky(graphs)))

    assert message.startswith("fails on a row of zeros: ")
    assert message.endswith(" (there is no input_example.json: add one with a request that it can answer)")
    asyncio.run(load_session(shelf.put(picky(graphs), input_example={"x": [3]})))


def drops_rows(graphs):
    """Leaves out the rows that begin with a number below zero, though the output is declared with a free dimension."""
    return graphs.model(
        [
            graphs.node("Gather", ["x", "first"], ["begin"], axis=1),
            graphs.node("GreaterOrEqual", ["begin", "zero"], ["kept"]),
            graphs.node("Compress", ["x", "kept"], ["y"], axis=0),
        ],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", ["m", 2])],
        [graphs.constant("first", 0, np.int64), graphs.constant("zero", 0)],
    )


def declared_otherwise(graphs):
    """Declares [n, 3] and gives [n, 2]; the shape is the request's, so nothing is known before it runs."""
    return graphs.model(
        [graphs.node("Reshape", ["x", "shape"], ["y"])],
        [graphs.value("x", ["n", 2]), graphs.value("shape", ["d"], "INT64")],
        [graphs.value("y", ["n", 3])],
    )


FIRST = "the first dimension must be that of the inputs"


def test_an_answer_with_another_number_of_rows_is_refused(shelf, graphs):
    assert rejection(shelf.put(drops_rows(graphs), input_example={"x": [[1, 2], [-3, 4]]})) == (
        f"answers input_example.json with shape [1, 2] in output 'y' for 2 rows: {FIRST}"
    )


def unique_rows(graphs):
    """Equal rows are answered once: right for an example of one row, wrong for the same row many times."""
    return graphs.model(
        [graphs.node("Unique", ["x"], ["y"], axis=0)], [graphs.value("x", ["n", 2])], [graphs.value("y", ["m", 2])]
    )


def test_an_answer_with_another_number_of_rows_is_found_in_a_batch_where_the_example_has_one_row(shelf, graphs):
    assert rejection(shelf.put(unique_rows(graphs), input_example={"x": [[1, 2]]})) == (
        f"answers a batch of 32 rows with shape [1, 2] in output 'y' for 32 rows: {FIRST}"
    )


def test_outputs_other_than_declared_are_refused(shelf, graphs):
    example = {"x": [[1, 2], [3, 4]], "shape": [2, 2]}
    assert rejection(shelf.put(declared_otherwise(graphs), input_example=example)) == (
        "answers input_example.json with shape [2, 2] in output 'y', which is declared [-1, 3]"
    )
    assert rejection(shelf.put(declared_otherwise(graphs), input_example=example | {"shape": [4, 1]})) == (
        f"answers input_example.json with shape [4, 1] in output 'y' for 2 rows: {FIRST}"
    )


def test_an_output_of_another_datatype_than_declared_is_refused(shelf, graphs):
    wrong = graphs.model(
        [graphs.node("Identity", ["x"], ["y"])], [graphs.value("x", ["n", 2])], [graphs.value("y", ["n", 2], "FP64")]
    )
    assert rejection(shelf.put(wrong)).startswith(
        "onnxruntime cannot load it: FAIL : Type Error: Type (tensor(double)) of output arg (y) of node () does not match "
    )


def over_the_batch(graphs):
    return graphs.model(
        [graphs.node("Softmax", ["x"], ["y"], axis=0)], [graphs.value("x", ["n", 2])], [graphs.value("y", ["n", 2])]
    )


def test_a_graph_whose_rows_influence_each_other_is_refused(shelf, graphs):
    """Requests of different callers share a run: such a graph would let one change the answer to another."""
    assert rejection(shelf.put(over_the_batch(graphs), input_example={"x": [[1, 2], [3, 4]]})) == (
        "answers a row otherwise when it is alone than in a batch of 32 rows (output 'y'): its rows influence each other; "
        "make them independent, or fix the first dimension of the inputs to 1"
    )


def test_a_graph_that_draws_lots_is_not_mistaken_for_one(shelf, graphs):
    noisy = graphs.model(
        [
            graphs.node("RandomNormalLike", ["x"], ["noise"], scale=100.0, seed=7.0),
            graphs.node("Add", ["x", "noise"], ["y"]),
        ],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", ["n", 2])],
    )
    asyncio.run(load_session(shelf.put(noisy)))


def one_row_inside(graphs):
    """Free outside, but the graph was traced with one row."""
    return graphs.model(
        [graphs.node("Reshape", ["x", "one"], ["flat"]), graphs.node("Add", ["flat", "x"], ["y"])],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", ["n", 2])],
        [graphs.constant("one", [1, 2], np.int64)],
    )


def test_a_graph_that_only_works_for_one_row_is_refused(shelf, graphs):
    message = rejection(shelf.put(one_row_inside(graphs), input_example={"x": [[1, 2]]}))

    assert message.startswith("fails on a batch of 32 rows: ")
    assert "Reshape" in message
