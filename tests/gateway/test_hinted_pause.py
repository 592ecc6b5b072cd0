"""The pause before the registry is looked at again: its whole length, unless a hint came."""

import pytest

from contracts.errors import StoreUnavailable
from gateway.fleet.hinted_pause import HintedPause

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class World:
    """Time that passes when somebody sleeps; `hints` are the marks from so many seconds on."""

    def __init__(self, hints=()):
        self.now = 0.0
        self.hints = dict(hints)
        self.away = False

    async def sleep(self, seconds):
        self.now += seconds

    async def hinted(self):
        if self.away:
            raise StoreUnavailable("away")
        marks = [mark for at, mark in self.hints.items() if at <= self.now]
        return marks[-1] if marks else ""


async def made(world):
    pause = HintedPause(world.hinted, world.sleep)
    await pause.begin()
    return pause


async def test_without_a_hint_it_takes_its_time():
    world = World()
    pause = await made(world)
    await pause(2.5)
    assert world.now == 2.5


async def test_a_hint_ends_it_within_a_second_once():
    world = World({5.5: "a"})
    pause = await made(world)
    await pause(1000.0)
    assert world.now == 6.0
    await pause(1000.0)
    assert world.now == 1006.0


async def test_a_crowd_of_hints_is_one_look_a_second():
    world = World({turn / 100: str(turn) for turn in range(1, 301)})
    pause = await made(world)
    looks = []
    while world.now < 100:
        await pause(1000.0)
        looks.append(world.now)
    assert looks == [1.0, 2.0, 3.0, 1003.0]


async def test_a_hint_while_the_registry_is_looked_at_counts_for_the_next_look():
    world = World({1.5: "a"})
    pause = await made(world)
    await pause(1.0)
    world.now = 9.0  # the look took so long
    await pause(1000.0)
    assert world.now == 10.0


async def test_a_hint_of_before_the_start_is_none():
    world = World({0.0: "of yesterday"})
    pause = await made(world)
    await pause(50.0)
    assert world.now == 50.0


async def test_where_hints_cannot_be_read_it_takes_its_time_and_a_hint_of_meanwhile_counts_after():
    world = World({3.0: "a"})
    pause = await made(world)
    world.away = True
    await pause(7.0)
    assert world.now == 7.0
    world.away = False
    await pause(1000.0)
    assert world.now == 8.0
