"""A reply of the data plane, and its bytes on the wire.

Enters: a status, a JSON body, headers. Leaves: bytes. Never decides what to answer.
"""

from http import HTTPStatus
from typing import Final, NamedTuple

JSON_HEAD: Final = b"content-type: application/json\r\ncontent-length: "
STATUS_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


class Reply(NamedTuple):
    """A status, a JSON body, and further headers."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


def reply_bytes(reply: Reply, *, keep_alive: bool) -> bytes:
    """A reply as it goes on the wire."""
    parts = [STATUS_LINES[reply.status], JSON_HEAD, str(len(reply.body)).encode()]
    for name, value in reply.headers:
        parts += (b"\r\n", name, b": ", value)
    if not keep_alive:
        parts.append(b"\r\nconnection: close")
    parts += (b"\r\n\r\n", reply.body)
    return b"".join(parts)
