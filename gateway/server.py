"""uvicorn, as the gateway's processes run it.

Enters: a uvicorn configuration. Leaves: a server that ends when `should_exit` is set, and never touches a signal: the
process decides when to stop.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield

    async def leave(self, serving: "asyncio.Task[None]", hurry: asyncio.Event) -> None:
        """Take no more connections, let those that are open finish, and return; `hurry` cuts off who is still there."""
        self.should_exit = True
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait([serving, hurried], return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        self.force_exit = True
        await serving
