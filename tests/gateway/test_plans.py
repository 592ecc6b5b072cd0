"""How a worker follows plans: the first one, each shift after it, and one that cannot be followed whole."""

import asyncio

import pytest

from contracts.errors import NotReady
from contracts.plan import VersionRef
from gateway.traffic import shifts
from tests.gateway.plan_host import looked, settled, state


def test_the_first_plan_is_the_alias_champion_else_the_newest_version(host):
    async def run():
        models = host.worker()
        await models.start()
        return state(models)

    assert asyncio.run(run()) == (1, "3", ["3"])
    assert [change.verb for change in host.audited] == ["start"]


def test_two_workers_that_start_at_once_share_one_first_plan(host):
    host.alias(champion="2")

    async def run():
        workers = [host.worker() for _ in range(4)]
        await asyncio.gather(*(models.start() for models in workers))
        return [models.servings["m"].points.plan for models in workers]

    plans = asyncio.run(run())

    assert plans == [plans[0]] * 4
    assert (plans[0].revision, plans[0].champion.version) == (1, "2")
    assert len(host.audited) == 1


def test_the_champion_follows_its_alias_until_somebody_shifts_traffic(host):
    host.alias(champion="1")

    async def run():
        models = host.worker()
        await models.start()
        seen = [state(models)[:2]]
        host.alias(champion="2")
        await looked(models)
        seen.append(state(models)[:2])
        await host.shift(lambda plan: shifts.rollback(plan))
        await settled(models)
        seen.append(state(models)[:2])
        host.alias(champion="3")
        await looked(models)
        seen.append(state(models)[:2])
        return seen

    assert asyncio.run(run()) == [(1, "1"), (2, "2"), (3, "1"), (3, "1")]


def test_a_shift_loads_what_it_names_and_lets_go_of_what_nobody_wants(host):
    host.alias(champion="1")

    async def whole():
        models = host.worker()
        await models.start()
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.canary(plan, two, 0.1))
        await settled(models)
        first = state(models)
        await host.shift(lambda plan: shifts.remove(plan, "canary-2"))
        await settled(models)
        return first, state(models)

    assert asyncio.run(whole()) == ((2, "1", ["1", "2"]), (3, "1", ["1"]))


def test_a_plan_whose_version_cannot_be_loaded_leaves_the_old_one_serving(host):
    host.alias(champion="1")

    async def run():
        models = host.worker()
        await models.start()
        gone = VersionRef(version="2", digest="0" * 64)
        await host.shift(lambda plan: shifts.canary(plan, gone, 0.5))
        await settled(models)
        broken = state(models), models.errors["m"]
        await host.shift(lambda plan: shifts.remove(plan, "canary-2"))
        await settled(models)
        return broken, state(models), dict(models.errors)

    (kept, reason), after, errors = asyncio.run(run())

    assert kept == (1, "1", ["1"])
    assert "0000" in reason
    assert after == (3, "1", ["1"])
    assert errors == {}


def test_a_worker_that_starts_serves_its_champion_though_a_challenger_cannot_be_loaded(host):
    host.alias(champion="1")

    async def run():
        first = host.worker()
        await first.start()
        gone = VersionRef(version="2", digest="0" * 64)
        await host.shift(lambda plan: shifts.canary(plan, gone, 0.5))
        second = host.worker()
        await second.start()
        serving = second.serving("m")
        canary = serving.points.named["canary-2"]
        with pytest.raises(NotReady, match="version '2' of 'm' is not at ready state in this worker"):
            serving.runner(canary)
        return state(second), second.errors["m"], second.not_ready()

    applied, reason, not_ready = asyncio.run(run())

    assert applied == (2, "1", ["1"])
    assert reason == "revision 2 is applied without versions ['2'], which cannot be loaded"
    assert not_ready is None
