"""Clients that leave, wherever they leave, leave nothing behind, and get what they wait for."""

import asyncio

import pytest

from tests.gateway.raw_client import NEVER, ROADS, answer, request, run, serving, to_the_end, until


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
            found = await to_the_end(reader)
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
