"""What is live in one partition's summaries, brought up to date with Kafka.

Enters: a reader of the topic and the file of what is live. Leaves: the file as the topic is now, with its last marker, and
by how much it differs from it where something is missing. Never judges that.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from contracts.errors import InvalidRecord
from monitor.fleet import live_rows
from monitor.fleet.exchange import Mark, Message
from monitor.fleet.publication import Live
from monitor.fleet.summaries_topic import SummariesTopic

OffLoop = Callable[..., Awaitable[Any]]


async def catch_up(topic: SummariesTopic, live: Live, off_loop: OffLoop) -> live_rows.Standing:
    """Read to the end; where what was kept and what was read since do not add up, everything is read again. `off_loop` runs
    a function in the thread that the file belongs to. Raises Unavailable.
    """
    standing = await _read(topic, live, off_loop)
    if standing.amiss != live_rows.Amiss():
        standing = await read_again(topic, live, off_loop)
    return standing


async def read_again(topic: SummariesTopic, live: Live, off_loop: OffLoop) -> live_rows.Standing:
    """Forget what is kept and read from the beginning. Raises Unavailable."""
    await off_loop(_in_transaction, live, live_rows.forget, live.p)
    return await _read(topic, live, off_loop)


async def _read(topic: SummariesTopic, live: Live, off_loop: OffLoop) -> live_rows.Standing:
    kept: live_rows.Standing = await off_loop(live.standing)
    start = (await topic.seek({live.p: kept.next_offset}))[live.p]
    if start < kept.next_offset:  # the topic was made anew: nothing of what is kept is in it
        await off_loop(_in_transaction, live, live_rows.forget, live.p)
    mark: Mark | None = None
    async for read in topic.read_to_end(live.p, start):
        messages = [message for _, message in read.messages]
        await off_loop(_in_transaction, live, live_rows.receive, live.p, messages, read.next_offset)
        mark = _last_mark(messages, live.p) or mark
    standing: live_rows.Standing = await off_loop(_in_transaction, live, _accepted, live.p, mark)
    return standing


def _accepted(connection: Any, p: int, mark: Mark | None) -> live_rows.Standing:
    now = live_rows.standing(connection, p)
    mark = mark or now.mark
    if mark is not None:
        live_rows.accept(connection, p, mark, live_rows.amiss_of(now, mark))
    return live_rows.standing(connection, p)


def _last_mark(messages: list[Message], p: int) -> Mark | None:
    for message in reversed(messages):
        try:
            mark = live_rows.mark_of(message, p)
        except InvalidRecord:
            continue
        if mark is not None:
            return mark
    return None


def _in_transaction(live: Live, work: Callable[..., Any], *given: Any) -> Any:
    live.connection.execute("BEGIN IMMEDIATE")
    try:
        result = work(live.connection, *given)
        live.connection.execute("COMMIT")
    except BaseException:
        live.connection.execute("ROLLBACK")
        raise
    return result
