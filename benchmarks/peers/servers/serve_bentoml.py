"""BentoML: one worker, adaptive batching; rows go in as nested lists, the nearest JSON it speaks.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, in place of this process.
"""

import os
import sys
from pathlib import Path

import bentoml
import numpy as np
from onnx_rows import BATCH_MAX, OnnxRows, ports


@bentoml.service(workers=1, traffic={"timeout": 60}, metrics={"enabled": True}, logging={"access": {"enabled": False}})
class Rows:
    """The model as BentoML runs it."""

    def __init__(self) -> None:
        self.model = OnnxRows()

    @bentoml.api(batchable=True, max_batch_size=BATCH_MAX)
    def infer(self, x: np.ndarray) -> np.ndarray:
        """A batch that BentoML put together."""
        probabilities: np.ndarray = self.model.run(x.astype(np.float32, copy=False))["probabilities"]
        return probabilities


def main() -> None:
    """Become the server."""
    here = str(Path(__file__).parent)
    program = str(Path(sys.executable).with_name("bentoml"))
    listen = ["--host", "127.0.0.1", "--port", str(ports()[0])]
    os.execv(program, [program, "serve", "serve_bentoml:Rows", "--working-dir", here, *listen])


if __name__ == "__main__":
    main()
