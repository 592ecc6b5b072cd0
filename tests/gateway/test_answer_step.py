"""What a small model answers leaves in the step of the event loop in which it came, and its record is stored before it."""

import asyncio
import json

from contracts.settings import Settings
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival, Target
from gateway.worker import make_worker
from prediction_log.spool.writer import open_writer

BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}).encode()


class Asker:
    """A connection that remembers what was in the log when it was answered."""

    client, gone = "127.0.0.1", False

    def __init__(self, log):
        self.log, self.seen = log, []

    def send(self, reply):
        self.seen.append((reply.status, self.log.last_seq, self.log.commits))


def test_requests_of_one_step_are_stored_together_and_answered_in_it(tmp_path, shelf, graphs):
    shelf.write("m", "1", graphs.mlp())
    settings = Settings(
        registry=str(shelf.root), state_dir=tmp_path / "state", log_disk_reserve_bytes=0, inline_run_us_max=1e9,
        request_timeout_ms=600_000,
    )  # fmt: skip

    async def run():
        log = await open_writer(settings.state_dir / "spool", "worker-0", disk_reserve_bytes=0)
        clock = system_clock()
        worker = make_worker(settings, "worker-0", log, clock)
        await worker.models.start()
        await asyncio.sleep(0.2)
        seq, commits, askers = log.last_seq, log.commits, [Asker(log) for _ in range(5)]
        worker.inference.answer([Arrival(Target("m", None), [], BODY, asker, clock.mono_ns()) for asker in askers])
        seen = [list(asker.seen) for asker in askers]
        await log.aclose()
        worker.close()
        await worker.shared.aclose()
        return [[(status, last - seq, done - commits) for status, last, done in one] for one in seen]

    assert asyncio.run(run()) == [[(200, 5, 1)]] * 5
