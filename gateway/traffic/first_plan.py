"""The first plan of a model: its alias `champion`, else its newest version, gets everything.

Enters: what the registry holds. Leaves: the stored plan, whoever was first to store it. Workers and the admin API may
both ask at the same moment: the store lets one of them win, and both go on with the same plan.
"""

from collections.abc import Awaitable, Callable

from contracts.errors import Conflict
from contracts.plan import Change, Plan
from gateway.clock import Clock
from gateway.plan_store.store import PlanStore
from gateway.traffic import shifts
from gateway.version_proof import CheckVersion
from registry_client.registry import RegistryClient

WHO = "pointsman"


async def start_plan(
    model: str,
    store: PlanStore,
    registry: RegistryClient,
    check_version: CheckVersion,
    audit: Callable[[Change], Awaitable[None]],
    clock: Clock,
) -> Plan:
    """The model's plan, made and stored if there is none.

    Raises `NotFound` where the registry has no version of it, `ModelRejected` where its champion cannot be served,
    `RegistryUnavailable` and `StoreUnavailable` where one of them is away; `audit` may raise `LogUnavailable`, and then
    the plan stands all the same.
    """
    stored = await store.read(model)
    if stored is not None:
        return stored
    aliases = await registry.pointers(model)
    version = shifts.first_champion(model, aliases, await registry.versions(model))
    plan = shifts.start(model, await check_version(model, version), salt=clock.new_id())
    why = "the alias champion" if "champion" in aliases else "the newest version"
    change = Change(
        model=model,
        revision=plan.revision,
        at_us=clock.now_us(),
        who=WHO,
        verb="start",
        reason=f"first plan: {why}",
        before=None,
        after=plan,
    )
    try:
        await store.write(change)
    except Conflict:
        theirs = await store.read(model)
        assert theirs is not None, "whoever won the race stored a plan"
        return theirs
    await audit(change)
    return plan
