"""The ONNX file that every peer serves, run as every peer runs it: rows in, named arrays out, on one thread.

Enters: the file that `PEER_MODEL` names; V2 requests as Python values. Leaves: V2 replies as Python values. It imports
nothing but numpy and onnxruntime, which every peer's environment has, and it never batches: that is the peer's part.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime

BATCH_MAX = 64
"""As many as there are connections: no peer has to leave anybody waiting for the next batch."""
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32"}


def ports() -> list[int]:
    """The port to listen on, then two spare ones for a server that needs more."""
    return [int(port) for port in os.environ["PEER_PORTS"].split(",")]


class OnnxRows:
    """A session over the file."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["PEER_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self.input = self.session.get_inputs()[0].name
        self.outputs = [output.name for output in self.session.get_outputs()]

    def run(self, rows: Any) -> dict[str, Any]:
        """All outputs for [n, 32] rows."""
        return dict(zip(self.outputs, self.session.run(None, {self.input: rows}), strict=True))

    def run_many(self, batch: Sequence[Any]) -> list[dict[str, Any]]:
        """The outputs of each of several requests, from one run."""
        arrays = self.run(np.concatenate(batch) if len(batch) > 1 else batch[0])
        ends = np.cumsum([len(rows) for rows in batch]).tolist()
        starts = [0, *ends[:-1]]
        return [
            {name: array[start:end] for name, array in arrays.items()} for start, end in zip(starts, ends, strict=True)
        ]


def rows_of(request: dict[str, Any]) -> Any:
    """The only tensor of a V2 request."""
    tensor = request["inputs"][0]
    return np.array(tensor["data"], np.float32).reshape(tensor["shape"])


def reply_of(arrays: dict[str, Any]) -> dict[str, Any]:
    """A V2 reply with all outputs."""
    return {
        "model_name": "m",
        "outputs": [
            {
                "name": name,
                "datatype": DATATYPES[str(array.dtype)],
                "shape": list(array.shape),
                "data": array.ravel().tolist(),
            }
            for name, array in arrays.items()
        ],
    }
