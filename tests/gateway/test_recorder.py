"""Records of attempts that came together: each caller hears of its own, and a record too large for the log refuses nobody else."""

import asyncio
from types import SimpleNamespace

import pytest

from contracts.errors import InvalidInput, ModelFailed
from contracts.plan import VersionRef
from gateway import recorder as recording
from gateway.attempt import Attempt
from gateway.clock import system_clock
from gateway.metrics import Meter, Snapshot
from gateway.recorder import Recorder
from gateway.records import Origin
from gateway.traffic.routing import Route, Variant
from prediction_log.spool import writer as writing
from prediction_log.spool.writer import open_writer


def failed(request_id):
    """An attempt that failed, whose caller sent this id."""
    call = SimpleNamespace(
        prediction_id="p", request_id=request_id, received_us=1, event_us=1, model="m", arrived_ns=0,
        request=SimpleNamespace(rows=1), caller=SimpleNamespace(gone=False),
    )  # fmt: skip
    variant = Variant("champion", VersionRef(version="1", digest="d"), "champion", 1.0)
    serving = SimpleNamespace(points=SimpleNamespace(plan=SimpleNamespace(revision=1)))
    attempt = Attempt(call, serving, Route(variant, 7, "request_id", "s", 1.0, "hash"), 0)
    attempt.end(ModelFailed("no"))
    return attempt


@pytest.mark.parametrize("large", [0, 1, 2])
def test_a_record_too_large_for_the_log_is_refused_alone(tmp_path, monkeypatch, large):
    for module in (recording, writing):
        monkeypatch.setattr(module, "PAYLOAD_BYTES_MAX", 2_000)
    attempts = [failed("x" * (5_000 if number == large else 1)) for number in range(3)]
    heard = {}

    async def run():
        log = await open_writer(tmp_path, "worker-0", disk_reserve_bytes=0)
        recorder = Recorder(log, Meter(Snapshot()), system_clock(), Origin("w", "0"))
        recorder.durably(
            attempts, lambda those, refused: heard.update(dict.fromkeys(map(attempts.index, those), refused))
        )
        await asyncio.sleep(0.05)
        await log.aclose()
        return log.last_seq

    assert asyncio.run(run()) == 2
    assert isinstance(heard.pop(large), InvalidInput)
    assert list(heard.values()) == [None, None]
