"""The current plan of every model in this worker's memory, and how it follows the store and the registry.

Enters: the plan store's changes, the registry's versions and aliases. Leaves: one immutable `Serving` a model, swapped as
a whole once every version behind the new plan is loaded; until then, and for good where one cannot be loaded, the old one
serves. Store and registry may both be away, at start too: then the last good plan serves. Never goes back to a lower
revision, whatever the store holds, and never answers a request.

A model without a plan gets its first one from its alias `champion`, else its newest version. What later moves of aliases
do is up to `gateway.traffic.alias_following`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final, NamedTuple

from contracts.errors import NotFound, NotReady, PointsmanError, StoreUnavailable
from contracts.plan import Plan, VersionRef
from contracts.version_state import VersionState
from gateway.clock import Clock
from gateway.models.inputs import union_of
from gateway.models.loading import Loaded
from gateway.models.serving import Runner, Serving
from gateway.plan_store.store import PlanStore
from gateway.traffic import shifts
from gateway.traffic.alias_following import AliasFollower, Audit
from gateway.traffic.first_plan import start_plan
from gateway.traffic.last_good import LastGood
from gateway.traffic.plan_floor import NOTHING, Applied, StoreFellBack, check_floor
from gateway.traffic.routing import points_of
from registry_client.names import version_order
from registry_client.registry import RegistryClient

ALIASES_MAX: Final = 8
"""Aliased versions of one model that are kept loaded; the rest are known but not ready."""
REGISTRY_PATIENCE_SECONDS: Final = 3.0
"""How long a worker that can serve its last good plans waits for the registry before it does."""
READ_AGAIN_NS: Final = 500_000_000
"""When a plan that could not be read is asked for again, though the store has no news."""


class Known(NamedTuple):
    """What the registry says of one model."""

    aliases: dict[str, str]
    versions: tuple[str, ...]


class Models:
    """All models of one worker."""

    def __init__(
        self,
        registry: RegistryClient,
        store: PlanStore,
        loaded: Loaded,
        last_good: LastGood,
        audit: Audit,
        clock: Clock,
        applied: Callable[[], None],
        elsewhere: Callable[[str], Awaitable[Applied]] | None = None,
        patience_seconds: float = REGISTRY_PATIENCE_SECONDS,
        seen_by: str = "worker",
    ) -> None:
        self._registry = registry
        self._store = store
        self._loaded = loaded
        self._last_good = last_good
        self._audit = audit
        self._clock = clock
        self._applied = applied
        self._elsewhere = elsewhere
        self._patience_seconds = patience_seconds
        self._follower = AliasFollower(registry, store, self._check, audit, clock, seen_by)
        self._asking: asyncio.Task[None] | None = None
        self._known: dict[str, Known] = {}
        self._generation: int | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._complete = False
        self.started = asyncio.Event()
        self._said: dict[str, str] = {}
        self._unread: dict[str, int] = {}
        self._saved: dict[str, Plan] = {}
        self.store_reached = True
        self.refused: set[str] = set()
        self.servings: dict[str, Serving] = {}
        self.errors: dict[str, str] = {}

    def serving(self, model: str) -> Serving:
        """The snapshot of a model; `NotFound` or `NotReady` where there is none."""
        serving = self.servings.get(model)
        if serving is not None:
            return serving
        if model in self._known or model in self.errors or not self._complete:
            reason = self.errors.get(model, "it is being loaded")
            raise NotReady(f"model {model!r} is not at ready state: {reason}")
        raise NotFound(f"Request for unknown model: {model!r} is not found; GET /v2/models lists them")

    def not_ready(self) -> str | None:
        """Why this worker is not ready, or None: every model must be served or have failed for good reason of its own."""
        if not self._complete:
            return "models are being loaded"
        if not self.servings and self.errors:
            return "; ".join(f"{name}: {reason}" for name, reason in sorted(self.errors.items()))
        return None

    def index(self) -> list[dict[str, str]]:
        """Every registered version with its state, as Triton's repository index has it."""
        rows = []
        for model in sorted(self._known.keys() | self.servings.keys()):
            serving = self.servings.get(model)
            ready = {runner.session.fetched.version for runner in serving.runners.values()} if serving else set()
            known = self._known.get(model)
            for version in sorted(ready | set(known.versions if known else ()), key=version_order):
                state, reason = ("READY", "") if version in ready else self._unready(model, version)
                rows.append({"name": model, "version": version, "state": state, "reason": reason})
        return rows

    def states(self) -> dict[str, tuple[VersionState, ...]]:
        """Which versions are being loaded here, and which are rejected and why, by model."""
        return self._loaded.states.all()

    def _unready(self, model: str, version: str) -> tuple[str, str]:
        """State and reason of a version that is not loaded, in the words of a repository index."""
        said = self._loaded.states.of(model).get(version)
        if said is None:
            return "UNAVAILABLE", self.errors.get(model, "not in use")
        return ("LOADING", "") if said.state == "loading" else ("UNAVAILABLE", f"rejected: {said.reason}")

    async def start(self) -> None:
        """Load everything there is; what cannot be had now is tried again by the ticks."""
        asked = asyncio.create_task(self.registry_tick())
        kept = self._last_good.models()
        # a registry that takes a connection and says nothing holds nobody up who can serve without it
        await asyncio.wait([asked], timeout=self._patience_seconds if kept else None)
        if asked.done():
            self._tell_break(asked)
        else:
            self._asking = asked
        for model in kept:
            self._follow(model)
        if self._following:
            await asyncio.wait(list(self._following.values()))
        self._complete = True
        self._applied()
        self.started.set()

    def _tell_break(self, asked: "asyncio.Task[None]") -> None:
        """A first look that broke keeps nobody from the last good plans: the ticks look again."""
        broken = asked.exception()
        if broken is not None:
            logging.getLogger("pointsman.gateway").error("the first look at the registry broke", exc_info=broken)

    async def plan_tick(self) -> None:
        """Look whether any plan changed, and follow."""
        try:
            generation = await self._store.generation()
        except StoreUnavailable:
            self.store_reached = False
            raise
        self.store_reached = True
        now_ns = self._clock.mono_ns()
        if generation != self._generation:
            self._generation = generation
            wanted = self._known.keys() | self.servings.keys()
        elif self._unread:
            wanted = {model for model, at_ns in self._unread.items() if now_ns - at_ns > READ_AGAIN_NS}
        else:
            return
        for model in list(wanted):
            self._unread.pop(model, None)
            self._follow(model)

    async def registry_tick(self) -> None:
        """Look which models, versions and aliases there are, and follow."""
        with self._noting("registry"):
            for model in await self._registry.models():
                with self._noting(model):
                    await self._look_at(model)

    async def mark_used(self) -> None:
        """Keep the files of what is loaded in the cache, whatever else is fetched."""
        await asyncio.to_thread(self._loaded.mark_used)

    async def _look_at(self, model: str) -> None:
        try:
            known = Known(await self._registry.pointers(model), tuple(await self._registry.versions(model)))
        except PointsmanError as error:
            if model not in self.servings:
                self.errors[model] = str(error)
            raise
        if known != self._known.get(model) or model not in self.servings or model in self.errors:
            self._known[model] = known
            self._follow(model)

    def _follow(self, model: str) -> None:
        """Bring a model to its newest plan, one step after the other; a wish that comes meanwhile is not lost."""
        if model in self._following:
            self._again.add(model)
            return
        task = self._following[model] = asyncio.create_task(self._bring_up_to_date(model))
        task.add_done_callback(lambda _: self._followed(model))

    def _followed(self, model: str) -> None:
        del self._following[model]
        if model in self._again:
            self._again.discard(model)
            self._follow(model)

    async def _bring_up_to_date(self, model: str) -> None:
        try:
            await self._take_up(model)
        except PointsmanError as error:
            self._log_once(model, str(error))
            self.errors[model] = str(error)
        except Exception as bug:
            logging.getLogger("pointsman.gateway").exception("following the plan of %s broke", model)
            self.errors[model] = f"internal error: {bug}"
        else:
            self.errors.pop(model, None)
            self._said.pop(model, None)
        self._applied()

    async def _take_up(self, model: str) -> None:
        """Apply the newest plan; the one that was applied last where the store is away, or fell back, which is then said."""
        kept = self._kept(model)
        try:
            plan = await self._newest_plan(model, kept)
        except StoreUnavailable:
            self._unread[model] = self._clock.mono_ns()
            if kept is None:
                raise
            await self._apply(kept)
        except StoreFellBack:
            self.refused.add(model)
            if kept is not None:
                await self._apply(kept)
            raise
        else:
            self.refused.discard(model)
            await self._apply(plan)
            await self._follow_aliases(plan)

    async def _follow_aliases(self, plan: Plan) -> None:
        known = self._known.get(plan.model)
        if known is None:
            return
        try:
            moved = await self._follower.follow(plan, known.aliases)
        except StoreUnavailable:
            self._unread[plan.model] = self._clock.mono_ns()
            return
        if moved != plan:
            await self._apply(moved)

    async def _newest_plan(self, model: str, kept: Plan | None) -> Plan:
        """The store's plan, made first where there is none."""
        floor = await self._floor(model, kept)
        stored = await self._store.read(model)
        check_floor(model, stored, floor)
        return stored or await start_plan(model, self._store, self._registry, self._check, self._audit, self._clock)

    def _kept(self, model: str) -> Plan | None:
        """The plan that is applied, here or by this host's last run."""
        current = self.servings.get(model)
        return current.points.plan if current else self._last_good.load(model)

    async def _floor(self, model: str, kept: Plan | None) -> Applied:
        """What the store may not be behind; the other workers are asked only where this host never ran the model."""
        if kept is not None:
            return Applied(kept.revision, "this worker", kept)
        return NOTHING if self._elsewhere is None else await self._elsewhere(model)

    async def _check(self, model: str, version: str) -> VersionRef:
        """A version with its digest, proven by loading it here."""
        return await self._loaded.newest(model, version)

    async def _apply(self, plan: Plan) -> None:
        """Load what the plan names, then swap the snapshot in one step; only then ask the registry about the rest.

        A running model keeps its old plan where a challenger cannot be loaded. One that serves nothing yet starts with
        its champion alone: the champion then stands in for the challenger, and every record says so.
        """
        model, before = plan.model, self.servings.get(plan.model)
        runners = {plan.champion: await self._loaded.runner(model, plan.champion)}
        for ref in dict.fromkeys(map(shifts.ref_of, plan.challengers)):
            await self._add(model, ref, runners, needed=before is not None)
        if before is not None and before.points.plan != plan:
            # a registry that is slow to say what an alias names holds up no shift: what was loaded for it serves on
            self._swap(plan, dict(before.runners) | runners)
            self._shifted(model)
        for ref in plan.warm:
            await self._add(model, ref, runners, needed=False)
        await self._load_aliased(model, runners)
        self._swap(plan, runners)
        self._loaded.keep(model, runners.keys())
        if before is None:
            self._shifted(model)
        await self._save(plan)
        missing = [ref.version for ref in shifts.refs_of(plan) if ref not in runners and ref != plan.previous]
        if missing:
            raise NotReady(f"revision {plan.revision} is applied without versions {missing}, which cannot be loaded")

    def _swap(self, plan: Plan, runners: dict[VersionRef, Runner]) -> None:
        known = self._known.get(plan.model, Known({}, ()))
        by_version = {ref.version: runner for ref, runner in runners.items()}
        aliased = {alias: by_version[version] for alias, version in _loadable(known) if version in by_version}
        union = union_of([runner.session.signature for runner in runners.values()])
        rejection = partial(self._loaded.states.rejection, plan.model)
        self.servings[plan.model] = Serving(
            points_of(plan), runners, union, known.aliases, known.versions, by_version | aliased, rejection
        )

    def _shifted(self, model: str) -> None:
        """Said before the plan is on disk: whoever waits for the shift waits for the routing."""
        self.errors.pop(model, None)
        self._applied()

    async def _save(self, plan: Plan) -> None:
        """Keep the plan for a start without the store; a disk that does not take it costs no request."""
        if self._saved.get(plan.model) == plan:
            return
        with self._noting(f"last good plan of {plan.model}"):
            try:
                await asyncio.to_thread(self._last_good.save, plan)
            except OSError as error:
                raise StoreUnavailable(f"it cannot be kept on disk: {error.strerror or error}") from error
            self._saved[plan.model] = plan

    async def _add(self, model: str, ref: VersionRef, runners: dict[VersionRef, Runner], *, needed: bool) -> None:
        try:
            runners[ref] = await self._loaded.runner(model, ref)
        except PointsmanError as error:
            if needed:
                raise
            self._log_once(f"{model} {ref.version}", f"version {ref.version} of {model} cannot be loaded: {error}")

    async def _load_aliased(self, model: str, runners: dict[VersionRef, Runner]) -> None:
        """Add the runners of aliased versions that are not there yet."""
        versions = {ref.version for ref in runners}
        for alias, version in _loadable(self._known.get(model, Known({}, ()))):
            if version not in versions:
                with self._noting(f"alias {alias} of {model}"):
                    ref = await self._check(model, version)
                    runners[ref] = await self._loaded.runner(model, ref)
                    versions.add(version)

    @contextmanager
    def _noting(self, subject: str) -> Iterator[None]:
        try:
            yield
        except PointsmanError as error:
            self._log_once(subject, str(error))
        else:
            self._said.pop(subject, None)

    def _log_once(self, subject: str, message: str) -> None:
        """Say what is wrong once, not at every tick."""
        if self._said.get(subject) != message:
            logging.getLogger("pointsman.gateway").warning("%s: %s", subject, message)
        self._said[subject] = message


def _loadable(known: Known) -> list[tuple[str, str]]:
    """The aliases whose versions are kept loaded, and those."""
    return sorted(known.aliases.items())[:ALIASES_MAX]


async def every(
    seconds: float,
    tick: Callable[[], Awaitable[None]],
    subject: str,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a tick for ever; what it raises is logged, and it runs again. `pause` may end before its time, for good reason."""
    logger = logging.getLogger("pointsman.gateway")
    last: str | None = None
    while True:
        try:
            await tick()
            last = None
        except PointsmanError as error:
            if str(error) != last:
                logger.warning("%s: %s", subject, error)
            last = str(error)
        except Exception:
            logger.exception("%s: the tick broke; it runs again", subject)
        await pause(seconds)
