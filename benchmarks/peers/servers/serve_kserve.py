"""KServe's Python server: one process; it has no batcher of its own (in a cluster a sidecar would batch before it).

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, until it is ended.
"""

import logging
from typing import Any

import uvicorn
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from onnx_rows import DATATYPES, OnnxRows, ports


class Loopback(uvicorn.Config):
    """KServe listens on all addresses and has no setting for that; its log of every request is left out too."""

    def __init__(self, app: str, **settings: Any) -> None:
        super().__init__(app, **settings | {"host": "127.0.0.1", "access_log": False})


class Rows(Model):
    """The model as KServe runs it."""

    def load(self) -> bool:
        """Open the file."""
        self.model = OnnxRows()
        self.ready = True
        return True

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """One request."""
        del headers, response_headers
        arrays = self.model.run(payload.inputs[0].as_numpy())
        outputs = []
        for name, array in arrays.items():
            output = InferOutput(name, list(array.shape), DATATYPES[str(array.dtype)])
            output.set_data_from_numpy(array, binary_data=False)
            outputs.append(output)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=outputs)


def main() -> None:
    """Serve the model."""
    model = Rows("m")
    model.load()
    logging.getLogger("kserve.trace").setLevel(logging.WARNING)  # two lines for every request otherwise
    setattr(uvicorn, "Config", Loopback)  # noqa: B010  mypy is right that a class is no variable
    port = ports()[0]
    ModelServer(
        http_port=port, workers=1, enable_grpc=False, enable_docs_url=False, enable_latency_logging=False
    ).start([model])


if __name__ == "__main__":
    main()
