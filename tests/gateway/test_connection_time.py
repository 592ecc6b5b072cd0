"""Who keeps a connection waiting has so much time, and nobody is cut off early."""

import asyncio
import re
from contextlib import asynccontextmanager

import pytest

from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import BETWEEN, BODY, HEAD, Limits, quiet_overdue, reading_overdue
from tests.gateway.raw_client import (
    FAST,
    NEVER,
    PATIENCE_SECONDS,
    ROADS,
    SLOW,
    gone_by,
    held,
    one_reply,
    request,
    run,
    serving,
)


@asynccontextmanager
async def coming_in(writer, drop, pause):
    """Meanwhile this drop is sent again and again, so many seconds apart."""

    async def send():
        while True:
            writer.write(drop)
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()


@pytest.mark.parametrize("beginning", [b"P", FAST, FAST + b"x: y"], ids=["a byte", "a line", "half a header"])
def test_a_head_that_is_not_complete_in_time_is_408(beginning):
    async def story():
        async with serving(NEVER._replace(head_seconds=0.21)) as server:
            began = asyncio.get_running_loop().time()
            ((status, _, body),) = await server.talk(beginning)
            assert asyncio.get_running_loop().time() - began >= 0.21, "nobody is cut off early"
            assert await server.good()
            return status, body, dict(server.closed)

    error = {"error": "the headers were not complete after 0.21 s"}
    assert run(story) == (408, error, {"head_timeout": 1})


def test_a_head_that_comes_in_drops_gains_no_time_by_it():
    async def story():
        async with serving(NEVER._replace(head_seconds=0.2)) as server:
            reader, writer = await server.open(FAST + b"x: ")
            async with coming_in(writer, b"y", 0.01):
                status, _, _ = await one_reply(reader)
            writer.close()
            return status

    assert run(story) == 408


@pytest.mark.parametrize("sent", [b"", b"\r\n\r\n"], ids=["nothing", "empty lines"])
def test_a_connection_that_never_asks_is_closed(sent):
    async def story():
        async with serving(NEVER._replace(silent_seconds=0.2)) as server:
            return await server.talk(sent), dict(server.closed)

    assert run(story) == ([], {"silent": 1})


@ROADS
def test_a_connection_that_asks_no_more_is_closed_sooner_where_many_are_open(head):
    async def story():
        limits = NEVER._replace(keep_alive_seconds=1e6, crowded_seconds=0.1, connections=4)
        async with serving(limits) as server:
            reader, writer = await server.open(request(head=head))
            await one_reply(reader)
            await gone_by(server, 0.4)
            alone = reader.at_eof()
            others = [await server.open() for _ in range(2)]
            rest = await asyncio.wait_for(reader.read(-1), PATIENCE_SECONDS)
            for _, one in others:
                one.close()
            writer.close()
            return alone, rest, dict(server.closed)

    assert run(story) == (False, b"", {"idle": 1})


@ROADS
def test_a_body_that_is_too_slow_is_408(head):
    async def story():
        async with serving(NEVER._replace(body_grace_seconds=0.2)) as server:
            reader, writer = await server.open(head + b"content-length: 1000\r\n\r\n")
            async with coming_in(writer, b"y", 0.05):
                status, _, body = await one_reply(reader)
            assert await server.good()
            writer.close()
            return status, re.sub(r"\d+ in.*", "", body["error"]), dict(server.closed), len(server.left)

    error = "the body comes in at less than 1024 bytes/s: "
    assert run(story) == (408, error, {"body_timeout": 1}, int(head == SLOW))


@ROADS
def test_a_body_that_takes_too_long_is_408_however_fast_it_is(head):
    async def story():
        async with serving(NEVER._replace(body_seconds=0.3)) as server:
            reader, writer = await server.open(head + b"content-length: 1000000\r\n\r\n")
            async with coming_in(writer, b"y" * 100, 0.01):
                status, _, body = await one_reply(reader)
            writer.close()
            return status, body

    assert run(story) == (408, {"error": "the body was not complete after 0.3 s"})


@ROADS
def test_a_body_that_waits_for_an_earlier_answer_is_not_late(head):
    """While an earlier request is answered the worker does not read on: that is no client's fault."""

    async def story():
        gate = asyncio.Event()
        async with serving(NEVER._replace(body_seconds=0.3, body_grace_seconds=0.1), infer=held(gate)) as server:
            reader, writer = await server.open(request(b"1") + head + b"content-length: 200000\r\n\r\nx")
            await gone_by(server, 0.8)
            writer.write(b"y" * 199_999)
            gate.set()
            found = [await one_reply(reader) for _ in range(2)]
            writer.close()
            return [(status, body.get("got")) for status, _, body in found], dict(server.closed)

    assert run(story) == ([(200, 1), (200, 200_000)], {})


def test_expect_100_continue_and_then_nothing_is_408():
    async def story():
        async with serving(NEVER._replace(body_seconds=0.2)) as server:
            found = await server.talk(FAST + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
            return [status for status, _, _ in found], server.left

    assert run(story) == ([100, 408], ["/v2/models/m/infer"])


@pytest.mark.parametrize(
    ("stage", "seconds", "body_bytes", "reason"),
    [
        (BETWEEN, 1e9, 0, None),
        (HEAD, 5.0, 0, None),
        (HEAD, 5.1, 0, "head_timeout"),
        (BODY, 5.0, 0, None),
        (BODY, 6.0, 1023, "body_timeout"),
        (BODY, 6.0, 1024, None),
        (BODY, 30.0, 10**9, None),
        (BODY, 30.1, 10**9, "body_timeout"),
    ],
)
def test_what_comes_in_has_its_time(stage, seconds, body_bytes, reason):
    refused = reading_overdue(Limits(), stage, seconds, body_bytes)

    assert (refused.reason if refused else None) == reason


@pytest.mark.parametrize(
    ("seconds", "asked", "crowded", "reason"),
    [
        (10.0, False, True, None),
        (10.1, False, False, "silent"),
        (65.0, True, False, None),
        (65.1, True, False, "idle"),
        (5.0, True, True, None),
        (5.1, True, True, "idle"),
    ],
)
def test_what_is_quiet_has_its_time(seconds, asked, crowded, reason):
    assert quiet_overdue(Limits(), seconds, asked=asked, crowded=crowded) == reason


class Unread:
    """A connection whose replies nobody reads."""

    address, stage, since, body_bytes = "127.0.0.1", BETWEEN, 0.0, 0
    asked = stalled = idle = True
    left = held_up = False

    def __init__(self):
        self.ended = []

    def unsent(self):
        return 1000

    def abort(self, reason):
        self.ended.append(reason)


def test_what_a_client_did_not_read_while_the_worker_was_held_up_is_no_fault_of_its():
    """Between two looks that are far from each other nothing was written that it could have read."""
    edge, one = Edge(Limits(), [].append), Unread()
    edge.admit(one)
    for now in (1.0, 2.0, 100.0):
        edge.sweep(now)
    assert one.ended == []
    edge.sweep(101.0)

    assert one.ended == ["unread"]
