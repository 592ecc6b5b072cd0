"""A Kafka consumer that can be trusted to work or to say that it does not, and to end.

Enters: a consumer. Leaves: `Unavailable` where its own tasks have died: it would keep its partitions and give nothing any
more. Let go of, it is gone within a bound, whatever Kafka does: nothing of it beats for a group that it left. Never reads.

Both reach into aiokafka, which neither tells of dead tasks nor gets past them when it stops.
"""

import asyncio
import logging
from typing import Any, Final

from contracts.errors import Unavailable

LET_GO_SECONDS_MAX: Final = 10.0
_STEP_SECONDS: Final = 1.0


def demand_alive(consumer: Any) -> None:
    """Raise Unavailable where the tasks that fetch or follow the cluster have ended in a started consumer."""
    fetching = getattr(getattr(consumer, "_fetcher", None), "_fetch_task", None)
    following = getattr(getattr(consumer, "_client", None), "_sync_task", None)
    for task in (fetching, following):
        if task is not None and task.done():
            why = None if task.cancelled() else task.exception()
            raise Unavailable(f"the Kafka client has stopped working: {why!r}; another one is made")


async def let_go(consumer: Any, seconds: float = LET_GO_SECONDS_MAX) -> None:
    """Stop a consumer. What it does not end by itself, or trips over, is ended for it. Never raises."""
    stopping = asyncio.ensure_future(consumer.stop())
    try:
        await asyncio.wait({stopping}, timeout=seconds)
    finally:
        trouble = _trouble(stopping)
        if trouble is not None:
            stopping.cancel()
            for task in _working(consumer):
                task.cancel()
    if trouble is None:
        return
    if not isinstance(trouble, asyncio.CancelledError):  # its own: `stop` trips over a task that had no turn yet
        logging.getLogger(__name__).warning("left Kafka without a word: %r", trouble)
    working = _working(consumer)
    consumer._client._sync_task = None  # noqa: SLF001 - it is among those that were cancelled; `close` would trip over it
    closing = asyncio.ensure_future(consumer._client.close())  # noqa: SLF001
    await asyncio.wait({stopping, closing, *working}, timeout=_STEP_SECONDS)
    closing.cancel()
    for task in (stopping, closing, *working):
        task.add_done_callback(_look_away)


def _trouble(stopping: "asyncio.Future[None]") -> BaseException | None:
    if not stopping.done():
        return TimeoutError("it takes too long")
    return asyncio.CancelledError() if stopping.cancelled() else stopping.exception()


def _working(consumer: Any) -> list["asyncio.Task[Any]"]:
    """The tasks that act in the consumer's name."""
    coordinator, fetcher = getattr(consumer, "_coordinator", None), getattr(consumer, "_fetcher", None)
    names = ("_coordination_task", "_heartbeat_task", "_commit_refresh_task", "_reset_committed_task")
    tasks = [getattr(coordinator, name, None) for name in names]
    tasks += [getattr(fetcher, "_fetch_task", None), consumer._client._sync_task]  # noqa: SLF001
    return [task for task in tasks if task is not None] + list(getattr(fetcher, "_pending_tasks", ()))


def _look_away(task: "asyncio.Future[Any]") -> None:
    """How a task ends of which nobody wants anything is no news."""
    if not task.cancelled():
        task.exception()
