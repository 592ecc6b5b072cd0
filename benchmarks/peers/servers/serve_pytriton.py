"""PyTriton: Triton's own HTTP front and dynamic batcher before a Python function.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, until it is ended.
"""

import os
import sysconfig
from typing import Any

import numpy as np
from onnx_rows import BATCH_MAX, OnnxRows, ports
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

WAIT_US = 1000


def main() -> None:
    """Bind the model and serve it."""
    model = OnnxRows()
    shapes = model.run(np.zeros((1, 32), np.float32))

    @batch
    def infer(**inputs: Any) -> dict[str, Any]:
        arrays = model.run(inputs[model.input])
        return {name: array.reshape(len(array), -1) for name, array in arrays.items()}

    # Triton's Python part is linked to any libpython of this minor version: another patch's does not fit this one's library.
    os.environ["LD_LIBRARY_PATH"] = str(sysconfig.get_config_var("LIBDIR"))
    http, grpc, metrics = ports()
    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc, metrics_port=metrics
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="m",
            infer_func=infer,
            inputs=[Tensor(name=model.input, dtype=np.float32, shape=(32,))],
            outputs=[
                Tensor(name=name, dtype=array.dtype.type, shape=(array.reshape(1, -1).shape[1],))
                for name, array in shapes.items()
            ],
            config=ModelConfig(max_batch_size=BATCH_MAX, batcher=DynamicBatcher(max_queue_delay_microseconds=WAIT_US)),
        )
        triton.serve()


if __name__ == "__main__":
    main()
