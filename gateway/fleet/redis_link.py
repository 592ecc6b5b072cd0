"""Commands to one Redis, and messages from it: how the stores of a fleet talk to the server.

Enters: a URL and commands. Leaves: replies; whatever goes wrong is `StoreUnavailable` with advice. Never cancels a command
under way, but when it closes: a caller that gives up leaves it to its own end, and one that takes longer than `seconds_max`
costs its connection, so a late reply can never be taken for the next one's. Knows no key.

A command that lost its connection is sent once more, on a new one: what is sent here must bear being done twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

import redis.exceptions as refusals
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from contracts.errors import InvalidSettings, StoreUnavailable

T = TypeVar("T")
Heard = Callable[[float], Awaitable[bytes | None]]

COMMAND_SECONDS: Final = 2.0
CLOSE_SECONDS: Final = 0.5
CONNECTIONS_MAX: Final = 8

_ADVICE: Final[tuple[tuple[type[Exception], str], ...]] = (
    (refusals.AuthenticationError, "it refuses this user or password: see the setting redis"),
    (refusals.AuthorizationError, "this user may not do that: allow it the keys {pointsman}:* and their channels"),
    (refusals.NoPermissionError, "this user may not do that: allow it the keys {pointsman}:* and their channels"),
    (refusals.BusyLoadingError, "it is still loading its data: wait"),
    (refusals.ReadOnlyError, "it is a replica: name the primary, or wait until the failover is done"),
    (refusals.OutOfMemoryError, "its memory is full: give it more; plans must not be evicted (noeviction)"),
    (refusals.TimeoutError, "it does not answer in time: look at its load and at the network"),
    (refusals.ConnectionError, "nobody answers there: start it, or correct the setting redis"),
)


class Unanswered(StoreUnavailable):
    """No reply came: whether the command was carried out is not known."""


class RedisLink:
    """Connections to the server at `url`, made when they are needed. `seconds_max` bounds every step of a command."""

    def __init__(self, url: str, seconds_max: float = COMMAND_SECONDS) -> None:
        self._url = url
        self._seconds_max = seconds_max
        self._redis: Redis | None = None
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def database(self) -> int:
        """Which of the server's databases holds the keys."""
        return int(parse_url(self._url).get("db", 0))

    async def call(self, *command: str | bytes | float) -> Any:
        """The reply to one command."""
        return await self._run(lambda client: client.execute_command(*command))  # type: ignore[no-untyped-call]

    async def calls(self, *commands: tuple[str | bytes | float, ...]) -> list[Any]:
        """The replies to several commands, sent at once; not a transaction."""

        async def send(client: Redis) -> list[Any]:
            async with client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute())

        return await self._run(send)

    @asynccontextmanager
    async def subscribed(self, channel: str) -> AsyncIterator[Heard]:
        """A function that gives the next message of the channel, or None after so many seconds."""
        listening = self._client().pubsub()

        async def heard(seconds: float) -> bytes | None:
            with _told(self._url):
                message = await listening.get_message(ignore_subscribe_messages=True, timeout=seconds)
            return None if message is None else bytes(message["data"])

        try:
            with _told(self._url):
                await listening.subscribe(channel)
                if await listening.get_message(timeout=self._seconds_max) is None:
                    raise refusals.TimeoutError("no answer to SUBSCRIBE")
            yield heard
        finally:
            await listening.aclose()  # type: ignore[no-untyped-call]

    async def aclose(self) -> None:
        """Let commands under way come to their end, for a moment, and close every connection."""
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_SECONDS)
        for task in list(self._running):
            task.cancel()
            await asyncio.wait([task])
        closing, self._redis = self._redis, None
        if closing is not None:
            await closing.aclose()

    async def _run(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        task = asyncio.create_task(self._twice(work))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone

    async def _twice(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        try:
            return await self._once(work)
        except refusals.ReadOnlyError:
            await self._client().connection_pool.disconnect(
                inuse_connections=False
            )  # the name may lead elsewhere by now
        except refusals.ConnectionError:
            pass  # an idle connection that the server closed meanwhile
        except (refusals.RedisError, OSError) as error:
            raise unavailable(self._url, error) from error
        with _told(self._url):
            return await self._once(work)

    async def _once(self, work: Callable[[Redis], Awaitable[T]]) -> T:
        try:
            return await work(self._client())
        except refusals.ResponseError as error:
            if (met := met_in_script(error)) is not error:
                raise met from error
            raise

    def _client(self) -> Redis:
        if self._redis is None:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=CONNECTIONS_MAX,
                timeout=self._seconds_max,
                socket_timeout=self._seconds_max,
                socket_connect_timeout=self._seconds_max,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
                driver_info=None,
            )
            self._redis = Redis.from_pool(pool)
        return self._redis


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Whatever goes wrong with the server becomes `StoreUnavailable` with advice."""
    try:
        yield
    except (refusals.RedisError, OSError) as error:
        raise unavailable(url, error) from error


def met_in_script(error: refusals.ResponseError) -> refusals.ResponseError:
    """What a command inside a script met. Redis before 7 wraps it in words, so that nobody knows it by its first one."""
    met: tuple[tuple[str, type[refusals.ResponseError]], ...] = (
        ("-READONLY ", refusals.ReadOnlyError),
        ("-OOM ", refusals.OutOfMemoryError),
    )
    if str(error).startswith("Error running script"):
        return next((kind(str(error)) for mark, kind in met if mark in str(error)), error)
    return error


def unavailable(url: str, error: Exception) -> StoreUnavailable:
    """The error as the rooms above know it."""
    advice = next((text for kind, text in _ADVICE if isinstance(error, kind)), "it cannot be used just now: try again")
    silent = isinstance(error, refusals.TimeoutError | refusals.ConnectionError | OSError)
    return (Unanswered if silent else StoreUnavailable)(f"Redis at {shown(url)}: {advice} ({error})")


def shown(url: str) -> str:
    """A URL without user and password, also where one of them holds `/`, `?` or `#` and nobody can take it apart."""
    scheme, _, rest = url.partition("://")
    place = rest.partition("?")[0] if "password=" in rest else rest
    return f"{scheme}://{place.rpartition('@')[2].partition('?')[0]}"


def check_url(url: str) -> None:
    """Raise InvalidSettings where a URL cannot lead to a Redis."""
    try:
        parse_url(url)
    except ValueError as error:
        # the error quotes what cannot be taken apart, which may be a piece of the password
        why = "it cannot be taken apart; / ? # in a password must be percent-encoded" if "@" in url else error
        raise InvalidSettings(f"redis = {shown(url)!r}: {why}; write one such as redis://host:6379/0") from None
