"""The example that MLflow saves is read as a request of the version."""

import msgspec
import pytest

from contracts.errors import ModelRejected
from contracts.signature import Signature, TensorSpec
from gateway.models.input_example import read_example

MATRIX = Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),), outputs=())
COLUMNS = Signature(
    inputs=(
        TensorSpec(name="age", datatype="FP32", shape=(-1, 1)),
        TensorSpec(name="home_country", datatype="BYTES", shape=(-1, 1)),
    ),
    outputs=(),
)


def read(document, signature):
    return {name: array.tolist() for name, array in read_example(msgspec.json.encode(document), signature).items()}


def split(columns, *rows):
    return {"dataframe_split": {"columns": columns, "data": rows}}


def test_a_table_goes_into_the_only_input_or_to_the_inputs_of_its_columns():
    assert read(split(["a", "b"], [1, 2], [3, 4.5]), MATRIX) == {"x": [[1.0, 2.0], [3.0, 4.5]]}
    assert read(split([0, 1], [1, 2]), MATRIX) == {"x": [[1.0, 2.0]]}
    assert read(split(["home country", "age"], ["de", 20]), COLUMNS) == {"age": [[20.0]], "home_country": [["de"]]}


def test_tensors_go_to_the_inputs_of_their_names_or_into_the_only_one():
    assert read({"inputs": [[1, 2]]}, MATRIX) == {"x": [[1.0, 2.0]]}
    assert read({"inputs": {"x": [[1, 2]]}}, MATRIX) == {"x": [[1.0, 2.0]]}
    assert read({"inputs": {"age": [[1]], "home country": [["de"]]}}, COLUMNS) == {
        "age": [[1.0]],
        "home_country": [["de"]],
    }


@pytest.mark.parametrize(
    ("document", "signature", "reason"),
    [
        (split(["age", "city"], [1, "x"]), COLUMNS, "the graph has no inputs for the columns"),
        (split(["age", "home country", "home_country"], [1, "a", "b"]), COLUMNS, "stand for one input"),
        (split(["a", "b", "c"], [1, 2, 3]), MATRIX, "has shape [1, 3] and must have [-1, 2]"),
        (split(["a", "b"], [1]), MATRIX, "data with a value a column in each row"),
        ({"dataframe_split": {}}, MATRIX, "data with a value a column in each row"),
        (split(["a", "b"], [1, None]), MATRIX, "null is no FP32"),
        ({"inputs": {"y": [[1, 2]]}}, MATRIX, "the graph has no input 'y'"),
        ({"inputs": [[1, 2]]}, COLUMNS, "the graph has no input 'inputs'"),
        ({"dataframe_records": []}, MATRIX, "the graph has no input 'dataframe_records'"),
    ],
)
def test_an_example_that_the_graph_cannot_answer_is_refused(document, signature, reason):
    with pytest.raises(ModelRejected) as caught:
        read(document, signature)
    assert reason in str(caught.value)
