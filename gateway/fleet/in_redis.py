"""The fleet in Redis: every host's workers, each under a key of its own that goes away with it.

Enters: what this host's workers say of themselves. Leaves: what all hosts' workers and monitors say. What is told is written
to this host's files at once (the supervisor and the metrics page read those) and sent by a task: the newest word of a worker
replaces those that still wait, so a slow or silent Redis holds one word a worker and makes nobody wait. While it does not
answer, only this host's workers are known, and that is said.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from msgspec.structs import replace

from contracts.errors import InvalidRecord, StoreUnavailable
from contracts.standing import (
    ALIVE_MS,
    MONITORS,
    REGISTRY_HINT,
    REMEMBERED_MS,
    WORKERS,
    MonitorStanding,
    monitor_key,
    verdict_field,
    verdicts_key,
    worker_key,
)
from contracts.verdict import Verdict
from contracts.wire import Contract, decode, encode
from gateway.fleet.redis_link import RedisLink
from gateway.fleet.seam import HostFleet, Seen
from gateway.fleet.worker_status import WorkerStatus, lives

T = TypeVar("T", bound=Contract)

MEMBERS_MAX: Final = 4_096
LEAVE_SECONDS: Final = 1.0
_LOG: Final = logging.getLogger("pointsman.fleet")


class RedisFleet:
    """A `Fleet` over the Redis at `url`; `host` is this host's name in it, `files` its own workers."""

    def __init__(self, url: str, host: str, files: HostFleet) -> None:
        self._link = RedisLink(url)
        self._host = host
        self._files = files
        self._unsent: dict[str, WorkerStatus | None] = {}
        self._sending: asyncio.Task[None] | None = None
        self._silent = False
        self._closed = False

    def tell(self, status: WorkerStatus) -> None:
        """Send the worker's word soon, and replace its file."""
        self._send_soon(status.slot, status)
        self._files.tell(status)

    def leave(self, slot: str) -> None:
        """Remove the worker's word and its file."""
        self._send_soon(slot, None)
        self._files.leave(slot)

    async def workers(self) -> Seen:
        """The workers of all hosts; only this host's while Redis is away."""
        try:
            found = await self._members(WorkerStatus, WORKERS, worker_key)
        except StoreUnavailable as error:
            own = await self._files.workers()
            return Seen(
                [self._named(status) for status in own.workers], f"only the workers of this host are known: {error}"
            )
        there = [one for one in found if one.word.host != self._host or lives(one.word.pid)]
        return Seen(
            [one.word for one in there if one.silent_ms <= ALIVE_MS],
            silent=tuple(
                f"{one.word.name} ({one.silent_ms / 1000:.0f} s)" for one in there if one.silent_ms > ALIVE_MS
            ),
        )

    async def monitors(self) -> list[MonitorStanding]:
        """The monitors of all hosts."""
        found = await self._members(MonitorStanding, MONITORS, monitor_key)
        return [one.word if one.silent_ms <= ALIVE_MS else _silent(one.word, one.silent_ms) for one in found]

    async def verdicts(self, model: str) -> tuple[Verdict, ...]:
        """The verdicts that the monitors of the fleet gave last."""
        words = (await self._link.call("HGETALL", verdicts_key(model))).values()
        found = [verdict for word in words if (verdict := _word(Verdict, word)) is not None]
        return tuple(sorted(found, key=verdict_field))

    async def hint(self, mark: str) -> None:
        """Put the mark where every host looks."""
        await self._link.call("SET", REGISTRY_HINT, mark)

    async def hinted(self) -> str:
        """The mark of whichever host's admin API was hinted last."""
        mark = await self._link.call("GET", REGISTRY_HINT)
        return "" if mark is None else bytes(mark).decode(errors="replace")

    async def aclose(self) -> None:
        """Send what is left, with an end, and close the connections."""
        self._closed = True
        sending = self._sending
        if sending is not None:
            await asyncio.wait([sending], timeout=LEAVE_SECONDS)
            sending.cancel()
            await asyncio.wait([sending])
        await self._link.aclose()

    def _named(self, status: WorkerStatus) -> WorkerStatus:
        return status.at(self._host)

    def _send_soon(self, slot: str, status: WorkerStatus | None) -> None:
        self._unsent[slot] = None if status is None else self._named(status)
        if self._sending is None and not self._closed:
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        """Send what waits until nothing does; a word that could not be sent is said again by the next heartbeat."""
        try:
            while self._unsent:
                batch, self._unsent = self._unsent, {}
                await self._link.calls(*self._commands(batch))
                self._silent = False
        except StoreUnavailable as error:
            if not self._silent:
                _LOG.warning("the fleet does not hear of this host's workers: %s", error)
            self._silent = True
        finally:
            # here and not when the task is done: what is told in between would wait for the next heartbeat
            self._sending = None

    def _commands(self, batch: dict[str, WorkerStatus | None]) -> list[tuple[str | bytes | float, ...]]:
        commands: list[tuple[str | bytes | float, ...]] = []
        for slot, status in batch.items():
            name = f"{self._host}/{slot}"
            if status is None:
                commands += [("DEL", worker_key(name)), ("SREM", WORKERS, name)]
            else:
                commands += [("SET", worker_key(name), encode(status), "PX", REMEMBERED_MS), ("SADD", WORKERS, name)]
        return commands

    async def _members(self, kind: type[T], index: str, key: Callable[[str], str]) -> "list[_Heard[T]]":
        """The words of those who are spoken of; names of the others leave the index."""
        names = sorted(name.decode(errors="replace") for name in await self._link.call("SMEMBERS", index))[:MEMBERS_MAX]
        if not names:
            return []
        keys = [key(name) for name in names]
        words, *left_ms = await self._link.calls(("MGET", *keys), *(("PTTL", one) for one in keys))
        if gone := [name for name, word in zip(names, words, strict=True) if word is None]:
            await self._link.call("SREM", index, *gone)
        return [
            _Heard(found, REMEMBERED_MS - left)
            for word, left in zip(words, left_ms, strict=True)
            if word is not None and (found := _word(kind, word)) is not None
        ]


class _Heard(Generic[T]):
    """What a member said last, and how long ago."""

    def __init__(self, word: T, silent_ms: int) -> None:
        self.word = word
        self.silent_ms = silent_ms


def _silent(standing: MonitorStanding, silent_ms: int) -> MonitorStanding:
    return replace(standing, problem=f"silent for {silent_ms / 1000:.0f} s")


def _word(kind: type[T], word: bytes) -> T | None:
    try:
        return decode(kind, word)
    except InvalidRecord:
        return None  # of another release: it lives, but we cannot tell where it is
