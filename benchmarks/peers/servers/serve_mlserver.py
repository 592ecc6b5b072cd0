"""MLServer: a runtime of one's own over onnxruntime, adaptive batching, one inference worker as by default.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, in place of this process. Its settings are written into
the folder that it is started in.
"""

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from onnx_rows import BATCH_MAX, OnnxRows, ports

WAIT_SECONDS = 0.001


class Rows(MLModel):
    """The model as MLServer runs it."""

    async def load(self) -> bool:
        """Open the file."""
        self.model = OnnxRows()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """A batch that MLServer put together."""
        arrays = self.model.run(NumpyCodec.decode_input(payload.inputs[0]))
        outputs = [NumpyCodec.encode_output(name, array) for name, array in arrays.items()]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def main() -> None:
    """Write the settings, and become the server."""
    http, grpc, metrics = ports()
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "debug": False,
        "parallel_workers": 1,
    }
    model = {
        "name": "m",
        "implementation": "serve_mlserver.Rows",
        "max_batch_size": BATCH_MAX,
        "max_batch_time": WAIT_SECONDS,
    }
    Path("settings.json").write_text(json.dumps(settings))
    Path("model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", "."])


if __name__ == "__main__":
    main()
