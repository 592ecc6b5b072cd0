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
    status, body, headers = reply
    more = b"" if keep_alive else b"\r\nconnection: close"
    if headers:
        more = b"".join([b"\r\n%b: %b" % header for header in headers]) + more
    return b"%b%b%d%b\r\n\r\n%b" % (STATUS_LINES[status], JSON_HEAD, len(body), more, body)
