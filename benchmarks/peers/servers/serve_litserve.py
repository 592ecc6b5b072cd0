"""LitServe: FastAPI in front, one worker process, its batching by size and time.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, until it is ended.
"""

from typing import Any, cast

import litserve
from fastapi import Request
from onnx_rows import BATCH_MAX, OnnxRows, ports, reply_of, rows_of

WAIT_SECONDS = 0.001


class Rows(litserve.LitAPI):
    """The model as LitServe runs it."""

    def setup(self, device: str) -> None:
        """Open the file, in the worker."""
        del device
        self.model = OnnxRows()

    def decode_request(self, request: Request) -> Any:  # so annotated it comes as the JSON's values
        """Parsed JSON to rows."""
        return rows_of(cast("dict[str, Any]", request))

    def batch(self, inputs: list[Any]) -> list[Any]:
        """The rows of all requests, for one run."""
        return inputs

    def predict(self, x: list[Any]) -> list[dict[str, Any]]:
        """One run for the batch."""
        return self.model.run_many(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """They come apart already."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """Arrays to a V2 reply."""
        return reply_of(output)


if __name__ == "__main__":
    api = Rows(max_batch_size=BATCH_MAX, batch_timeout=WAIT_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=ports()[0], num_api_servers=1, log_level="warning", generate_client_file=False)
