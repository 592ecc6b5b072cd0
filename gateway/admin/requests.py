"""What the admin API reads out of a request: the body, the model, who asks, the expected revision, limits and waits.

Enters: an HTTP request. Leaves: typed values; `InvalidInput` names the part that is wrong. Never answers anything.
"""

import re
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contracts.errors import InvalidInput, NotFound
from contracts.wire import Contract, decode
from registry_client.names import is_name

T = TypeVar("T", bound=Contract)
Handle = Callable[[Request], Awaitable[Response]]

BODY_BYTES_MAX = 2**20
HISTORY_MAX = 1_000
HISTORY_DEFAULT = 50
LIMIT_DIGITS_MAX = 9
WAIT_MS_MAX = 60_000.0
ANONYMOUS = "anonymous"


def same_site(handle: Handle) -> Handle:
    """A web page from elsewhere, open in an operator's browser, must not move traffic through the loopback address."""

    async def guarded(request: Request) -> Response:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
            raise HTTPException(403, f"requests from pages of {origin} are refused")
        return await handle(request)

    return guarded


async def body_of(request: Request, kind: type[T]) -> T:
    """The decoded body; an empty one is an empty object."""
    return decode(kind, await raw_body_of(request) or b"{}")


async def raw_body_of(request: Request) -> bytes:
    """The body as it was sent."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise HTTPException(413, f"the body is larger than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def model_of(request: Request) -> str:
    """The model in the path; `NotFound` where that cannot name one: names become keys and names of files."""
    model = str(request.path_params["model"])
    if not is_name(model):
        raise NotFound(
            f"model {model[:80]!r} names nothing: a name is 1 to 128 letters, digits or '._-', no '._-' first"
        )
    return model


def version_of(request: Request) -> str:
    """The version in the path."""
    return str(request.path_params["version"])


def promotion_of(request: Request) -> str:
    """The promotion's id in the path."""
    return str(request.path_params["promotion"])


def wants_page(request: Request) -> bool:
    """Whether the caller, such as a browser, names HTML before JSON among what it accepts."""
    named = [kind.partition(";")[0].strip().lower() for kind in request.headers.get("accept", "").split(",")]
    return next((kind for kind in named if kind in {"text/html", "application/json"}), "") == "text/html"


def actor_of(request: Request) -> str:
    """Who asks, by the header."""
    return request.headers.get("x-pointsman-actor") or ANONYMOUS


def revision_of(request: Request) -> int | None:
    """The revision in If-Match, None without the header."""
    tag = request.headers.get("if-match")
    if tag is None:
        return None
    match = re.fullmatch(r'(?:W/)?"?([0-9]{1,18})"?', tag.strip())
    if match is None:
        raise InvalidInput(f'If-Match {tag!r} is no revision: send one such as "7"')
    return int(match[1])


def limit_of(request: Request) -> int:
    """How many changes to list."""
    text = request.query_params.get("limit", str(HISTORY_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= LIMIT_DIGITS_MAX and 1 <= int(text) <= HISTORY_MAX):
        raise InvalidInput(f"limit={text[:80]!r}: must be a whole number from 1 to {HISTORY_MAX}")
    return int(text)


def wait_of(request: Request, wanted_ms: float) -> float:
    """How many milliseconds to wait for the workers: as the query says, else as the body wants."""
    text = request.query_params.get("wait_ms", str(wanted_ms))
    try:
        wait_ms = float(text)
    except ValueError:
        raise InvalidInput(f"wait_ms={text!r} is not a number") from None
    if not 0 <= wait_ms <= WAIT_MS_MAX:
        raise InvalidInput(f"wait_ms={text}: must lie between 0 and {WAIT_MS_MAX:g}")
    return wait_ms
