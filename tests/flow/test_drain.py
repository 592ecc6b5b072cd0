"""A drain cuts nobody off: workers end and start again under load, and every request gets its answer."""

import asyncio
import os
import signal
import subprocess
import time

import httpx
import pytest

from prediction_log.spool.segment import Kind
from tests.services import ports

ROUNDS = 3
PADDING = b" " * 30_000
"""So much of a body that comes in at once may take half a minute for its rest: it is within the bounds of a slow client."""
NEVER_SECONDS = 600
"""Ten times what a test waits: who waited for this is found out."""


def test_rolling_restarts_under_load_fail_no_request(start, load, records, until):
    running = start("serve", workers=2)

    def restart_in_turn():
        for _ in range(ROUNDS):
            for slot in ("worker-0", "worker-1"):
                old = running.children()[slot]
                os.kill(old, signal.SIGTERM)
                until(lambda slot=slot, old=old: running.children().get(slot, old) != old, what=f"another {slot}")
                until(lambda slot=slot: applied(running).get(slot), what=f"{slot} serving again")
                answered = len(traffic.answers)
                until(lambda answered=answered: len(traffic.answers) > answered + 50, what="answers after the restart")

    traffic = load(running)
    asyncio.run(traffic.during(6, restart_in_turn))
    running.stop()

    assert (traffic.failures, traffic.resets) == ([], 0)
    assert len(traffic.answers) > 300
    answered = [record.prediction_id for record in records(running.state, Kind.PREDICTION) if record.answered]
    assert sorted(answered) == sorted(answer[0] for answer in traffic.answers)


def applied(running):
    """The revision of each worker, as the admin API says."""
    workers = httpx.get(f"{running.admin}/admin/workers").json()["workers"]
    return {worker["slot"]: worker["applied"].get("flight-delay") for worker in workers}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_in_flight_is_answered_before_the_end(start, until, number):
    running = start("serve", drain_timeout_seconds=60)
    host, port = running.data.removeprefix("http://").split(":")
    content = (
        PADDING
        + b'{"inputs":[{"name":"distance","shape":[1,1],"datatype":"FP32","data":[1]},{"name":"hour","shape":[1,1],"datatype":"FP32","data":[2]}]}'
    )
    head = b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % len(content)

    async def half_then_stop_then_rest():
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head + content[:-20])
        await writer.drain()
        await asyncio.to_thread(has_read, running)
        running.process.send_signal(number)
        await asyncio.to_thread(until, lambda: not ports.answers(int(port)), what="the drain")
        writer.write(content[-20:])
        reply = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return reply

    reply = asyncio.run(half_then_stop_then_rest())

    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in reply
    assert running.process.wait(90) == 0


def has_read(running):
    """The only worker has read what was sent before: it is answered in turn whoever asks after that."""
    httpx.get(f"{running.data}/v2/health/live").raise_for_status()


def test_a_worker_goes_on_serving_for_as_long_as_load_balancers_take_to_notice(start, load, records, until):
    running = start("serve", drain_delay_seconds=2)
    traffic = load(running)
    seen = {}

    def drain():
        until(lambda: len(traffic.answers) > 50, what="answers")
        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        seen["code"] = running.process.wait(90)
        seen["seconds"] = time.monotonic() - began

    asyncio.run(traffic.during(4, drain))

    assert (seen["code"], traffic.failures) == (0, [])
    assert seen["seconds"] >= 2
    assert everything_answered_is_logged(running, traffic, records)


def test_it_serves_all_through_the_delay_which_a_second_signal_skips_but_not_the_commit(start, load, records, until):
    running = start("serve", drain_delay_seconds=NEVER_SECONDS)
    traffic = load(running)
    seen = {}

    def hurry():
        until(lambda: len(traffic.answers) > 50, what="answers")
        running.process.send_signal(signal.SIGTERM)
        until(lambda: httpx.get(f"{running.data}/v2/health/ready").status_code == 503, what="the drain")
        seen["live"] = httpx.get(f"{running.data}/v2/health/live").status_code
        before = len(traffic.answers)
        until(lambda: len(traffic.answers) > before + 50, what="further answers")
        seen["resets"], seen["failures"] = traffic.resets, list(traffic.failures)
        running.process.send_signal(signal.SIGTERM)
        seen["code"] = running.process.wait(60)

    asyncio.run(traffic.during(4, hurry))

    assert seen == {"live": 200, "resets": 0, "failures": [], "code": 0}
    assert everything_answered_is_logged(running, traffic, records)


def test_a_client_that_is_stuck_in_its_body_does_not_hold_up_the_end(start, records):
    running = start("serve", drain_timeout_seconds=NEVER_SECONDS)
    host, port = running.data.removeprefix("http://").split(":")

    async def stick():
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v2/models/flight-delay/infer HTTP/1.1\r\nhost: t\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.to_thread(has_read, running)
        running.process.send_signal(signal.SIGTERM)
        reply = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        code = await asyncio.to_thread(running.process.wait, 60)
        return reply[:12], code

    assert asyncio.run(stick()) == (b"HTTP/1.1 408", 0)


def everything_answered_is_logged(running, traffic, records):
    """Each answer has its record, and the certificate says that the log is whole and closed."""
    logged = {record.prediction_id for record in records(running.state, Kind.PREDICTION) if record.answered}
    verify = subprocess.run([*running.command[:3], "log", "verify"], env=running.environment, capture_output=True)
    return {answer[0] for answer in traffic.answers} <= logged and verify.returncode == 0
