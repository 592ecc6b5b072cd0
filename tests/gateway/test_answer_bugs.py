"""A bug on the way of a request is told to its caller once, and its neighbours are answered: nobody waits for ever."""

import asyncio
import json
import logging

import pytest

from contracts.settings import Settings
from gateway.clock import system_clock
from gateway.edge.fast_lane import Arrival, Target
from gateway.worker import make_worker
from prediction_log.spool.writer import open_writer

GOOD, BAD = "good", "bad"


class Asker:
    """A connection that remembers what it was sent."""

    client, gone = "127.0.0.1", False

    def __init__(self):
        self.replies = []

    def send(self, reply):
        self.replies.append((reply.status, json.loads(reply.body)))


def body(request_id):
    return json.dumps(
        {"id": request_id, "inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
    ).encode()


@pytest.fixture
def answers(tmp_path, shelf, graphs):
    """What these requests, come together, are sent by a worker in which `broken` was broken; and how many records that made."""
    shelf.write("m", "1", graphs.mlp())

    async def run(broken, request_ids):
        settings = Settings(
            registry=str(shelf.root), state_dir=tmp_path / "state", log_disk_reserve_bytes=0, request_timeout_ms=600_000
        )
        log = await open_writer(settings.state_dir / "spool", "worker-0", disk_reserve_bytes=0)
        clock = system_clock()
        worker = make_worker(settings, "worker-0", log, clock)
        await worker.models.start()
        broken(worker)
        before, askers = log.last_seq, [Asker() for _ in request_ids]
        worker.inference.answer(
            [
                Arrival(Target("m", None), [], body(one), asker, clock.mono_ns())
                for one, asker in zip(request_ids, askers, strict=True)
            ]
        )
        async with asyncio.timeout(100):
            while not all(asker.replies for asker in askers):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)  # for a second reply to one of them
        written = log.last_seq - before
        await log.aclose()
        worker.close()
        await worker.shared.aclose()
        return [asker.replies for asker in askers], written

    return lambda broken, *request_ids: asyncio.run(run(broken, request_ids))


def test_a_record_that_cannot_be_made_is_told_to_its_callers(answers, caplog):
    def broken(worker):
        def durably(_attempts, _then):
            raise ZeroDivisionError

        worker.gateway._recorder.durably = durably

    replies, written = answers(broken, GOOD, GOOD)

    internal = (500, {"error": "internal error; the gateway's log has the details"})
    assert replies == [[internal], [internal]]
    assert written == 0, "and nothing was answered unlogged"
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_request_that_breaks_the_routing_does_not_break_its_neighbours(answers, caplog):
    def broken(worker):
        routed = worker.gateway._routed

        def choosy(call):
            if call.request_id == BAD:
                raise ZeroDivisionError
            return routed(call)

        worker.gateway._routed = choosy

    replies, written = answers(broken, GOOD, BAD, GOOD)

    assert [[status for status, _ in one] for one in replies] == [[200], [500], [200]]
    assert [one[0][1].get("id") for one in replies] == [GOOD, None, GOOD]
    assert written == 2
    assert "a request broke the gateway" in caplog.text
