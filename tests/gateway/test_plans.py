"""How a worker follows plans: real store, real registry, real sessions; a step of time is a call of a tick."""

import asyncio
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from contracts.errors import NotFound, NotReady, StoreUnavailable
from contracts.plan import Change, VersionRef
from gateway.clock import Clock
from gateway.models.batching import Batcher
from gateway.models.loading import Loaded
from gateway.models.serving import Runner
from gateway.models.sessions import load_session
from gateway.models.slots import Slots, Threads
from gateway.models.version_states import VersionStates
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic import shifts
from gateway.traffic.last_good import LastGood
from gateway.traffic.plan_floor import Applied
from gateway.traffic.plans import Models
from registry_client.folder import FolderRegistry

CLOCK = Clock(now_us=lambda: 1_000_000, mono_ns=lambda: 0, new_id=lambda: "salt")


class Host:
    """One host: a registry folder, a store, and as many workers as are made, one after the other."""

    def __init__(self, tmp_path, graphs):
        self.path, self.graphs = tmp_path, graphs
        self.folder = tmp_path / "models" / "m"
        self.pool = ThreadPoolExecutor(1)
        self.audited = []
        for version in "123":
            self.put(version)

    def put(self, version, content=None):
        (self.folder / version).mkdir(parents=True, exist_ok=True)
        model = content or self.graphs.mlp(bias=float(version)).SerializeToString()
        (self.folder / version / "model.onnx").write_bytes(model)

    def alias(self, **aliases):
        (self.folder / "aliases.json").write_text(json.dumps(aliases))

    def store(self):
        return SqlitePlanStore(self.path / "plans.sqlite")

    def worker(self, elsewhere=None, clock=CLOCK, registry=None, **more):
        async def audit(change):
            self.audited.append(change)

        def runner(session):
            queue = Batcher(session, Threads(self.pool, Slots(1)), CLOCK, rows_max=8, queue_max=8, inline_us_max=1e6)
            return Runner(session.fetched.version, session, queue, queue)

        registry = registry or FolderRegistry(self.path / "models", self.path / "cache")
        loaded = Loaded(registry, load_session, runner, VersionStates(clock.now_us))
        return Models(
            registry,
            self.store(),
            loaded,
            LastGood(self.path / "last_good"),
            audit,
            clock,
            lambda: None,
            elsewhere,
            **more,
        )

    async def shift(self, verb, who="operator"):
        """What a person does by the admin API."""
        store = self.store()
        plan = await store.read("m")
        after = verb(plan)
        await store.write(
            Change(model="m", revision=after.revision, at_us=1, who=who, verb="v", reason="", before=plan, after=after)
        )
        await store.aclose()

    async def ref(self, version):
        fetched = await FolderRegistry(self.path / "models", self.path / "cache").fetch("m", version)
        return VersionRef(version=version, digest=fetched.digest)


@pytest.fixture
def host(tmp_path, graphs):
    made = Host(tmp_path, graphs)
    yield made
    made.pool.shutdown()


async def settled(models):
    """One plan tick, and what it set off."""
    await models.plan_tick()
    while models._following:
        await asyncio.wait(list(models._following.values()))


async def looked(models):
    """One registry tick, and what it set off."""
    await models.registry_tick()
    while models._following:
        await asyncio.wait(list(models._following.values()))


def state(models):
    serving = models.servings["m"]
    return (
        serving.points.plan.revision,
        serving.points.plan.champion.version,
        sorted(r.version for r in serving.runners),
    )


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


def test_an_alias_that_cannot_be_served_is_no_reason_not_to_serve_the_others(host):
    host.put("4", b"no model")
    host.alias(champion="1", broken="4", stable="2", lost="99")

    async def run():
        models = host.worker()
        await models.start()
        serving = models.serving("m")
        assert serving.pinned("stable").ref.version == "2"
        assert serving.pinned("1").ref.version == "1"
        for name in ("broken", "4"):
            with pytest.raises(
                NotReady, match=f"version '{name}' of 'm' is not at ready state: it is rejected: onnxruntime"
            ):
                serving.pinned(name)
        for name in ("lost", "3"):
            with pytest.raises(NotReady, match=f"version '{name}' of 'm' is not at ready state: give it an alias"):
                serving.pinned(name)
        with pytest.raises(NotFound, match="model 'm' has no version or alias 'nope': there are 1, 2, 3, 4, "):
            serving.pinned("nope")
        with pytest.raises(NotFound, match="Request for unknown model: 'other' is not found"):
            models.serving("other")
        return models.index(), models.states()

    index, states = asyncio.run(run())
    (four,) = states["m"]

    rows = [(row["version"], row["state"]) for row in index]
    assert rows == [("1", "READY"), ("2", "READY"), ("3", "UNAVAILABLE"), ("4", "UNAVAILABLE")]
    assert four.reason.startswith("onnxruntime cannot load it")
    assert [row["reason"] for row in index[2:]] == ["not in use", f"rejected: {four.reason}"]
    assert (four.version, four.state, four.since_us) == ("4", "rejected", 1_000_000)


def test_a_version_that_is_being_loaded_says_so_and_a_rejection_goes_when_it_loads(host):
    host.put("2", b"no model")
    host.alias(champion="1", next="2")

    async def run():
        models, loading = host.worker(), asyncio.Event()
        load = models._loaded._load

        async def slowly(fetched):
            await loading.wait()
            return await load(fetched)

        await models.start()
        models._loaded._load = slowly
        host.put("2")
        three = await host.ref("3")
        await host.shift(lambda plan: replace(plan, revision=2, warm=(three,)))
        await models.plan_tick()
        while len(models.states()["m"]) < 2 and models._following:
            await asyncio.sleep(0.001)
        during = models.index(), {state.version: state.state for state in models.states()["m"]}
        loading.set()
        await asyncio.wait(list(models._following.values()))
        return during, models.index(), models.states()

    (index, states), after, gone = asyncio.run(run())

    assert states == {"2": "rejected", "3": "loading"}
    assert [(row["state"], row["reason"][:9]) for row in index] == [
        ("READY", ""),
        ("UNAVAILABLE", "rejected:"),
        ("LOADING", ""),
    ]
    assert [row["state"] for row in after] == ["READY"] * 3
    assert gone == {}


def test_a_model_whose_champion_cannot_be_loaded_says_why_and_is_tried_again(host):
    host.put("3", b"no model")

    async def run():
        models = host.worker()
        await models.start()
        with pytest.raises(NotReady) as caught:
            models.serving("m")
        reason = str(caught.value)
        host.put("3")
        await asyncio.sleep(0)
        await looked(models)
        return reason, state(models)

    reason, served = asyncio.run(run())

    assert reason.startswith("model 'm' is not at ready state: ")
    assert served == (1, "3", ["3"])
