"""One kept-alive HTTP/1.1 connection that posts JSON, one request at a time.

Enters: a path and a body. Leaves: the status and the body of the reply. Never pools, redirects or retries: a general client
costs forty times more than the gateway's answer takes, and the replay would measure the client.
"""

import asyncio
from asyncio import StreamReader, StreamWriter

from examples.flights.addresses import HOST


class Lane:
    """Connects when first used and again where the other side has closed an idle connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[StreamReader, StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the reply; raises OSError or EOFError where the connection fails."""
        reader, writer = await self._connected()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        )
        writer.write(f"{head}\r\n".encode("ascii") + body)
        status, length = parse_head(await reader.readuntil(b"\r\n\r\n"))
        return status, await reader.readexactly(length)

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()
            self._streams = None

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            await self.aclose()
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self._port)
        return self._streams


def parse_head(head: bytes) -> tuple[int, int]:
    """Status and body length of a reply's head; ValueError where it announces no length."""
    status_line, *fields = head.decode("latin-1").split("\r\n")
    for line in fields:
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            return int(status_line.split(" ", 2)[1]), int(value)
    raise ValueError(f"a reply without content-length: {status_line}")
