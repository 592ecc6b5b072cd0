"""Python's cycle collector, held off while many small values are made that hold no cycles.

Decoding makes hundreds of thousands of objects, and the collector looks through them again and again: a third of the time.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside; where two overlap, the first one to begin turns it on again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
