"""mosec: its Rust front, one worker process, dynamic batching; V2 JSON by msgspec, the fastest decoder it could be given.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, until it is ended. It never returns before.
"""

import sys
from typing import Any

import msgspec
from mosec import Server, Worker
from onnx_rows import BATCH_MAX, OnnxRows, ports, reply_of, rows_of

WAIT_MS = 1


class Infer(Worker):
    """One batch after the other."""

    def __init__(self) -> None:
        self.model = OnnxRows()
        self.decode = msgspec.json.Decoder().decode
        self.encode = msgspec.json.Encoder().encode

    def deserialize(self, data: bytes) -> Any:
        """Bytes to rows."""
        return rows_of(self.decode(data))

    def serialize(self, data: Any) -> bytes:
        """Arrays to bytes."""
        return self.encode(reply_of(data))

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """A batch of rows to each request's arrays."""
        return self.model.run_many(data)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "--address", "127.0.0.1", "--port", str(ports()[0])]
    server = Server()
    server.append_worker(Infer, num=1, max_batch_size=BATCH_MAX, max_wait_time=WAIT_MS)
    server.run()
