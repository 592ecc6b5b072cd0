"""The models that benchmarks serve: a small MLP, tree ensembles and a wide network, each over one [n, 32] float tensor.

Enters: a kind and a seed. Leaves: an ONNX file, or a registry with two versions of it. The same seed gives the same model.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnx import helper, numpy_helper
from onnx.onnx_ml_pb2 import TensorProto

FEATURES = 32
KINDS: Final = ("mlp", "trees", "trees200", "wide")
TASK = {"kind": "binary", "output": "probabilities", "classes": [0, 1], "positive": 1, "threshold": 0.5}


def write_registry(root: Path, kind: str) -> None:
    """A registry with the model `m` in two versions of this kind."""
    for version in ("1", "2"):
        write_version(root, version, graph(kind, int(version)))


def write_version(root: Path, version: str, model: bytes) -> None:
    """One version of the model `m`; version 1 is the champion."""
    folder = root / "m" / version
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "model.json").write_text(json.dumps({"task": TASK}))
    (root / "m" / "aliases.json").write_text(json.dumps({"champion": "1"}))


def graph(kind: str, seed: int) -> bytes:
    """The ONNX file of a kind."""
    if kind == "mlp":
        return mlp(seed)
    if kind == "wide":
        return dense(seed, (FEATURES, 2048, 2048, 2048, 2), 0.02)
    if kind in {"trees", "trees200"}:
        return trees(seed, 200 if kind == "trees200" else 100)
    raise ValueError(f"no model of the kind {kind!r}; there are {', '.join(KINDS)}")


def mlp(seed: int) -> bytes:
    """32 -> 64 -> 32 -> 2 with ReLU and softmax."""
    return dense(seed, (FEATURES, 64, 32, 2), 0.3)


def dense(seed: int, sizes: Sequence[int], deviation: float) -> bytes:
    """Layers of these sizes with ReLU between them and softmax at the end; normal weights of this deviation."""
    random = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for layer, (before, after) in enumerate(pairwise(sizes)):
        drawn = random.normal(0, deviation, (before, after)).astype(np.float32)
        weights.append(numpy_helper.from_array(drawn, f"w{layer}"))
        weights.append(numpy_helper.from_array(np.zeros(after, np.float32), f"b{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"w{layer}", f"b{layer}"], [f"z{layer}"]))
        nodes.append(helper.make_node("Relu", [f"z{layer}"], [f"h{layer}"]))
        last = f"h{layer}"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    built = helper.make_graph(
        nodes,
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        weights,
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = model.SerializeToString()
    return serialized


def trees(seed: int, number: int) -> bytes:
    """This many boosted trees of at most 31 leaves, as scikit-learn trains them."""
    from skl2onnx import to_onnx  # noqa: PLC0415  only this kind needs it
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415  likewise
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  likewise
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415  likewise

    random = np.random.default_rng(seed)
    features = random.normal(size=(5_000, FEATURES)).astype(np.float32)
    labels = (features[:, :5].sum(axis=1) + random.normal(size=5_000) > 0).astype(int)
    model: Any = HistGradientBoostingClassifier(max_iter=number, early_stopping=False, random_state=seed)
    with threadpool_limits(1):  # threads that wait for each other by spinning take minutes on a busy machine
        model.fit(features, labels)
    exported = to_onnx(
        model, initial_types=[("x", FloatTensorType([None, FEATURES]))], options={"zipmap": False}, target_opset=17
    )
    serialized: bytes = exported.SerializeToString()
    return serialized
