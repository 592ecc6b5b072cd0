"""Asks an MLflow server over HTTP: one bounded question, or one file into one place on disk.

Enters: an address, credentials, paths and parameters, seldom a document to send. Leaves: typed documents, and files of
exactly the size that was told. Nothing is believed: redirects are not followed, bodies have a greatest size, reads have a
time, compressed bodies are refused. Never decides what is asked, and never shows credentials.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeVar

import httpx
import msgspec

from contracts.errors import PointsmanError, RegistryUnavailable
from registry_client.limits import Limits
from registry_client.mlflow_answers import GOOD, Reply, decode_answer, refusal_of

T = TypeVar("T")

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 20.0
ANSWER_SECONDS: Final = 60.0
"""A document that is not there as a whole by then is not waited for: a byte now and then would keep every read alive."""
FILE_SECONDS: Final = 60.0
FILE_BYTES_PER_SECOND_MIN: Final = 50_000
"""A file may take this long and a second more for so many bytes."""
WRITE_BYTES: Final = 2**20
REFUSAL_BYTES_MAX: Final = 2**16
CONNECTIONS_MAX: Final = 4
API: Final = "/api/2.0/mlflow/"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a server is reached. `url` has no `/` at its end; `headers` carry credentials and workspace; `cafile` is a PEM
    file of authorities to trust instead of the system's.
    """

    url: str
    headers: Mapping[str, str]
    cafile: str | None = None

    def __repr__(self) -> str:
        """Without the credentials."""
        return f"Access({self.url!r})"


class MlflowRest:
    """Questions to one server. `failures` counts how often in a row it was not to be reached. Close it after use.

    Every method raises RegistryUnavailable, and what `refusal_of` says.
    """

    def __init__(
        self,
        access: Access,
        limits: Limits,
        *,
        read_seconds: float = READ_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.failures = 0
        self.server = f"MLflow at {access.url}"
        self._access = access
        self._limits = limits
        self._read_seconds = read_seconds
        self._answer_seconds = answer_seconds
        self._client: httpx.AsyncClient | None = None

    async def ask(self, path: str, params: Mapping[str, str], question: str, kind: type[T]) -> T:
        """The document at `API` + `path`; `question` says in an error what was asked for."""
        return await self.ask_elsewhere(API + path, params, question, kind)

    async def ask_elsewhere(self, path: str, params: Mapping[str, str], question: str, kind: type[T]) -> T:
        """The document at `path`, beside the API proper."""
        with self._counted():
            reply = await self._read(path, params, question, self._limits.document_bytes_max)
            return decode_answer(self.server, reply, kind)

    async def tell(self, path: str, sent: Mapping[str, str], question: str) -> None:
        """Send a document to `API` + `path`; what is replied to it, where that is no refusal, is not looked at."""
        with self._counted():
            await self._read(API + path, {}, question, self._limits.document_bytes_max, sent)

    async def document(self, path: str, params: Mapping[str, str], question: str, size: int) -> bytes:
        """A small file of exactly `size` bytes, at most `Limits.document_bytes_max`."""
        if size > self._limits.document_bytes_max:
            raise RegistryUnavailable(
                f"{question} has {size} bytes; at most {self._limits.document_bytes_max} are read"
            )
        with self._counted():
            reply = await self._read(path, params, question, size)
            if len(reply.body) != size:
                raise self._wrong_size(question, len(reply.body), size)
            return reply.body

    async def file(self, path: str, params: Mapping[str, str], question: str, size: int, target: Path) -> None:
        """Write a file of exactly `size` bytes to the new file `target`, durably and read-only. OSError passes through."""
        descriptor = await asyncio.to_thread(
            os.open, target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400
        )
        with os.fdopen(descriptor, "wb", buffering=0) as file, self._counted():
            seconds = FILE_SECONDS + size / FILE_BYTES_PER_SECOND_MIN
            written, waiting = 0, bytearray()
            async with self._replying(path, params, question, seconds) as response:
                async for chunk in self._pieces(response, question, size):
                    waiting += chunk
                    if len(waiting) >= WRITE_BYTES:
                        written += len(waiting)
                        await _finished(_write_all, file.fileno(), bytes(waiting))
                        waiting.clear()
            written += len(waiting)
            await _finished(_write_all, file.fileno(), bytes(waiting))
            if written != size:
                raise self._wrong_size(question, written, size)
            await _finished(os.fsync, file.fileno())

    async def aclose(self) -> None:
        """Let go of the connections; the next question opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _read(
        self,
        path: str,
        params: Mapping[str, str],
        question: str,
        bytes_max: int,
        sent: Mapping[str, str] | None = None,
    ) -> Reply:
        async with self._replying(path, params, question, self._answer_seconds, sent) as response:
            body = bytearray()
            async for chunk in self._pieces(response, question, bytes_max):
                body += chunk
            return _reply(response, bytes(body))

    @asynccontextmanager
    async def _replying(
        self,
        path: str,
        params: Mapping[str, str],
        question: str,
        seconds: float,
        sent: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """A good reply whose body is still to be read, within `seconds`; all that goes wrong until then is told here."""
        method, url = "GET" if sent is None else "POST", self._access.url + path
        try:
            async with (
                asyncio.timeout(seconds),
                self._opened().stream(method, url, params=params, json=sent) as response,
            ):
                if response.status_code not in GOOD:
                    await self._refuse(response, question)
                yield response
        except TimeoutError:
            raise RegistryUnavailable(
                f"{self.server} was too slow with {question}: not there after {seconds:g} s"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            said = str(error) or type(error).__name__
            raise RegistryUnavailable(f"{self.server} did not answer for {question}: {said}; does it run?") from error

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Count outages in a row: a refusal for good reason is none, an answer that nobody understands is one."""
        try:
            yield
        except RegistryUnavailable:
            self.failures += 1
            raise
        except PointsmanError:
            self.failures = 0
            raise
        self.failures = 0

    async def _refuse(self, response: httpx.Response, question: str) -> None:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > REFUSAL_BYTES_MAX:
                break
        refusal = refusal_of(
            self.server, response.url.netloc.decode(), question, _reply(response, bytes(body[:REFUSAL_BYTES_MAX]))
        )
        assert refusal is not None, "only what is not good is refused"
        raise refusal

    async def _pieces(self, response: httpx.Response, question: str, bytes_max: int) -> AsyncIterator[bytes]:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise RegistryUnavailable(f"{self.server} sent {question} compressed, which was not asked for")
        seen = 0
        async for chunk in response.aiter_raw():
            seen += len(chunk)
            if seen > bytes_max:
                raise RegistryUnavailable(f"{self.server} sent more than the {bytes_max} bytes due for {question}")
            yield chunk

    def _wrong_size(self, question: str, seen: int, size: int) -> RegistryUnavailable:
        return RegistryUnavailable(f"{self.server} sent {seen} bytes of {question}, which has {size}: ask again")

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                headers={**self._access.headers, "accept-encoding": "identity"},
                timeout=httpx.Timeout(self._read_seconds, connect=CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX),
                follow_redirects=False,
                trust_env=False,
                verify=self._trusted(),
            )
        return self._client

    def _trusted(self) -> ssl.SSLContext | bool:
        if not self._access.url.startswith("https:"):
            return False  # making a context takes 20 ms, and nothing would use it
        try:
            return ssl.create_default_context(cafile=self._access.cafile)
        except OSError as error:
            raise RegistryUnavailable(f"the authorities in {self._access.cafile} cannot be read: {error}") from error


def _reply(response: httpx.Response, body: bytes) -> Reply:
    headers = response.headers
    return Reply(response.status_code, headers.get("content-type", ""), headers.get("location", ""), body)


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


async def _finished(work: Callable[..., None], *arguments: int | bytes) -> None:
    """Do blocking work in a thread, to its end even where we are cancelled: its descriptor must not be closed under it."""
    task = asyncio.create_task(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
