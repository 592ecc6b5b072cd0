"""Ray Serve: one proxy, one replica, `serve.batch`.

Enters: `PEER_MODEL` and `PEER_PORTS`. Leaves: a server on 127.0.0.1, until it is ended. What Ray writes stays in the folder it
is started in, as far as it lets itself be told.
"""

import signal
import tempfile
from typing import Any

import ray
from onnx_rows import BATCH_MAX, OnnxRows, ports, reply_of, rows_of
from ray import serve
from starlette.requests import Request

WAIT_SECONDS = 0.001


class Rows:
    """The model as Ray Serve runs it."""

    def __init__(self) -> None:
        self.model = OnnxRows()

    @serve.batch(max_batch_size=BATCH_MAX, batch_wait_timeout_s=WAIT_SECONDS)
    async def infer(self, batch: list[Any]) -> list[dict[str, Any]]:
        """One run for a batch that Ray put together."""
        return self.model.run_many(batch)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """One request."""
        return reply_of(await self.infer(rows_of(await request.json())))


def main() -> None:
    """Start a Ray of its own, and serve until told to end."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            _temp_dir=folder,
            _node_ip_address="127.0.0.1",
        )
        serve.start(http_options={"host": "127.0.0.1", "port": ports()[0]})
        deployed = serve.deployment(Rows, num_replicas=1, max_ongoing_requests=2 * BATCH_MAX)
        serve.run(deployed.bind(), route_prefix="/", blocking=False)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
