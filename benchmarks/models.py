"""The models that benchmarks serve: a small MLP and a tree ensemble, each over one [n, 32] float tensor."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from onnx.onnx_ml_pb2 import TensorProto

FEATURES = 32
TASK = {"kind": "binary", "output": "probabilities", "classes": [0, 1], "positive": 1, "threshold": 0.5}


def write_registry(root: Path, kind: str) -> None:
    """A registry with the model `m` in two versions of this kind (`mlp` or `trees`)."""
    for version in ("1", "2"):
        folder = root / "m" / version
        folder.mkdir(parents=True, exist_ok=True)
        graph = mlp(int(version)) if kind == "mlp" else trees(int(version))
        (folder / "model.onnx").write_bytes(graph)
        (folder / "model.json").write_text(json.dumps({"task": TASK}))
    (root / "m" / "aliases.json").write_text(json.dumps({"champion": "1"}))


def mlp(seed: int) -> bytes:
    """32 -> 64 -> 32 -> 2 with ReLU and softmax."""
    random = np.random.default_rng(seed)
    sizes = (FEATURES, 64, 32, 2)
    nodes, weights, last = [], [], "x"
    for layer, (before, after) in enumerate(pairwise(sizes)):
        weights.append(numpy_helper.from_array(random.normal(0, 0.3, (before, after)).astype(np.float32), f"w{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(after, np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"h{layer}"]))
        last = f"h{layer}"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def trees(seed: int) -> bytes:
    """100 boosted trees of at most 31 leaves, as scikit-learn trains them."""
    from skl2onnx import to_onnx  # noqa: PLC0415  only this kind needs it
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415  likewise
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  likewise

    random = np.random.default_rng(seed)
    features = random.normal(size=(5_000, FEATURES)).astype(np.float32)
    labels = (features[:, :5].sum(axis=1) + random.normal(size=5_000) > 0).astype(int)
    model: Any = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed).fit(
        features, labels
    )
    exported = to_onnx(
        model, initial_types=[("x", FloatTensorType([None, FEATURES]))], options={"zipmap": False}, target_opset=17
    )
    serialized: bytes = exported.SerializeToString()
    return serialized
