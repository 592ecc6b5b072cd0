"""A drain cuts nobody off: workers end and start again under load, and every request gets its answer."""

import asyncio
import os
import signal
import subprocess
import time

import httpx
import pytest

from prediction_log.spool.segment import Kind

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


def test_a_worker_goes_on_serving_for_as_long_as_load_balancers_take_to_notice(start, load, records, until):
    running = start("serve", drain_delay_seconds=2)
    traffic = load(running)
    seen = {}

    def drain():
        until(lambda: len(traffic.answers) > 50, what="answers")
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        with httpx.Client(base_url=running.data, timeout=10) as client:
            until(lambda: client.get("/v2/health/ready").status_code == 503, what="the worker not being ready")
            seen["live"] = client.get("/v2/health/live").status_code
        before = len(traffic.answers)
        until(lambda: len(traffic.answers) > before + 50 or time.monotonic() > began + 1.8, what="further answers")
        seen["further"] = len(traffic.answers) - before
        seen["resets in the delay"] = traffic.resets
        seen["code"] = running.process.wait(30)
        seen["seconds"] = time.monotonic() - began

    asyncio.run(traffic.during(4, drain))

    assert (seen["live"], seen["code"], seen["resets in the delay"], traffic.failures) == (200, 0, 0, [])
    assert seen["further"] > 0
    assert 2 <= seen["seconds"] < 30
    assert everything_answered_is_logged(running, traffic, records)


def test_a_second_signal_skips_the_waits_but_not_the_commit(start, load, records, until):
    running = start("serve", drain_delay_seconds=60)
    traffic = load(running)
    took = []

    def hurry():
        until(lambda: len(traffic.answers) > 50, what="answers")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{running.data}/v2/health/ready").status_code == 503, what="the drain")
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert running.process.wait(30) == 0
        took.append(time.monotonic() - began)

    asyncio.run(traffic.during(4, hurry))

    assert took[0] < 20, "far from the 60 s of the delay"
    assert everything_answered_is_logged(running, traffic, records)


def test_a_client_that_is_stuck_in_its_body_does_not_hold_up_the_end(start, records):
    running = start("serve")
    host, port = running.data.removeprefix("http://").split(":")

    async def stick():
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(0.2)
        running.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        reply = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        code = await asyncio.to_thread(running.process.wait, 30)
        return reply[:12], code, time.monotonic() - began

    reply, code, seconds = asyncio.run(stick())

    assert (reply, code) == (b"HTTP/1.1 408", 0)
    assert seconds < 30


def everything_answered_is_logged(running, traffic, records):
    """Each answer has its record, and the certificate says that the log is whole and closed."""
    logged = {record.prediction_id for record in records(running.state, Kind.PREDICTION) if record.answered}
    verify = subprocess.run([*running.command[:3], "log", "verify"], env=running.environment, capture_output=True)
    return {answer[0] for answer in traffic.answers} <= logged and verify.returncode == 0
