"""Classifiers as converters write them by default: scores come as tensors whose columns are the classes in ascending order."""

import asyncio

import numpy as np
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from contracts.errors import ModelFailed, ModelRejected
from gateway.models.graph_signature import GraphTensor
from gateway.models.sessions import load_session
from gateway.models.zipmap import Scores, scores_of, unmapped

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
NUMBERS = np.arange(60) % 3 - 1
NAMES = np.array(["yes", "no", "maybe"])[np.arange(60) % 3]


def classifier(labels):
    fitted = LogisticRegression().fit(ROWS, labels)
    return fitted, to_onnx(fitted, ROWS[:1], target_opset=17)


@pytest.mark.parametrize("labels", [NUMBERS, NAMES], ids=["int64", "string"])
def test_the_scores_are_scikit_learns_with_classes_in_its_order(shelf, labels):
    fitted, graph = classifier(labels)
    session = asyncio.run(load_session(shelf.put(graph, input_example={"X": [ROWS[0].tolist()]})))

    label, scores = session.run({"X": ROWS})

    spec = session.signature.outputs[1]
    assert (spec.name, spec.datatype, spec.shape) == ("output_probability", "FP32", (-1, 3))
    assert label.tolist() == fitted.predict(ROWS).tolist()
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, fitted.predict_proba(ROWS), rtol=1e-5)


def test_a_task_may_read_the_scores_and_is_held_against_their_classes(shelf):
    _, graph = classifier(NAMES)
    task = {"kind": "multiclass", "output": "output_probability", "classes": ["maybe", "no", "yes"]}

    session = asyncio.run(load_session(shelf.put(graph, model={"task": task})))
    assert session.signature.outputs[1].shape == (-1, 3)

    with pytest.raises(ModelRejected, match=r"has 2 classes, but the output 'output_probability' has 3 columns"):
        asyncio.run(load_session(shelf.put(graph, model={"task": task | {"classes": ["no", "yes"]}})))


def test_a_graph_that_fails_on_its_example_is_rejected_with_the_reason(shelf, graphs):
    probabilities = helper.make_value_info(
        "probabilities",
        helper.make_sequence_type_proto(
            helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None))
        ),
    )
    graph = graphs.model(
        [graphs.node("ZipMap", ["x"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])],
        [graphs.value("x", ["n", "k"])],
        [probabilities],
        domains=["ai.onnx.ml"],
    )
    with pytest.raises(ModelRejected, match="fails on input_example.json"):
        asyncio.run(load_session(shelf.put(graph, input_example={"x": [[0.1, 0.2, 0.7]]})))
    two = asyncio.run(load_session(shelf.put(graph, input_example={"x": [[0.3, 0.7]]})))
    assert two.run({"x": np.array([[0.5, 0.5]], np.float32)})[0].tolist() == [[0.5, 0.5]]


MAP = GraphTensor("p", "seq(map(string,tensor(float)))", [])


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "its rows are not of the same classes"),
        ([{"a": 1.0}, {"b": 1.0}], "its rows are not of the same classes"),
        ([{str(n): 0.0 for n in range(10_001)}], "has 10001 classes; at most 10000 can be served"),
    ],
)
def test_classes_that_cannot_be_told_are_refused(rows, reason):
    with pytest.raises(ModelRejected, match=reason):
        scores_of([MAP], [rows])


def test_a_row_without_a_class_fails_by_name_and_other_versions_run_as_they_are():
    def run(_names, _feeds, _options):
        return [[{"a": 1.0}]]

    with pytest.raises(ModelFailed, match="output 'p' holds a row without the class 'b'"):
        unmapped(run, [Scores(0, ("a", "b"))])(["p"], {}, None)
    assert unmapped(run, []) is run
