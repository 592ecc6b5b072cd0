"""A plan store that is away, fell back or holds another plan: a worker keeps the plan that it knows, and says so."""

import asyncio
import shutil

import pytest
from msgspec.structs import replace

from contracts.errors import NotReady, RegistryUnavailable, StoreUnavailable
from contracts.plan import Change
from contracts.wire import encode
from gateway.traffic import shifts
from gateway.traffic.plan_floor import Applied
from registry_client.folder import FolderRegistry
from registry_client.limits import Limits
from tests.gateway.plan_host import CLOCK, looked, settled, state


def test_without_a_store_and_without_a_registry_the_last_good_plan_serves(host):
    host.alias(champion="1")

    async def run():
        first = host.worker()
        await first.start()
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.switch(plan, two))
        await settled(first)
        shutil.rmtree(host.path / "models")
        for path in host.path.glob("plans.sqlite*"):
            path.unlink()
        (host.path / "plans.sqlite").mkdir()
        second = host.worker()
        await second.start()
        return state(second)

    assert asyncio.run(run()) == (2, "2", ["1", "2"])


def test_a_champion_of_long_ago_starts_without_the_registry_however_much_was_fetched_since(host):
    host.alias(champion="1")
    registry = FolderRegistry(host.path / "models", host.path / "cache", Limits(cached_versions_max=2))

    async def run():
        models = host.worker(registry=registry)
        await models.start()
        for version in "23":
            await models.mark_used()
            await registry.fetch("m", version)
        shutil.rmtree(host.path / "models")
        later = host.worker()
        await later.start()
        return state(later)

    assert asyncio.run(run()) == (1, "1", ["1"])


def test_a_cache_whose_disk_takes_no_note_says_so(host, monkeypatch):
    def read_only(_):
        raise OSError(30, "Read-only file system")

    async def run():
        models = host.worker()
        await models.start()
        monkeypatch.setattr("gateway.models.loading.mark_used", read_only)
        with pytest.raises(RegistryUnavailable, match="Read-only file system; see to its disk"):
            await models.mark_used()

    asyncio.run(run())


def test_a_registry_that_says_nothing_holds_nobody_up_who_has_a_last_good_plan(host):
    class Silent(FolderRegistry):
        async def models(self):
            await asyncio.Event().wait()

    async def scenario():
        first = host.worker()
        await first.start()
        later = host.worker(registry=Silent(host.path / "models", host.path / "cache"), patience_seconds=0.01)
        async with asyncio.timeout(60):
            await later.start()
        assert state(later) == state(first)
        assert later.not_ready() is None

    asyncio.run(scenario())


def test_a_registry_that_is_slow_to_say_what_an_alias_names_holds_up_no_shift(host):
    answers = asyncio.Event()

    class Slow(FolderRegistry):
        async def fetch(self, model, version, digest=None):
            if digest is None:
                await answers.wait()
            return await super().fetch(model, version, digest)

    async def scenario():
        host.alias(champion="1", next="3")
        answers.set()
        models = host.worker(registry=Slow(host.path / "models", host.path / "cache"))
        await models.start()
        two = await host.ref("2")
        answers.clear()
        await host.shift(lambda plan: shifts.switch(plan, two))
        await models.plan_tick()
        async with asyncio.timeout(100):
            while state(models)[0] == 1:
                await asyncio.sleep(0.01)
        assert state(models) == (2, "2", ["1", "2", "3"])
        assert models.servings["m"].pinned("next").ref.version == "3"
        assert models._following, "the registry is still asked"
        answers.set()
        await settled(models)
        assert state(models) == (2, "2", ["1", "2", "3"])

    asyncio.run(scenario())


@pytest.mark.parametrize("broken", ["models", "fetch"])
def test_a_disk_that_takes_nothing_keeps_no_champion_from_serving(host, broken):
    host.alias(champion="1")

    class Full(FolderRegistry):
        async def models(self):
            if broken == "models":
                raise OSError(28, "No space left on device")
            return await super().models()

        async def fetch(self, model, version, digest=None):
            if version == "2":
                raise OSError(28, "No space left on device")
            return await super().fetch(model, version, digest)

    async def run():
        first = host.worker()
        await first.start()
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.canary(plan, two, 0.5))
        await settled(first)
        later = host.worker(registry=Full(host.path / "models", host.path / "cache"))
        await later.start()
        return state(later)

    assert asyncio.run(run()) == (2, "1", ["1"])


def test_an_older_plan_out_of_the_store_is_refused(host):
    host.alias(champion="1")

    async def run():
        models = host.worker()
        await models.start()
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.switch(plan, two))
        await settled(models)
        old = replace(models.servings["m"].points.plan, revision=1)
        for path in host.path.glob("plans.sqlite*"):
            path.unlink()
        models._store, models._generation = host.store(), None
        await models._store.write(
            Change(model="m", revision=1, at_us=1, who="x", verb="v", reason="", before=None, after=old)
        )
        await settled(models)
        return state(models)[:2], models.errors["m"]

    kept, reason = asyncio.run(run())

    assert kept == (2, "2")
    assert "the plan store holds revision 1 of 'm', though this worker runs revision 2: it lost changes" in reason


def test_a_worker_that_starts_over_a_store_that_fell_back_serves_its_last_good_plan_and_says_so(host):
    host.alias(champion="1")

    async def run():
        first = host.worker()
        await first.start()
        two = await host.ref("2")
        await host.shift(lambda plan: shifts.switch(plan, two))
        await settled(first)
        for path in host.path.glob("plans.sqlite*"):
            path.unlink()
        second = host.worker()
        await second.start()
        return state(second)[:2], second.errors["m"], second.refused, second.not_ready(), await second._store.read("m")

    served, reason, refused, not_ready, stored = asyncio.run(run())

    assert (served, refused, not_ready) == ((2, "2"), {"m"}, None)
    assert "the plan store holds no plan of 'm', though this worker runs revision 2" in reason
    assert stored is None, "nobody makes a first plan in place of a lost one"


def test_another_plan_under_the_applied_revision_is_refused_and_a_newer_one_is_followed(host):
    host.alias(champion="1")

    async def run():
        models = host.worker()
        await models.start()
        ours = models.servings["m"].points.plan
        theirs = replace(ours, champion=await host.ref("3"))
        for path in host.path.glob("plans.sqlite*"):
            path.unlink()
        models._store, models._generation = host.store(), None
        await models._store.write(
            Change(model="m", revision=1, at_us=1, who="x", verb="v", reason="", before=None, after=theirs)
        )
        await settled(models)
        seen = [(state(models)[:2], "another revision 1" in models.errors["m"])]
        await host.shift(lambda plan: replace(plan, revision=2))
        await settled(models)
        return [*seen, (state(models)[:2], models.errors, models.refused)]

    assert asyncio.run(run()) == [((1, "1"), True), ((2, "3"), {}, set())]


def test_a_host_without_memory_makes_no_first_plan_where_the_fleet_runs_a_later_one(host):
    async def run():
        async def elsewhere(model):
            return Applied(41, "worker other/worker-0")

        models = host.worker(elsewhere)
        await models.start()
        with pytest.raises(NotReady, match="though worker other/worker-0 runs revision 41"):
            models.serving("m")
        return await models._store.read("m")

    assert asyncio.run(run()) is None


def test_a_plan_that_could_not_be_read_is_read_again_without_any_news(host):
    host.alias(champion="1")
    ticking = iter(range(0, 10**12, 200_000_000))
    clock = CLOCK._replace(mono_ns=lambda: next(ticking))

    async def run():
        models = host.worker(clock=clock)
        await models.start()
        two = await host.ref("2")
        read, models._store.read = models._store.read, away
        await host.shift(lambda plan: shifts.switch(plan, two))
        await settled(models)
        before = state(models)[:2]
        models._store.read = read
        for _ in range(10):
            await settled(models)
        return before, state(models)[:2]

    async def away(model):
        raise StoreUnavailable("not just now")

    assert asyncio.run(run()) == ((1, "1"), (2, "2"))


def test_a_store_that_falls_back_while_an_alias_is_followed_takes_nobody_back_and_nothing_is_made_of_it(host):
    host.alias(champion="1")

    def fall_back(older):
        def work(db):
            db.executescript("DROP TRIGGER history_stays; DELETE FROM history WHERE revision > 2")
            db.execute("UPDATE plans SET revision = 2, plan = ?", (encode(older).decode(),))

        return work

    async def run():
        models = host.worker()
        await models.start()
        three = await host.ref("3")
        await host.shift(lambda plan: shifts.set_alias_policy(plan, "follow"))
        older = await models._store.read("m")
        await host.shift(lambda plan: shifts.warm(plan, three))
        await settled(models)
        follow = models._follower.follow

        async def late(plan, aliases):
            await models._store._in_thread(fall_back(older))
            return await follow(plan, aliases)

        models._follower.follow = late
        host.alias(champion="2")
        await looked(models)
        return state(models), models.errors["m"], await models._store.read("m") == older

    served, reason, untouched = asyncio.run(run())

    assert served == (3, "1", ["1", "2", "3"])
    assert "the plan store holds revision 2 of 'm', though this worker runs revision 3: it lost changes" in reason
    assert untouched
