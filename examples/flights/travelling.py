"""The replay under way: flights and labels go out, the story is carried out, the monitor is watched, the view is shown.

Enters: a journey and where the system is. Leaves: what was sent and done, and how long it took. Never judges the figures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import httpx

from examples.flights.addresses import Addresses
from examples.flights.labels import PlannedLabel
from examples.flights.lane import Lane
from examples.flights.picture import Seen, evidence
from examples.flights.replay import DAY_US, LANES, Replay, Tally
from examples.flights.sampling import Flight
from examples.flights.steering import FOLLOW_MS_MAX, Done, Steering
from examples.flights.story import STORY
from examples.flights.view import SHOWS_PER_SECOND, View
from examples.flights.watching import Watch


class Journey(NamedTuple):
    """The flights to be replayed and the labels they will get; `salt` decides which aircraft goes to which variant."""

    flights: Sequence[Flight]
    labels: Sequence[PlannedLabel]
    salt: str


class Travelled(NamedTuple):
    """What was sent, what was done on the way, and the seconds it took."""

    tally: Tally
    steps: list[Done]
    seconds: float


async def travel(journey: Journey, addresses: Addresses, watch: Watch, view: View) -> Travelled:
    """Replay everything; raises `ReplayFailed` where the system refuses something."""
    tally, started = Tally(event_us=journey.flights[0].departs_us), time.perf_counter()
    patience = FOLLOW_MS_MAX / 1_000 + 10
    async with httpx.AsyncClient(base_url=addresses.admin, timeout=patience) as admin, _lanes(addresses) as lanes:
        steering = Steering(STORY, admin, lambda: evidence(watch.rows))
        replay = Replay(journey.flights, journey.labels, lanes, tally, steering.arrived_at)

        def seen() -> Seen:
            return _seen(journey, tally, steering, watch, time.perf_counter() - started)

        await steering.salt(journey.salt)
        async with _watched(watch), _shown(view, seen):
            await replay.run()
    return Travelled(tally, steering.done, time.perf_counter() - started)


def _seen(journey: Journey, tally: Tally, steering: Steering, watch: Watch, seconds: float) -> Seen:
    return Seen(
        from_us=journey.flights[0].departs_us,
        event_us=tally.event_us,
        to_us=journey.flights[-1].departs_us + DAY_US,
        predictions=tally.predictions,
        per_second=tally.predictions / max(seconds, 1e-3),
        labels=tally.labels,
        shares=tally.shares,
        rows=watch.rows,
        story=[done.line for done in steering.done],
        problem=watch.problem,
    )


@asynccontextmanager
async def _lanes(addresses: Addresses) -> AsyncIterator[list[Lane]]:
    lanes = [Lane(addresses.http_port) for _ in range(LANES)]
    try:
        yield lanes
    finally:
        for lane in lanes:
            await lane.aclose()


@asynccontextmanager
async def _watched(watch: Watch) -> AsyncIterator[None]:
    async with _beside(watch.keep_looking()):
        yield


@asynccontextmanager
async def _shown(view: View, seen: Callable[[], Seen]) -> AsyncIterator[None]:
    with view.replay() as show:

        async def keep_showing() -> None:
            while True:
                show(seen())
                await asyncio.sleep(1 / SHOWS_PER_SECOND)

        async with _beside(keep_showing()):
            yield
        show(seen())


@asynccontextmanager
async def _beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Endless work that goes on while the block runs; where it breaks, that is raised when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
