"""One host as a worker's plans see it: real store, real registry, real sessions; a step of time is a call of a tick."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from contracts.plan import Change, VersionRef
from gateway.clock import Clock
from gateway.models.batching import Batcher
from gateway.models.loading import Loaded
from gateway.models.serving import Runner
from gateway.models.sessions import load_session
from gateway.models.slots import Slots, Threads
from gateway.models.version_states import VersionStates
from gateway.plan_store.sqlite import SqlitePlanStore
from gateway.traffic.last_good import LastGood
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
        return SqlitePlanStore(self.path / "plans.sqlite", busy_timeout_ms=100_000)

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
