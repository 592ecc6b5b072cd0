"""What a monitor says of itself and of the variants it judged, where gateway and operators look for it.

Enters: standings and verdicts. Leaves: keys in the fleet's Redis (`contracts/standing.py` names them), or files in
`state_dir` where there is none. Never reads them back, never decides what a verdict is. What cannot be said now is
`StoreUnavailable`, and said again with the next heartbeat; a monitor counts on without it.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from contracts.errors import InvalidRecord, StoreUnavailable
from contracts.standing import (
    HEARTBEAT_SECONDS,
    MONITORS,
    REMEMBERED_MS,
    VERDICTS_MAX,
    MonitorStanding,
    Verdicts,
    judged_key,
    latest,
    monitor_file,
    monitor_key,
    verdict_field,
    verdict_file,
    verdicts_key,
)
from contracts.verdict import Verdict
from contracts.wire import Contract, decode, encode

COMMAND_SECONDS: Final = 2.0
_LOG: Final = logging.getLogger("pointsman.monitor")


class FleetReport(Protocol):
    """Where a monitor is heard. Every method raises `StoreUnavailable` where it is not just now."""

    async def tell(self, standing: MonitorStanding) -> None:
        """Say how far a monitor is; it counts as living for the next ALIVE_MS."""
        ...

    async def leave(self, member: str) -> None:
        """Say that a monitor is gone."""
        ...

    async def judged(self, model: str, verdicts: Sequence[Verdict]) -> None:
        """Keep verdicts on a model, each the latest of its variant and guard; an older one changes nothing."""
        ...

    async def aclose(self) -> None:
        """Let go."""
        ...


class RedisReport:
    """A `FleetReport` into the Redis at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Redis | None = None

    async def tell(self, standing: MonitorStanding) -> None:
        """Renew the monitor's key, and its name in the index."""
        with self._told():
            async with self._client().pipeline(transaction=False) as pipeline:
                pipeline.set(monitor_key(standing.member), encode(standing), px=REMEMBERED_MS)
                pipeline.sadd(MONITORS, standing.member)
                await pipeline.execute()

    async def leave(self, member: str) -> None:
        """Remove both."""
        with self._told():
            async with self._client().pipeline(transaction=False) as pipeline:
                pipeline.delete(monitor_key(member))
                pipeline.srem(MONITORS, member)
                await pipeline.execute()

    async def judged(self, model: str, verdicts: Sequence[Verdict]) -> None:
        """One script, so that two monitors cannot undo each other."""
        words: list[Any] = [VERDICTS_MAX]
        for verdict in verdicts:
            words += [verdict_field(verdict), verdict.judged_us, encode(verdict)]
        with self._told():
            script = self._client().eval(_VERDICTS, 2, verdicts_key(model), judged_key(model), *words)
            await script

    async def aclose(self) -> None:
        """Close every connection."""
        closing, self._redis = self._redis, None
        if closing is not None:
            await closing.aclose()

    def _client(self) -> Redis:
        if self._redis is None:
            # a reply that is late costs its connection, so it is never taken for the next one's
            self._redis = Redis.from_url(
                self._url,
                socket_timeout=COMMAND_SECONDS,
                socket_connect_timeout=COMMAND_SECONDS,
                retry=Retry(NoBackoff(), 1),
                protocol=2,
                driver_info=None,
            )
        return self._redis

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            where = self._url.rpartition("@")[2]
            raise StoreUnavailable(f"Redis at {where} does not hear this monitor: {error}; see that it runs") from error


class FileReport:
    """A `FleetReport` into `state_dir`, for one host: `monitors/<member>.json` and `verdicts/<model>.json`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    async def tell(self, standing: MonitorStanding) -> None:
        """Replace the monitor's file."""
        await asyncio.to_thread(_replace, monitor_file(self._state_dir, standing.member), standing)

    async def leave(self, member: str) -> None:
        """Remove it."""
        monitor_file(self._state_dir, member).unlink(missing_ok=True)

    async def judged(self, model: str, verdicts: Sequence[Verdict]) -> None:
        """Replace the model's file; on one host there is one monitor, so nobody else writes it."""
        await asyncio.to_thread(self._judged, verdict_file(self._state_dir, model), tuple(verdicts))

    async def aclose(self) -> None:
        """Files need no closing."""

    def _judged(self, path: Path, verdicts: tuple[Verdict, ...]) -> None:
        try:
            kept = decode(Verdicts, path.read_bytes()).verdicts
        except (FileNotFoundError, InvalidRecord):
            kept = ()  # none yet, or of another release: the next verdicts replace them
        _replace(path, Verdicts(verdicts=latest(kept, verdicts)))


def open_report(redis: str, state_dir: Path) -> FleetReport:
    """By the setting `redis`: empty for one host."""
    return RedisReport(redis) if redis else FileReport(state_dir)


async def keep_telling(report: FleetReport, standing: Callable[[], MonitorStanding], stop: asyncio.Event) -> None:
    """Tell every HEARTBEAT_SECONDS how far the monitor is, until `stop` is set; then say that it is gone."""
    silent = False
    while not stop.is_set():
        try:
            await report.tell(standing())
            silent = False
        except (StoreUnavailable, OSError) as error:
            if not silent:
                _LOG.warning("the fleet does not hear of this monitor: %s", error)
            silent = True
        try:
            await asyncio.wait_for(stop.wait(), HEARTBEAT_SECONDS)
        except TimeoutError:
            continue
    try:
        await report.leave(standing().member)
    except (StoreUnavailable, OSError):
        _LOG.info("the fleet will miss this monitor by itself")


def _replace(path: Path, value: Contract) -> None:
    """Write a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(encode(value))
    draft.replace(path)


_VERDICTS: Final = files(__package__).joinpath("verdicts.lua").read_text()
