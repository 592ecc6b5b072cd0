"""Handlers of the fast lane for tests: a coroutine that answers one request, made one that takes what came together."""

import asyncio


def one_by_one(infer):
    """Each request gets a task of its own; what the coroutine returns is its reply."""
    running = set()

    async def answer(arrival):
        arrival.asker.send(await infer(arrival))

    def take(arrivals):
        for arrival in arrivals:
            task = asyncio.get_running_loop().create_task(answer(arrival))
            running.add(task)
            task.add_done_callback(running.discard)

    return take
