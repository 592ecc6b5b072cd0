"""A connection keeps its bounds on a real socket: what is too slow, too large, too many or no HTTP gets its exact answer,
in its turn; what came before it is answered, and so is the next good request of anybody.
"""

import asyncio
import json
import re
import socket
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop

from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import BETWEEN, BODY, HEAD, Limits, quiet_overdue, reading_overdue
from gateway.edge.fast_lane import FastLane, Lane
from gateway.edge.reply import Reply
from gateway.status import error_reply
from tests.gateway.lanes import one_by_one

BODY_MAX = 2_000_000
FAST = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: t\r\n"
SLOW = b"POST /v2/labels HTTP/1.1\r\nhost: t\r\n"
ROADS = pytest.mark.parametrize("head", [FAST, SLOW], ids=["fast", "slow"])
NEVER = Limits(
    head_seconds=1e6, body_grace_seconds=1e6, body_seconds=1e6, silent_seconds=1e6, keep_alive_seconds=1e6,
    crowded_seconds=1e6, unread_seconds=1e6, farewell_seconds=0.5,
)  # fmt: skip
"""Limits without time, so that a slow machine changes nothing; each test sets the one that it is about."""


async def answer(arrival):
    await asyncio.sleep(0)
    return Reply(200, json.dumps({"got": len(arrival.body), "headers": len(arrival.headers)}).encode())


class Server:
    """A server inside the test, and what it saw."""

    def __init__(self, edge, closed, refused, left):
        self.edge = edge
        self.closed = closed
        self.refused = refused
        self.left = left
        self.port = 0

    async def open(self, *pieces, address=None):
        """A connection on which these pieces were sent."""
        local = None if address is None else (address, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=local, limit=2**26)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return reader, writer

    async def talk(self, *pieces, replies=None):
        """What comes back for these pieces: so many replies, or all until the server ends the connection."""
        reader, writer = await self.open(*pieces)
        try:
            if replies is None:
                return parsed(await asyncio.wait_for(reader.read(-1), 20))
            return [await one_reply(reader) for _ in range(replies)]
        finally:
            writer.close()

    async def good(self):
        """Whether a good request of somebody else is answered."""
        ((status, _, body),) = await self.talk(request(), replies=1)
        return status == 200 and body["got"] == 2


@asynccontextmanager
async def serving(limits=NEVER, infer=answer, app=None):
    closed, refused, left = Counter(), Counter(), []

    async def count_body(scope, receive, send):
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                left.append(scope["path"])
                return
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        reply = json.dumps({"got": size}).encode()
        headers = [(b"content-length", str(len(reply)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply})

    def refuse(status, message, reason):
        refused[reason] += 1
        return error_reply(status, message)

    edge = Edge(limits, lambda reason: closed.update([reason]), asyncio.get_running_loop().time())
    lane = Lane(one_by_one(infer), refuse, BODY_MAX, edge, time.monotonic_ns)
    config = uvicorn.Config(
        app or count_body, http=lambda **arguments: FastLane(lane, **arguments), lifespan="off", ws="none", log_config=None,
        host="127.0.0.1", port=0, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    here = Server(edge, closed, refused, left)

    async def sweep():
        while True:
            edge.sweep(asyncio.get_running_loop().time())
            await asyncio.sleep(0.02)

    sweeping = asyncio.create_task(sweep())
    try:
        await until(lambda: server.started)
        here.port = server.servers[0].sockets[0].getsockname()[1]
        yield here
        await until(lambda: not edge.connections, "the end of all connections")
        assert (edge.held, edge._by_address, edge._unsent) == (0, {}, {}), (
            "nothing is left of a connection that is gone"
        )
        await until(lambda: not server.server_state.tasks, "the end of all tasks")
    finally:
        server.should_exit = True
        await serving
        sweeping.cancel()


async def until(true, what="it"):
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} did not happen")


def request(body=b"{}", head=FAST):
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def chunked(*chunks, head=FAST, end=b"0\r\n\r\n"):
    return head + b"transfer-encoding: chunked\r\n\r\n" + b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + end


def parsed(received):
    """(status, headers, JSON body) of each reply."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        size = int(length[1]) if length else 0
        found.append((int(head.split()[1]), head.lower(), json.loads(rest[:size]) if size else None))
        received = rest[size:]
    return found


async def one_reply(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    size = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    return int(head.split()[1]), head.lower(), json.loads(await reader.readexactly(size))


def run(story):
    return uvloop.run(story())


BAD = {
    "4 Content-Length and Transfer-Encoding": (b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "4 the same, the other way round": (b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400),
    "5 two different Content-Length": (b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef", 400),
    "5 two equal Content-Length": (b"content-length: 5\r\ncontent-length: 5\r\n\r\nabcde", 400),
    "5 a list of Content-Length": (b"content-length: 5, 5\r\n\r\nabcde", 400),
    "6 Content-Length +5": (b"content-length: +5\r\n\r\nabcde", 400),
    "6 Content-Length -1": (b"content-length: -1\r\n\r\n", 400),
    "6 Content-Length of 23 digits": (b"content-length: " + b"9" * 23 + b"\r\n\r\n", 400),
    "6 Content-Length of 10,000 digits": (b"content-length: " + b"1" * 10_000 + b"\r\n\r\n", 400),
    "6 Content-Length of nothing": (b"content-length:\r\n\r\n", 400),
    "7 a header of 1 MB": (b"x: " + b"y" * 1_000_000 + b"\r\n\r\n", 431),
    "7 a header of 1 MB that does not end": (b"x: " + b"y" * 1_000_000, 431),
    "7 a header name of 1 MB": (b"x" * 1_000_000 + b": y\r\n\r\n", 431),
    "8 20,000 headers": (b"".join(b"x-%d: 1\r\n" % i for i in range(20_000)) + b"\r\n", 431),
    "9 a chunk extension of 1 MB": (b"transfer-encoding: chunked\r\n\r\n2;" + b"x" * 1_000_000 + b"\r\n{}\r\n0\r\n\r\n", 400),
    "9 a chunk extension that does not end": (b"transfer-encoding: chunked\r\n\r\n2;" + b"x" * 1_000_000, 400),
    "9 trailers of 40 KB": (b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: " + b"y" * 40_000 + b"\r\n\r\n", 431),
    "9 trailers that do not end": (b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: " + b"y" * 1_000_000, 400),
    "10 chunks that end in a bare LF": (b"transfer-encoding: chunked\r\n\r\n2\n{}\n0\n\n", 400),
    "11 100,000 chunks of one byte": (b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n", 400),
    "11 a chunk size of 17 digits": (b"transfer-encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n", 400),
    "12 a folded header": (b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n", 400),
    "13 NUL in a header": (b"x: a\0b\r\n\r\n", 400),
    "15 two Hosts": (b"host: u\r\ncontent-length: 0\r\n\r\n", 400),
    "16 a space before the colon": (b"content-length : 3\r\n\r\nabc", 400),
    "17 another Transfer-Encoding": (b"transfer-encoding: gzip\r\n\r\nxx", 400),
    "21 a traceparent of 64 KB": (b"traceparent: " + b"0" * 65_536 + b"\r\n\r\n", 431),
    "a chunked body and an Upgrade": (b"connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a body over the bound": (b"content-length: 2000001\r\n\r\n", 413),
}  # fmt: skip


@ROADS
def test_bad_requests_get_their_status_in_the_one_error_shape_and_the_next_good_one_is_answered(head):
    async def story():
        wrong = {}
        async with serving() as server:
            for name, (rest, status) in BAD.items():
                found = [(code, list(body)) for code, _, body in await server.talk(head + rest)]
                if found != [(status, ["error"])] or not await server.good():
                    wrong[name] = found
        return wrong

    assert run(story) == {}


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"POST /v2/models/m/infer HTTP/1.1\r\ncontent-length: 0\r\n\r\n", 400),
        (b"POST /v2/models/m/infer HTTP/2.0\r\nhost: t\r\ncontent-length: 0\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v2\r\n\r\n", 505),
        (b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nhost: t\r\n\r\n", 431),
        (b"GET /" + b"x" * 1_000_000, 431),
        (b"CONNECT example.org:443 HTTP/1.1\r\nhost: t\r\n\r\n", 400),
        (b"POST /v2/models/m/infer HTTP/1.1\nhost: t\ncontent-length: 0\n\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"NONSENSE\r\n\r\n", 400),
    ],
)
def test_bad_request_lines_get_their_status(bad, status):
    async def story():
        async with serving() as server:
            found = await server.talk(bad)
            assert await server.good()
            return [(code, list(body)) for code, _, body in found]

    assert run(story) == [(status, ["error"])]


@ROADS
def test_a_refusal_comes_in_its_turn(head):
    """A reply that overtakes another is taken for the other's: what was asked first is answered first."""

    async def story():
        gate = asyncio.Event()

        async def held(arrival):
            await gate.wait()
            return await answer(arrival)

        async with serving(infer=held) as server:
            reader, writer = await server.open(request(b"1") + request(b"22") + head + b"content-length: x\r\n\r\n")
            await until(lambda: server.closed["malformed"] == 1)
            gate.set()
            found = parsed(await asyncio.wait_for(reader.read(-1), 20))
            writer.close()
            return [(status, body.get("got")) for status, _, body in found]

    assert run(story) == [(200, 1), (200, 2), (400, None)]


@ROADS
def test_a_refused_body_behind_unanswered_requests_waits_for_its_turn(head):
    async def story():
        gate = asyncio.Event()

        async def held(arrival):
            await gate.wait()
            return await answer(arrival)

        async with serving(infer=held) as server:
            rest = head + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nNO CHUNK\r\n"
            reader, writer = await server.open(request(b"1") + rest)
            await until(lambda: server.closed["malformed"] == 1)
            gate.set()
            found = parsed(await asyncio.wait_for(reader.read(-1), 20))
            writer.close()
            return [status for status, _, _ in found]

    assert run(story) == [200, 400]


@ROADS
def test_a_refusal_reaches_a_client_that_goes_on_sending(head):
    async def story():
        async with serving() as server:
            reader, writer = await server.open(head + b"content-length: 5000000\r\n\r\n")
            writer.write(b"x" * 5_000_000)
            ((status, reply, _),) = parsed(await asyncio.wait_for(reader.read(-1), 20))
            writer.close()
            return status, b"connection: close" in reply, dict(server.refused)

    assert run(story) == (413, True, {"body_too_large": 1})


@ROADS
def test_a_chunked_body_over_the_bound_is_refused_on_the_way(head):
    async def story():
        async with serving() as server:
            chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
            found = await server.talk(head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 40)
            return [(status, list(body)) for status, _, body in found]

    assert run(story) == [(413, ["error"])]


@pytest.mark.parametrize("beginning", [b"P", FAST, FAST + b"x: y"], ids=["a byte", "a line", "half a header"])
def test_a_head_that_is_not_complete_in_time_is_408(beginning):
    async def story():
        async with serving(NEVER._replace(head_seconds=0.2)) as server:
            began = asyncio.get_running_loop().time()
            ((status, _, body),) = await server.talk(beginning)
            assert asyncio.get_running_loop().time() - began >= 0.2, "nobody is cut off early"
            assert await server.good()
            return status, body, dict(server.closed)

    error = {"error": "the headers were not complete after 0.2 s"}
    assert run(story) == (408, error, {"head_timeout": 1})


def test_a_head_that_comes_in_drops_gains_no_time_by_it():
    async def story():
        async with serving(NEVER._replace(head_seconds=0.2)) as server:
            reader, writer = await server.open(FAST + b"x: ")

            async def drip():
                while True:
                    writer.write(b"y")
                    await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            status, _, _ = await one_reply(reader)
            dripping.cancel()
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
            await asyncio.sleep(0.4)
            alone = reader.at_eof()
            others = [await server.open() for _ in range(2)]
            rest = await asyncio.wait_for(reader.read(-1), 20)
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

            async def drip():
                while True:
                    writer.write(b"y")
                    await asyncio.sleep(0.05)

            dripping = asyncio.create_task(drip())
            status, _, body = await one_reply(reader)
            dripping.cancel()
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

            async def pour():
                while True:
                    writer.write(b"y" * 100)
                    await asyncio.sleep(0.01)

            pouring = asyncio.create_task(pour())
            status, _, body = await one_reply(reader)
            pouring.cancel()
            writer.close()
            return status, body

    assert run(story) == (408, {"error": "the body was not complete after 0.3 s"})


@ROADS
def test_a_body_that_waits_for_an_earlier_answer_is_not_late(head):
    """While an earlier request is answered the worker does not read on: that is no client's fault."""

    async def story():
        gate = asyncio.Event()

        async def held(arrival):
            await gate.wait()
            return await answer(arrival)

        async with serving(NEVER._replace(body_seconds=0.3, body_grace_seconds=0.1), infer=held) as server:
            reader, writer = await server.open(request(b"1") + head + b"content-length: 200000\r\n\r\nx")
            await asyncio.sleep(0.8)
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


def test_expect_100_continue_is_not_answered_with_go_on_where_the_body_is_too_large():
    async def story():
        async with serving() as server:
            found = await server.talk(FAST + b"expect: 100-continue\r\ncontent-length: 3000000\r\n\r\n")
            return [status for status, _, _ in found]

    assert run(story) == [413]


@ROADS
def test_a_thousand_requests_at_once_are_answered_in_order(head):
    async def story():
        async with serving() as server:
            whole = b"".join(request(b"x" * (1 + number % 7), head) for number in range(1000))
            found = await server.talk(whole, replies=1000)
            return [body["got"] for _, _, body in found]

    assert run(story) == [1 + number % 7 for number in range(1000)]


@ROADS
def test_more_requests_at_once_than_may_wait_end_in_503_after_those_that_may(head):
    async def story():
        async with serving(NEVER._replace(pipelined=10)) as server:
            found = await server.talk(b"".join(request(head=head) for _ in range(50)))
            return [status for status, _, _ in found], dict(server.closed)

    statuses, closed = run(story)
    assert statuses == [200] * (len(statuses) - 1) + [503]
    assert 10 <= len(statuses) <= 13
    assert closed == {"pipelined": 1}


@ROADS
def test_bodies_beyond_what_a_worker_holds_are_503_until_others_are_answered(head):
    async def story():
        async with serving(NEVER._replace(held_bytes=150_000)) as server:
            reader, writer = await server.open(head + b"content-length: 100001\r\n\r\n" + b"x" * 100_000)
            await until(lambda: server.edge.held == 100_000)
            ((refused, _, _),) = await server.talk(request(b"x" * 100_000))
            writer.write(b"x")
            status, _, _ = await one_reply(reader)
            ((then, _, _),) = await server.talk(request(b"x" * 100_000), replies=1)
            writer.close()
            return refused, status, then, dict(server.closed)

    assert run(story) == (503, 200, 200, {"bodies_held": 1})


def test_more_connections_than_a_worker_takes_are_told_so():
    async def story():
        async with serving(NEVER._replace(connections=5)) as server:
            first = [await server.open(address=f"127.0.0.{2 + number}") for number in range(5)]
            await until(lambda: len(server.edge.connections) == 5)
            ((status, head, body),) = await server.talk()
            first[0][1].write(request())
            served, _, _ = await one_reply(first[0][0])
            for _, writer in first:
                writer.close()
            await until(lambda: not server.edge.connections)
            assert await server.good()
            return status, b"retry-after" in head, body, served, dict(server.closed)

    error = {"error": "5 connections are open already: try again later"}
    assert run(story) == (503, True, error, 200, {"connections": 1})


def test_one_address_cannot_take_all_connections():
    async def story():
        async with serving(NEVER._replace(connections_per_address=3)) as server:
            own = [await server.open(address="127.0.0.9") for _ in range(4)]
            status, _, body = await one_reply(own[3][0])
            assert await server.good(), "another address is served"
            for _, writer in own:
                writer.close()
            return status, body, dict(server.closed)

    error = {"error": "3 connections of 127.0.0.9 are open already: use those"}
    assert run(story) == (503, error, {"connections_per_address": 1})


def test_where_far_too_many_connect_the_rest_gets_no_explanation():
    async def story():
        async with serving(NEVER._replace(connections=2, farewells=1, farewell_seconds=1e6)) as server:
            held = [await server.open() for _ in range(3)]
            await until(lambda: len(server.edge.connections) == 3)
            try:
                rest = await server.talk()
            except ConnectionResetError:
                rest = []
            for _, writer in held:
                writer.close()
            return rest

    assert run(story) == []


def test_replies_that_nobody_reads_stop_the_reading_and_end_the_connection():
    made = []

    async def large(_):
        made.append(1)
        return Reply(200, b"x" * 100_000)

    async def story():
        async with serving(NEVER._replace(unread_seconds=0.5), infer=large) as server:
            line = socket.create_connection(("127.0.0.1", server.port))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.setblocking(False)
            whole = b"".join(request() for _ in range(500))
            await asyncio.get_running_loop().sock_sendall(line, whole)
            await until(lambda: server.closed["unread"] == 1)
            line.close()
            return dict(server.closed)

    assert run(story) == {"unread": 1}
    assert len(made) < 120, "answers are not made for a client that does not read them"


def test_a_client_that_reads_slowly_gets_everything():
    async def large(_):
        return Reply(200, b'"' + b"x" * 300_000 + b'"')

    async def story():
        async with serving(NEVER._replace(unread_seconds=0.5), infer=large) as server:
            reader, writer = await server.open(b"".join(request() for _ in range(20)))
            found = []
            for _ in range(20):
                found.append(await one_reply(reader))
                await asyncio.sleep(0.02)
            writer.close()
            return [len(body) for _, _, body in found], dict(server.closed)

    assert run(story) == ([300_000] * 20, {})


@ROADS
def test_a_client_that_asks_for_http_2_beside_its_request_is_answered_in_http_1_1(head):
    """Some clients ask so by default in clear text; a parser then takes the body for the other protocol's."""

    async def story():
        async with serving() as server:
            asking = head + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
            whole = request(b"abc", asking) + request(b"", asking) + request(b"abcd", asking) + request(b"12345")
            at_once = await server.talk(whole, replies=4)
            in_pieces = await server.talk(*[whole[i : i + 11] for i in range(0, len(whole), 11)], replies=4)
            return [[body["got"] for _, _, body in found] for found in (at_once, in_pieces)]

    assert run(story) == [[3, 0, 4, 5]] * 2


def test_trailers_are_no_headers():
    seen = []

    async def noting(arrival):
        seen.append([name for name, _ in arrival.headers])
        return await answer(arrival)

    async def story():
        async with serving(infer=noting) as server:
            ((status, _, _),) = await server.talk(
                chunked(b"{}", end=b"0\r\nx-routing-key: smuggled\r\n\r\n"), replies=1
            )
            return status

    assert run(story) == 200
    assert seen == [[b"host", b"transfer-encoding"]]


def test_small_chunks_become_the_body_they_are():
    async def story():
        async with serving() as server:
            ((status, _, body),) = await server.talk(chunked(*[b"abcdefgh"] * 5000), replies=1)
            return status, body["got"]

    assert run(story) == (200, 40_000)


@ROADS
@pytest.mark.parametrize("sent", [0.0, 0.5], ids=["after the head", "in the body"])
def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(head, sent):
    """The server checks at the end that it holds no byte, no connection and no task of them."""

    async def story():
        async with serving() as server:
            for before in (b"", request(b"1"), request(b"1") * 3):
                for abortive in (False, True):
                    whole = request(b"x" * 300_000, head)
                    cut = whole[: whole.index(b"\r\n\r\n") + 4 + int(sent * 300_000)]
                    _, writer = await server.open(before + cut)
                    if abortive:
                        writer.transport.abort()
                    writer.close()
            assert await server.good()

    run(story)


def test_clients_that_leave_in_the_middle_of_their_answer_leave_nothing_behind():
    async def story():
        gate = asyncio.Event()
        under_way = []

        async def held(arrival):
            under_way.append(1)
            await gate.wait()
            return await answer(arrival)

        async with serving(infer=held) as server:
            for _ in range(20):
                _, writer = await server.open(request(b"1" * 1000) * 3)
                writer.transport.abort()
            await until(lambda: len(under_way) == 20)
            gate.set()

    run(story)


def test_a_client_that_only_ends_its_own_side_gets_its_answers():
    async def story():
        async with serving() as server:
            reader, writer = await server.open(request(b"1") + request(b"22"))
            writer.write_eof()
            found = parsed(await asyncio.wait_for(reader.read(-1), 20))
            writer.close()
            return [body["got"] for _, _, body in found]

    assert run(story) == [1, 2]


def test_a_body_whose_answer_is_out_does_not_come_in_for_ever_and_gets_no_second_answer():
    async def early(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def story():
        async with serving(NEVER._replace(body_seconds=0.3), app=early) as server:
            found = await server.talk(b"GET /v2 HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\nxx")
            return [status for status, _, _ in found], dict(server.closed)

    assert run(story) == ([404], {"body_timeout": 1})


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
