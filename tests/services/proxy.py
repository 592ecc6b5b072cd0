"""A TCP proxy that follows a script: slow, narrow, silent, cut or closed, changed while connections run.

Enters: where to listen and where to pass on. Leaves: bytes, later or never. It runs in a thread with an event loop of its
own; whatever is changed applies to open connections at once.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

CHUNK = 16_384
CLOSE_SECONDS = 60.0


class Proxy:
    """`latency_s` is added to every chunk in each direction; `bytes_per_second` is a connection's width in each direction
    (0: no bound); with `silent` nothing is passed on and nothing closed (a half-open network); with `refusing` new
    connections are cut at once. `passed` counts bytes. `lost_replies` swallows what the server says, and only that.
    """

    def __init__(self, port: int, target_port: int) -> None:
        self.port = port
        self.latency_s = 0.0
        self.bytes_per_second = 0
        self.silent = False
        self.refusing = False
        self.lost_replies = False
        self.passed = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        self._ready.wait()

    def cut(self) -> None:
        """Reset every open connection."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Reset everything and stop listening, if that has not been done."""
        assert self._stop is not None
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(2 * CLOSE_SECONDS)

    @contextlib.contextmanager
    def being(self, **how: float | bool) -> Iterator[None]:
        """Behave so inside the block."""
        before = {name: getattr(self, name) for name in how}
        for name, value in how.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self._ready.set()
        await self._stop.wait()
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())  # a closed server loses what it has accepted but not yet made
        self.refusing = True
        self._cut()
        for task in self._connections:
            task.cancel()
        await self._ended()
        server.close()

    async def _ended(self) -> None:
        """Every connection is gone, or CLOSE_SECONDS are."""
        until = time.monotonic() + CLOSE_SECONDS
        while (ending := asyncio.all_tasks() - {asyncio.current_task()}) and time.monotonic() < until:
            await asyncio.wait(ending, timeout=until - time.monotonic())
        for _ in range(2):
            await asyncio.sleep(0)  # a transport that was told to abort closes its socket in the loop's next step

    def _cut(self) -> None:
        for writer in list(self._writers):
            own = writer.get_extra_info("socket")
            if own is not None:
                with contextlib.suppress(OSError):
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection's whole life. It ends without a word: asyncio would tell of a task that was cancelled."""
        own = asyncio.current_task()
        assert own is not None
        self._connections.add(own)
        with contextlib.suppress(asyncio.CancelledError):
            await self._join(reader, writer)
        self._connections.discard(own)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = [writer]
        try:
            if self.refusing:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            both.append(far_writer)
            self._writers.update(both)
            await asyncio.gather(
                self._pass(reader, far_writer, reply=False), self._pass(far_reader, writer, reply=True)
            )
        except OSError:
            pass
        finally:
            for one in both:
                self._writers.discard(one)
                one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reply: bool) -> None:
        try:
            while data := await reader.read(CHUNK):
                arrived = time.monotonic()
                while self.silent:
                    await asyncio.sleep(0.02)
                if reply and self.lost_replies:
                    continue
                if self.latency_s:
                    await asyncio.sleep(max(0.0, arrived + self.latency_s - time.monotonic()))
                if self.bytes_per_second:
                    await asyncio.sleep(len(data) / self.bytes_per_second)
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
