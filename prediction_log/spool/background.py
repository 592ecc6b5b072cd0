"""What may block, off the loop: a few threads whose results come back as callbacks on the loop.

Enters: a function that may block and what to call when it is done. Leaves: that call, on the loop. Never uses the loop's
default threads: inference may have taken them all.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

_THREADS: Final = 2
"""One for the batch that is being synced, one for the next segment and the last; never more than these wait for each."""


class Background:
    """Threads of one writer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(_THREADS, "prediction-log")
        self._running: set[asyncio.Future[Any]] = set()

    def run(self, work: Callable[..., Any], done: Callable[[asyncio.Future[Any]], None], *args: Any) -> None:
        """Start `work(*args)` in a thread; `done` gets its future, on the loop."""
        future = self._loop.run_in_executor(self._threads, work, *args)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        future.add_done_callback(done)

    async def call(self, work: Callable[..., Any], *args: Any) -> Any:
        """The result of `work(*args)`, computed in a thread."""
        return await self._loop.run_in_executor(self._threads, work, *args)

    async def settle(self) -> None:
        """Return when nothing runs any more."""
        while self._running:
            await asyncio.wait(self._running)

    def close(self) -> None:
        """Let the threads go when they have finished what they have begun."""
        self._threads.shutdown(wait=False)
