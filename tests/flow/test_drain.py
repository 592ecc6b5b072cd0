"""A drain cuts nobody off: workers end and start again under load, and every request gets its answer."""

import asyncio
import os
import signal
import time

import httpx
import pytest

from prediction_log.segment import Kind

ROUNDS = 3


def test_rolling_restarts_under_load_fail_no_request(start, load, records, until):
    running = start("serve", workers=2)

    def restart_in_turn():
        for _ in range(ROUNDS):
            for slot in ("worker-0", "worker-1"):
                old = running.children()[slot]
                os.kill(old, signal.SIGTERM)
                until(lambda slot=slot, old=old: running.children().get(slot, old) != old, what=f"another {slot}")
                until(lambda slot=slot: applied(running).get(slot), what=f"{slot} serving again")
                time.sleep(0.2)

    traffic = load(running)
    asyncio.run(traffic.during(6, restart_in_turn))
    running.stop()

    assert (traffic.failures, traffic.resets) == ([], 0)
    assert len(traffic.answers) > 300
    answered = [record.prediction_id for record in records(running.state, Kind.PREDICTION) if record.answered]
    assert sorted(answered) == sorted(answer[0] for answer in traffic.answers)


def applied(running):
    """The revision of each worker, as the admin API says."""
    workers = httpx.get(f"{running.admin}/admin/workers", timeout=10).json()["workers"]
    return {worker["slot"]: worker["applied"].get("flight-delay") for worker in workers}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_in_flight_is_answered_before_the_end(start, number):
    running = start("serve")
    host, port = running.data.removeprefix("http://").split(":")
    content = b'{"inputs":[{"name":"distance","shape":[1,1],"datatype":"FP32","data":[1]},{"name":"hour","shape":[1,1],"datatype":"FP32","data":[2]}]}'
    head = b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % len(content)

    async def half_then_stop_then_rest():
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + content[:20])
        await writer.drain()
        await asyncio.sleep(0.1)
        running.process.send_signal(number)
        await asyncio.sleep(0.3)
        writer.write(content[20:])
        reply = await asyncio.wait_for(reader.read(65536), 10)
        writer.close()
        return reply

    reply = asyncio.run(half_then_stop_then_rest())

    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in reply
    assert running.process.wait(30) == 0
