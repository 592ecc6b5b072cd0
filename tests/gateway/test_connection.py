"""A connection keeps its bounds on a real socket: what is too slow, too large, too many or no HTTP gets its exact answer,
in its turn; what came before it is answered, and so is the next good request of anybody.
"""

import asyncio

import pytest

from tests.gateway.raw_client import FAST, ROADS, answer, chunked, held, request, run, serving, to_the_end, until

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
        async with serving(infer=held(gate)) as server:
            reader, writer = await server.open(request(b"1") + request(b"22") + head + b"content-length: x\r\n\r\n")
            await until(lambda: server.closed["malformed"] == 1)
            gate.set()
            found = await to_the_end(reader)
            writer.close()
            return [(status, body.get("got")) for status, _, body in found]

    assert run(story) == [(200, 1), (200, 2), (400, None)]


@ROADS
def test_a_refused_body_behind_unanswered_requests_waits_for_its_turn(head):
    async def story():
        gate = asyncio.Event()
        async with serving(infer=held(gate)) as server:
            rest = head + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\nNO CHUNK\r\n"
            reader, writer = await server.open(request(b"1") + rest)
            await until(lambda: server.closed["malformed"] == 1)
            gate.set()
            found = await to_the_end(reader)
            writer.close()
            return [status for status, _, _ in found]

    assert run(story) == [200, 400]


@ROADS
def test_a_refusal_reaches_a_client_that_goes_on_sending(head):
    async def story():
        async with serving() as server:
            reader, writer = await server.open(head + b"content-length: 5000000\r\n\r\n")
            writer.write(b"x" * 5_000_000)
            ((status, reply, _),) = await to_the_end(reader)
            writer.close()
            return status, b"connection: close" in reply, dict(server.refused)

    assert run(story) == (413, True, {"body_too_large": 1})


def test_expect_100_continue_is_not_answered_with_go_on_where_the_body_is_too_large():
    async def story():
        async with serving() as server:
            found = await server.talk(FAST + b"expect: 100-continue\r\ncontent-length: 3000000\r\n\r\n")
            return [status for status, _, _ in found]

    assert run(story) == [413]


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
