"""The fast lane answers as an HTTP server must, on a real socket: pieces, pipelines, bounds, and the slow road beside it."""

import asyncio
import json
import re
import time
from contextlib import suppress

import pytest
import uvicorn

from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import Limits
from gateway.edge.fast_lane import ARRIVALS_A_STEP, FastLane, Head, Lane, target_of
from gateway.edge.reply import Reply
from gateway.status import error_reply
from tests.gateway.lanes import one_by_one

BODY_MAX = 1000
HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: t\r\n"


async def slow_road(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    reply = json.dumps({"slow": scope["path"], "bytes": len(body)}).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(reply)).encode())]}
    )
    await send({"type": "http.response.body", "body": reply})


@pytest.fixture
def talk():
    """`talk(*pieces)`: send the pieces over one connection to a real server; everything that comes back until both are done."""
    lanes = []

    async def serve_and_talk(pieces, infer):
        async def echo(arrival):
            await asyncio.sleep(0)
            named = {"model": arrival.target.model, "pin": arrival.target.pin, "body": arrival.body.decode()}
            return Reply(200, json.dumps(named).encode())

        edge = Edge(Limits(), lambda _: None)
        refuse = lambda status, message, _: error_reply(status, message)  # noqa: E731
        lane = Lane(one_by_one(infer or echo), refuse, BODY_MAX, edge, time.monotonic_ns)
        lanes.append(lane)
        config = uvicorn.Config(
            slow_road,
            http=lambda **arguments: FastLane(lane, **arguments),
            lifespan="off",
            ws="none",
            log_config=None,
            host="127.0.0.1",
            port=0,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve())
        while not server.started:
            await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        received = bytearray()

        async def receive():
            with suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    received.extend(chunk)

        receiving = asyncio.create_task(receive())
        with suppress(OSError):  # the server may have ended the connection before the last piece
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.write_eof()
        await asyncio.wait_for(receiving, 100)
        writer.close()
        server.should_exit = True
        await serving
        return bytes(received)

    def run(*pieces, infer=None):
        return asyncio.run(serve_and_talk(pieces, infer))

    def heads_after(*pieces):
        run(*pieces)
        return len(lanes[-1].heads)

    run.heads_after = heads_after
    return run


def replies(received):
    """(status, headers, JSON body) of each reply."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        found.append((int(head.split()[1]), head.lower(), json.loads(rest[:length])))
        received = rest[length:]
    return found


def request(body=b"{}", head=HEAD):
    return head + b"content-length: %d\r\n\r\n" % len(body) + body


def test_one_request_one_reply(talk):
    ((status, head, body),) = replies(talk(request(b"abc")))

    assert status == 200
    assert b"content-type: application/json" in head
    assert body == {"model": "m", "pin": None, "body": "abc"}


def test_a_request_in_many_pieces(talk):
    whole = request(b"abcdef")

    ((status, _, body),) = replies(talk(*[whole[i : i + 7] for i in range(0, len(whole), 7)]))

    assert (status, body["body"]) == (200, "abcdef")


def test_a_pipeline_is_answered_in_order_whatever_the_road(talk):
    slow = b"GET /v2/health/live HTTP/1.1\r\nhost: t\r\n\r\n"

    found = replies(talk(request(b"1") + slow + request(b"2") + request(b"3") + slow + request(b"4")))

    assert [body.get("body", body.get("slow")) for _, _, body in found] == [
        "1", "/v2/health/live", "2", "3", "/v2/health/live", "4",
    ]  # fmt: skip


def test_a_chunked_body(talk):
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

    ((status, _, body),) = replies(talk(chunked))

    assert (status, body["body"]) == (200, "abcde")


@pytest.mark.parametrize("body", [b"x" * (BODY_MAX + 1)])
def test_a_body_over_the_bound_is_413_and_the_connection_ends(talk, body):
    ((status, head, reply),) = replies(talk(request(body)))

    assert status == 413
    assert b"connection: close" in head
    assert reply == {"error": f"the body has more than {BODY_MAX} bytes (body_bytes_max); send less at once"}


def test_a_chunked_body_over_the_bound_is_413(talk):
    chunks = b"".join(b"64\r\n" + b"x" * 100 + b"\r\n" for _ in range(12))

    ((status, _, _),) = replies(talk(HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"))

    assert status == 413


def test_a_declared_length_over_the_bound_is_413_at_once(talk):
    ((status, _, _),) = replies(talk(HEAD + b"content-length: 1000000000\r\n\r\nxx"))

    assert status == 413


@pytest.mark.parametrize(
    "bad",
    [
        b"NONSENSE\r\n\r\n",
        HEAD + b"content-length: +5\r\n\r\nabcde",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"x: a\0b\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400_in_the_one_error_shape(talk, bad):
    found = replies(talk(bad))

    assert [(status, list(body)) for status, _, body in found] == [(400, ["error"])]


def test_keep_alive_goes_on_and_close_is_honoured(talk):
    received = talk(request(b"1"), request(b"2", HEAD + b"connection: close\r\n"), request(b"3"))

    found = replies(received)
    assert [body["body"] for _, _, body in found] == ["1", "2"]
    assert b"connection: close" in found[1][1]


def test_http_1_0_gets_its_answer_and_the_end(talk):
    ((status, head, _),) = replies(talk(request(b"1", HEAD.replace(b"1.1", b"1.0"))))

    assert status == 200
    assert b"connection: close" in head


def test_expect_100_continue_takes_the_slow_road(talk):
    received = talk(HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n", b"{}")

    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert replies(received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n"))[0][2] == {
        "slow": "/v2/models/m/infer",
        "bytes": 2,
    }


def test_a_client_that_leaves_in_the_middle_harms_nobody(talk):
    async def late(arrival):
        await asyncio.sleep(0.05)
        return Reply(200, b"{}")

    assert talk(request(b"1")[:-1]) == b""
    assert talk(request(b"1"), infer=late).startswith(b"HTTP/1.1 200")


def test_a_head_that_is_known_means_what_it_meant_when_it_was_parsed(talk):
    head = HEAD + b"x-routing-key: r\r\n"
    other = HEAD.replace(b"/m/", b"/n/")
    pieces = [request(b"1", head), request(b"2", head), request(b"33", head), request(b"4", head), request(b"5", other)]

    async def echo(arrival):
        named = dict(arrival.headers)
        reply = {"model": arrival.target.model, "key": named.get(b"x-routing-key", b"").decode()}
        return Reply(200, json.dumps(reply | {"body": bytes(arrival.body).decode()}).encode())

    found = replies(talk(*pieces, pieces[-1], infer=echo))

    assert [(body["model"], body["key"], body["body"]) for _, _, body in found] == [
        ("m", "r", "1"), ("m", "r", "2"), ("m", "r", "33"), ("m", "r", "4"), ("n", "", "5"), ("n", "", "5"),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 20, len(HEAD), len(HEAD) + 15, -1])
def test_a_known_head_in_pieces_or_in_company_is_parsed_again(talk, cut):
    known, slow = request(b"11"), b"GET /v2/health/live HTTP/1.1\r\nhost: t\r\n\r\n"

    found = replies(talk(known, known[:cut], known[cut:], known + known, known + slow, known))

    assert [body.get("body", body.get("slow")) for _, _, body in found] == [
        "11", "11", "11", "11", "11", "/v2/health/live", "11",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "odd",
    [
        request(b"1", HEAD + b"connection: close\r\n"),
        request(b"1", HEAD.replace(b"1.1", b"1.0")),
        request(b"1", HEAD + b"x: " + b"y" * 3000 + b"\r\n"),
        HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n\r\n",
        request(b"1")[:-1],
        request(b"1") + request(b"2"),
        b"GET /v2/health/live HTTP/1.1\r\nhost: t\r\n\r\n",
    ],
    ids=["close", "1.0", "long", "chunked", "cut", "two", "slow"],
)
def test_only_plain_heads_are_remembered(talk, odd):
    assert talk.heads_after(request(b"1")) == 1
    assert talk.heads_after(odd) == 0


def test_a_crowd_is_answered_in_steps_in_the_order_of_coming():
    async def run():
        together = []
        lane = Lane(together.append, None, 1, None, lambda: 0)
        loop = asyncio.get_running_loop()
        for number in range(2 * ARRIVALS_A_STEP + 1):
            lane.take(number, loop)
        await asyncio.sleep(0)
        lane.take(-1, loop)
        while len(together) < 3:
            await asyncio.sleep(0)
        lane.take(-2, loop)
        await asyncio.sleep(0.01)
        return together

    steps = asyncio.run(run())

    assert [len(step) for step in steps] == [ARRIVALS_A_STEP, ARRIVALS_A_STEP, 2, 1]
    assert [number for step in steps for number in step] == [*range(2 * ARRIVALS_A_STEP + 1), -1, -2]


def test_the_memory_of_heads_is_bounded():
    lane = Lane(None, None, 1, None, lambda: 0)
    for number in range(3000):
        lane.learn(b"%d" % number, Head(target_of(b"/v2/models/m/infer"), [], 0))
        assert len(lane.heads) <= 1024


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/v2/models/m/infer", ("m", None)),
        (b"/v2/models/my%20model/versions/3/infer", ("my model", "3")),
        (b"/v2/models/m/versions/champion/infer", ("m", "champion")),
        (b"/v2/models//infer", None),
        (b"/v2/models/m/versions//infer", None),
        (b"/v2/models/m/v/3/infer", None),
        (b"/v2/models/m/ready", None),
        (b"/v2/models/%ff/infer", None),
        (b"/v2/models/a%2Fb/infer", ("a/b", None)),
        (b"/v2/models/..%2f..%2fetc/infer", ("../../etc", None)),
    ],
)
def test_paths_name_a_model_and_perhaps_a_version(path, expected):
    assert target_of(path) == expected


def test_the_cache_of_paths_is_bounded():
    lane = Lane(None, None, 1, None, lambda: 0)
    for number in range(3000):
        lane.target(b"/v2/models/m%d/infer" % number)

    assert len(lane._targets) <= 1024
