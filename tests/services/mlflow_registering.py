"""Run by the Python of an MLflow environment: does to a registry, through MLflow's own client, what the steps say.

Enters: a JSON list of steps, each `{"do": ..., ...}`, as the only argument. Leaves: a JSON list of what each said, after the
mark `@@@`, on the output. Imports nothing of ours: ours is not installed there.
"""

import json
import sys
import tempfile
from pathlib import Path

import mlflow
import numpy as np
import onnx
import pandas as pd
from mlflow.models import infer_signature
from onnx import TensorProto, helper, numpy_helper

MAJOR = int(mlflow.__version__.partition(".")[0])


def _saved(nodes, inputs, outputs, constants):
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def linear(factor=1.0, columns=3, **_):
    """From x [n, columns] to y [n, 1], the sum of the columns times a factor."""
    model = _saved(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.full((columns, 1), factor, np.float32), "w")],
    )
    frame = pd.DataFrame(np.ones((2, columns), np.float32), columns=[f"c{i}" for i in range(columns)])
    return model, frame, np.zeros((2, 1), np.float32)


def heavy(factor=1.0, **_):
    """From x [n, 512] to y [n, 16]: 32 KiB of weights, which MLflow saves beside the graph."""
    model = _saved(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 16])],
        [numpy_helper.from_array(np.full((512, 16), factor, np.float32), "w")],
    )
    return model, np.ones((2, 512), np.float32), np.zeros((2, 16), np.float32)


def mixed(**_):
    """A scikit-learn pipeline over numbers and strings, exported by skl2onnx: one named input a column."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    frame = pd.DataFrame(
        {
            "age": np.array([20, 30, 40, 50], np.float32),
            "home country": ["de", "fr", "de", "it"],
            "income": np.array([1, 2, 3, 4], np.float32),
        }
    )
    encoding = ColumnTransformer([("one_hot", OneHotEncoder(), ["home country"])], remainder="passthrough")
    pipeline = make_pipeline(encoding, LogisticRegression()).fit(frame, [0, 0, 1, 1])
    kinds = [
        ("age", FloatTensorType([None, 1])),
        ("home country", StringTensorType([None, 1])),
        ("income", FloatTensorType([None, 1])),
    ]
    model = to_onnx(pipeline, initial_types=kinds, options={"zipmap": False}, target_opset=17)
    return model, frame.head(2), np.array([0, 1])


MODELS = {"linear": linear, "heavy": heavy, "mixed": mixed}


def log(name, kind="linear", example=True, signature=True, metadata=None, files=None, **more):
    """Log a model and register it; `files` are texts that are put beside it."""
    model, given, taken = MODELS[kind](**more)
    if kind == "mixed":
        taken = None
    options = {"metadata": metadata, "pip_requirements": ["onnxruntime"]}
    if signature:
        options["signature"] = infer_signature(given, taken)
    if example:
        options["input_example"] = given
    with mlflow.start_run() as run:
        mlflow.log_params({"depth": 3, "seed": 7})
        mlflow.log_metric("auc", 0.81)
        mlflow.log_metric("broken", float("nan"))
        mlflow.set_tag("data_version", "2026-11")
        if not files:
            where = {"name": "model"} if MAJOR >= 3 else {"artifact_path": "model"}
            return register(name, mlflow.onnx.log_model(model, **where, **options).model_uri)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            mlflow.onnx.save_model(model, str(path), **options)
            for file, text in files.items():
                (path / file).parent.mkdir(parents=True, exist_ok=True)
                (path / file).write_text(text)
            mlflow.log_artifacts(str(path), "model")
        return register(name, f"runs:/{run.info.run_id}/model")


def log_sklearn(name):
    """Log a model without an ONNX flavor."""
    from sklearn.linear_model import LinearRegression

    fitted = LinearRegression().fit(np.ones((2, 1)), [1, 2])
    with mlflow.start_run():
        where = {"name": "model", "serialization_format": "cloudpickle"} if MAJOR >= 3 else {"artifact_path": "model"}
        info = mlflow.sklearn.log_model(fitted, pip_requirements=["scikit-learn"], **where)
    return register(name, info.model_uri)


def register(name, uri):
    """Register what lies at a URI."""
    version = mlflow.register_model(uri, name)
    return {"version": str(version.version), "source": version.source}


STEPS = {"log": log, "log_sklearn": log_sklearn}


def main():
    """Do the steps."""
    assert onnx.__version__
    said = [STEPS[step.pop("do")](**step) or {} for step in json.loads(sys.argv[1])]
    print("\n@@@" + json.dumps(said))


if __name__ == "__main__":
    main()
