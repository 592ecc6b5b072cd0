"""uvicorn, as the gateway's processes run it.

Enters: a uvicorn configuration. Leaves: a server that ends when `should_exit` is set, and never touches a signal: the
process decides when to stop.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn


class Server(uvicorn.Server):
    """uvicorn without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the process."""
        yield
