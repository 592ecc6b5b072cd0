"""What a worker holds for its clients is bounded: requests, bodies, connections, replies that nobody reads."""

import asyncio
import socket

from gateway.edge.reply import Reply
from tests.gateway.raw_client import NEVER, ROADS, one_reply, request, run, serving, until


@ROADS
def test_a_chunked_body_over_the_bound_is_refused_on_the_way(head):
    async def story():
        async with serving() as server:
            chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
            found = await server.talk(head + b"transfer-encoding: chunked\r\n\r\n" + chunk * 40)
            return [(status, list(body)) for status, _, body in found]

    assert run(story) == [(413, ["error"])]


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
