"""A worker's connections on a real socket, and a client that says exactly the bytes it is told to."""

import asyncio
import json
import re
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import uvicorn
import uvloop

from gateway.edge.connection_edge import Edge
from gateway.edge.connection_limits import Limits
from gateway.edge.fast_lane import FastLane, Lane
from gateway.edge.reply import Reply
from gateway.status import error_reply
from tests.gateway.lanes import one_by_one

BODY_MAX = 2_000_000
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 100.0
FAST = b"POST /v2/models/m/infer HTTP/1.1\r\nhost: t\r\n"
SLOW = b"POST /v2/labels HTTP/1.1\r\nhost: t\r\n"
ROADS = pytest.mark.parametrize("head", [FAST, SLOW], ids=["fast", "slow"])
NEVER = Limits(
    head_seconds=1e6, body_grace_seconds=1e6, body_seconds=1e6, silent_seconds=1e6, keep_alive_seconds=1e6,
    crowded_seconds=1e6, unread_seconds=1e6, farewell_seconds=0.5,
)  # fmt: skip
"""Limits without time; each test sets the one that it is about. That one is kept by a clock of looks (`serving`)."""


async def answer(arrival):
    await asyncio.sleep(0)
    return Reply(200, json.dumps({"got": len(arrival.body), "headers": len(arrival.headers)}).encode())


def held(gate):
    """Answers once the gate is set."""

    async def infer(arrival):
        await gate.wait()
        return await answer(arrival)

    return infer


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
                return await to_the_end(reader)
            return [await one_reply(reader) for _ in range(replies)]
        finally:
            writer.close()

    async def good(self):
        """Whether a good request of somebody else is answered."""
        ((status, _, body),) = await self.talk(request(), replies=1)
        return status == 200 and body["got"] == 2


@asynccontextmanager
async def serving(limits=NEVER, infer=answer, app=None):
    """A server whose time goes on by LOOK_SECONDS a look: where the machine holds the process up, no client is late."""
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
            edge.sweep(edge.now + LOOK_SECONDS)
            await asyncio.sleep(LOOK_SECONDS)

    sweeping = asyncio.create_task(sweep())
    try:
        await until(lambda: server.started)
        here.port = server.servers[0].sockets[0].getsockname()[1]
        yield here
        await until(lambda: not edge.connections, "the end of all connections")
        # what is under way when its client leaves holds its body until it is answered
        await until(
            lambda: (edge.held, edge._by_address, edge._unsent) == (0, {}, {}),
            "that nothing is left of connections that are gone",
        )
        await until(lambda: not server.server_state.tasks, "the end of all tasks")
    finally:
        server.should_exit = True
        await serving
        sweeping.cancel()


async def until(true, what="it"):
    """Wait for it: so many steps of the event loop, not so many seconds, in which the process may not have run."""
    for _ in range(6000):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"{what} did not happen")


async def gone_by(server, seconds):
    """Return when so much of the server's time has gone by."""
    began = server.edge.now
    await until(lambda: server.edge.now - began > seconds, f"{seconds} s")


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


async def to_the_end(reader):
    """(status, headers, JSON body) of each reply until the server ends the connection."""
    return parsed(await asyncio.wait_for(reader.read(-1), PATIENCE_SECONDS))


async def one_reply(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE_SECONDS)
    size = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
    return int(head.split()[1]), head.lower(), json.loads(await reader.readexactly(size))


def run(story):
    return uvloop.run(story())
