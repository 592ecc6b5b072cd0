"""The one way in which a plan changes: read, shift, compare-and-set, audit. People and programs both come through here.

Enters: a verb of `gateway.traffic.shifts` with who asks and why. Leaves: the accepted change. Never talks HTTP, never
waits for workers; a version it lets into a plan has been fetched and probed, or is in that plan already.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from msgspec.structs import replace

from contracts.errors import Conflict, InvalidInput, LogUnavailable, ModelRejected, NotFound
from contracts.plan import Change, Plan, VersionRef
from gateway.clock import Clock
from gateway.plan_store.store import GATES_MAX, REPUBLISH, PlanStore
from gateway.traffic import shifts
from gateway.traffic.first_plan import start_plan
from gateway.traffic.gating import exposed, gate_command, ungated
from gateway.traffic.plan_floor import NOTHING, Applied, check_floor
from gateway.version_proof import CheckVersion
from registry_client.registry import RegistryClient

Audit = Callable[[Change], Awaitable[None]]
Shift = Callable[[Plan], Plan]
AppliedOf = Callable[[str], Awaitable[Applied]]

_LOG = logging.getLogger("pointsman.admin")

ATTEMPTS_MAX = 8
"""How often a change without an expected revision is made anew after other processes were faster; then `Conflict`."""


class Origin(NamedTuple):
    """Who asks for a change and why; `expected` is the revision they saw, None where any will do."""

    who: str
    verb: str
    reason: str = ""
    expected: int | None = None


class Accepted(NamedTuple):
    """A stored change. `unlogged` says why its audit record is missing from the prediction log; empty where it is there."""

    change: Change
    unlogged: str = ""


class PlanMoved(Conflict):
    """The plan is not at the revision the caller saw; `current` is where it is."""

    def __init__(self, current: Plan, expected: int) -> None:
        super().__init__(
            f"the plan of {current.model!r} is at revision {current.revision}, not {expected}: "
            "look at what changed, then ask again"
        )
        self.current = current
        self.expected = expected


async def _nothing(_: str) -> Applied:
    return NOTHING


class PlanControl:
    """Plans of all models of one store. `audit` appends an accepted change to the prediction log; `applied` tells what the
    workers run: nothing is made from a stored plan that is behind it.
    """

    def __init__(
        self,
        store: PlanStore,
        registry: RegistryClient,
        check_version: CheckVersion,
        audit: Audit,
        clock: Clock,
        applied: AppliedOf = _nothing,
    ) -> None:
        self._store = store
        self._registry = registry
        self._check_version = check_version
        self._audit = audit
        self._clock = clock
        self._applied = applied
        self._writing = asyncio.Lock()

    async def plan(self, model: str) -> Plan:
        """The plan of a model; `NotFound` where it has none yet."""
        plan = await self._store.read(model) or await self._read(model)
        if plan is None:
            raise NotFound(
                f"model {model!r} has no plan: a worker makes the first when it serves the model; check its name"
            )
        return plan

    async def current(self, model: str) -> Plan:
        """The plan of a model; a registered one that has none yet gets its first. Raises `StoreFellBack`."""
        return await self._read(model) or await self._started(model)

    async def change(self, model: str, origin: Origin, shift: Shift, *, gated: bool = True) -> Accepted:
        """Apply a pure verb to the plan as it stands; a rollback is not `gated`: it must never wait for anything.

        Raises `PlanMoved` where `origin.expected` is another revision, `Conflict` after ATTEMPTS_MAX lost races and where
        the plan requires a gate that is not there, and whatever the verb refuses.
        """
        await self.current(model)
        async with self._writing:
            for _ in range(ATTEMPTS_MAX):
                before = await self._expected(model, origin)
                change = self._made(origin, before, shift(before))
                if gated:
                    await self._check_gates(before, change.after)
                try:
                    await self._store.write(change)
                except Conflict:
                    continue
                break
            else:
                raise Conflict(f"{ATTEMPTS_MAX} others changed the plan of {model!r} at the same time: ask again")
        return await self._logged(change)

    async def ref(self, model: str, version: str) -> VersionRef:
        """The version with its digest: as the plan pins it, else fetched and probed now."""
        plan = await self.current(model)
        held = next((ref for ref in shifts.refs_of(plan) if ref.version == version), None)
        return held or await self._check_version(model, version)

    async def replace(self, model: str, origin: Origin, wanted: Plan) -> Accepted:
        """Take a plan written by hand; every version that is new to the plan is fetched and probed first."""
        plan = await self.current(model)
        if origin.expected not in (None, plan.revision):
            raise PlanMoved(plan, origin.expected)
        for ref in shifts.refs_of(shifts.rewrite(plan, wanted)):
            if ref not in shifts.refs_of(plan):
                await self._check_digest(model, ref)
        return await self.change(model, origin, lambda before: shifts.rewrite(before, wanted))

    async def restore(self, model: str, origin: Origin, revision: int) -> Accepted:
        """Bring the content of an earlier revision back; its versions were proven when it was accepted."""
        plan = await self.current(model)
        found = await self._store.history(model, 1, upto=revision) if 0 < revision < plan.revision else []
        if not found or found[0].revision != revision:
            raise NotFound(
                f"{model!r} has no earlier revision {revision}: the plan is at {plan.revision}; see its history"
            )
        older = found[0].after
        return await self.change(model, origin, lambda before: shifts.restore(before, older), gated=False)

    async def republish(self, model: str, origin: Origin, *, stored: bool) -> Accepted:
        """Settle it where the store fell back: what the workers run, or what the store holds, as a revision above both."""
        applied = await self._applied(model)
        before = await self._store.read(model)
        plan = before if stored else applied.plan
        if plan is None:
            raise NotFound(_no_copy(model, applied, stored=stored))
        held = before.revision if before else 0
        if held > applied.revision or before == applied.plan:
            raise InvalidInput(f"the store is not behind what runs of {model!r}: there is nothing to settle")
        if origin.expected not in (None, held):
            raise Conflict(f"the store holds revision {held or 'none'} of {model!r}, not {origin.expected}: look again")
        after = replace(plan, revision=max(held, applied.revision) + 1)
        change = Change(
            model=model,
            revision=after.revision,
            at_us=self._clock.now_us(),
            who=origin.who,
            verb=REPUBLISH,
            reason=origin.reason,
            before=before,
            after=after,
        )
        await self._store.write(change)
        return await self._logged(change)

    async def history(self, model: str | None, limit: int) -> list[Change]:
        """The newest changes first: of one model, or of all."""
        return await self._store.history(model, limit)

    async def _expected(self, model: str, origin: Origin) -> Plan:
        plan = await self._read(model) or await self.plan(model)
        if origin.expected not in (None, plan.revision):
            raise PlanMoved(plan, origin.expected)
        return plan

    async def _read(self, model: str) -> Plan | None:
        """What the store holds, unless it is behind what runs."""
        applied = await self._applied(model)
        plan = await self._store.read(model)
        check_floor(model, plan, applied)
        return plan

    async def _check_digest(self, model: str, ref: VersionRef) -> None:
        found = await self._check_version(model, ref.version)
        if found != ref:
            raise ModelRejected(
                f"version {ref.version!r} of {model!r} has digest {found.digest}, the plan says {ref.digest}: "
                "other files are registered under that version now"
            )

    async def _check_gates(self, before: Plan, after: Plan) -> None:
        wanted = exposed(before, after) if before.gate_required else ()
        if not wanted:
            return
        missing = ungated(before, wanted, await self._store.gates(before.model, GATES_MAX))
        if missing:
            commands = " and ".join(gate_command(before, ref) for ref in missing)
            raise Conflict(
                f"{before.model!r} requires a gate, and {'; '.join(missing.values())}. Run {commands} where it can record "
                "its result, then ask again"
            )

    def _made(self, origin: Origin, before: Plan, after: Plan) -> Change:
        return Change(
            model=before.model,
            revision=after.revision,
            at_us=self._clock.now_us(),
            who=origin.who,
            verb=origin.verb,
            reason=origin.reason,
            before=before,
            after=after,
        )

    async def _logged(self, change: Change) -> Accepted:
        """The change stands, whether or not the log could take its record; the caller is told."""
        try:
            await self._audit(change)
        except LogUnavailable as error:
            _LOG.exception("the audit record of %s revision %d is not in the log", change.model, change.revision)
            return Accepted(change, str(error))
        return Accepted(change)

    async def _started(self, model: str) -> Plan:
        try:
            return await start_plan(model, self._store, self._registry, self._check_version, self._audit, self._clock)
        except LogUnavailable:
            _LOG.exception("the audit record of the first plan of %s is not in the log", model)
            return await self.plan(model)


def _no_copy(model: str, applied: Applied, *, stored: bool) -> str:
    if stored:
        return f"the store holds no plan of {model!r}: republish what runs, without --stored"
    if not applied.revision:
        return f"no worker runs {model!r}, and this host keeps no last good plan of it: there is nothing to republish"
    return (
        f"this host has no copy of revision {applied.revision} of {model!r}, which {applied.who} runs: ask the admin API of "
        "that host, or settle it with --stored"
    )
