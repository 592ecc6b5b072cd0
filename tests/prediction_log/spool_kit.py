"""What the writer's tests share: a disk that remembers its calls, many records at once, and all that a spool then holds."""

import asyncio

from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

ENOUGH = 100_000


class Recorder:
    """Remembers the calls that pass."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, operation, /, *args, **kwargs):
        result = operation(*args, **kwargs)
        self.calls.append((operation.__name__, args))
        return result

    def names(self):
        return [name for name, _ in self.calls]


def read(spool):
    return SpoolReader(spool, {}).poll(ENOUGH)


async def append_all(writer, payloads):
    return await asyncio.gather(
        *(writer.append(Kind.PREDICTION, payload) for payload in payloads), return_exceptions=True
    )
