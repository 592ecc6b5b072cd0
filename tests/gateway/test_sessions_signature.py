"""What a version may take and give, and how each breach of it is named."""

import asyncio

import pytest
from onnx import TensorProto, helper

from contracts.errors import ModelRejected
from gateway.models.sessions import load_session


def rejection(fetched) -> str:
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(load_session(fetched))
    return str(caught.value).removeprefix(f"m version {fetched.version}: ")


def free_sum(graphs):
    return graphs.model(
        [graphs.node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        [graphs.value("x", ["n", "k", 2])],
        [graphs.value("y", None)],
        [graphs.constant("axis", [1], "int64")],
    )


def sequence(graphs):
    split = helper.make_value_info(
        "parts", helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.FLOAT, None))
    )
    return graphs.model([graphs.node("SplitToSequence", ["x"], ["parts"])], [graphs.value("x", ["n", 2])], [split])


def bfloat(graphs):
    return graphs.model(
        [graphs.node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)],
        [graphs.value("x", ["n", 2])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["n", 2])],
    )


def fixed_output(graphs):
    return graphs.model(
        [graphs.node("Reshape", ["x", "shape"], ["y"])],
        [graphs.value("x", ["n", 2])],
        [graphs.value("y", [5, 2])],
        [graphs.constant("shape", [5, 2], "int64")],
    )


def no_inputs(graphs):
    return graphs.model(
        [graphs.node("Identity", ["c"], ["y"])], [], [graphs.value("y", [1])], [graphs.constant("c", [1])]
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (sequence, "output 'parts' is seq(tensor(float)): only tensors can be served"),
        (
            bfloat,
            (
                "output 'y' is tensor(bfloat16): only BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, "
                "FP32, FP64, BYTES can be served"
            ),
        ),
        (
            lambda graphs: graphs.identity(shape=[3, 2]),
            "input 'x' is fixed to 3 rows: export it with a free first dimension, or with 1",
        ),
        (
            lambda graphs: graphs.identity(shape=[]),
            "input 'x' is a scalar or of unknown rank: export it as [n, ...], the batch first",
        ),
        (
            lambda graphs: graphs.identity(shape=None),
            "input 'x' is a scalar or of unknown rank: export it as [n, ...], the batch first",
        ),
        (lambda graphs: graphs.identity(shape=["n", 0]), "input 'x' has the shape [-1, 0]: it can never hold a value"),
        (
            fixed_output,
            "output 'y' is fixed to 5 rows while the inputs are free: export it with the inputs' first dimension",
        ),
        (no_inputs, "the graph has no inputs: there is nothing to predict from"),
    ],
)
def test_a_graph_that_cannot_be_served_is_refused_with_what_to_change(shelf, graphs, make, reason):
    assert rejection(shelf.put(make(graphs))) == reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"inputs": [{"name": "z"}]}, "model.json describes the input 'z', but the graph has 'x'"),
        (
            {"inputs": [{"name": "x", "features": ["a", "b"]}]},
            "input 'x' of shape [-1, 3] cannot have 2 feature names: a [n, k] tensor has k",
        ),
        (
            {"inputs": [{"name": "x", "features": ["a", "b", "a"]}]},
            "feature names a stand twice: the record could not tell them apart",
        ),
        (
            {"inputs": [{"name": "x", "null_value": "none"}]},
            "model.json gives input 'x' a null_value but does not make it nullable",
        ),
        (
            {"task": {"kind": "binary", "output": "q"}},
            "model.json's task reads the output 'q', but the graph has p",
        ),
        (
            {"task": {"kind": "multiclass", "output": "p", "classes": ["a", "b"]}},
            "model.json's task has 2 classes, but the output 'p' has 1 columns",
        ),
        ({"task": {"kind": "binary", "output": "p", "positive": 2}}, "model.json's task has the positive class 2 of 2"),
    ],
)
def test_metadata_that_do_not_fit_the_graph_are_refused(shelf, graphs, said, reason):
    assert rejection(shelf.put(graphs.mlp(), model=said)) == reason


@pytest.mark.parametrize(
    ("datatype", "said", "accepted"),
    [
        ("FP32", {"nullable": True}, True),
        ("FP16", {"nullable": True}, True),
        ("BYTES", {"nullable": True, "null_value": ""}, True),
        ("BYTES", {"nullable": True}, False),
        ("INT64", {"nullable": True}, False),
        ("BOOL", {"nullable": True}, False),
        ("INT64", {"nullable": True, "null_value": "0"}, False),
    ],
)
def test_only_floats_and_strings_with_a_stand_in_may_be_null(shelf, graphs, datatype, said, accepted):
    fetched = shelf.put(graphs.identity(datatype), model={"inputs": [{"name": "x", **said}]})
    if accepted:
        assert asyncio.run(load_session(fetched)).signature.inputs[0].nullable
    else:
        assert rejection(fetched) == (
            f"input 'x' ({datatype}) cannot be nullable: floating datatypes can, and BYTES with a null_value"
        )


def test_a_tensor_of_three_free_dimensions_is_served(shelf, graphs):
    session = asyncio.run(load_session(shelf.put(free_sum(graphs))))

    assert session.signature.inputs[0].shape == (-1, -1, 2)
    assert len(session.signature.outputs[0].shape) == 3
