"""What is registered, loaded and routed, model by model and version by version.

Enters: the registry, the plan store, the workers' statuses, and what the admin API itself had to reject. Leaves: rows. A
registry or a store that is away makes a warning, not an error: what is loaded is known without them. Never tries a version.
"""

import asyncio
from collections.abc import Sequence

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable, StoreUnavailable
from contracts.plan import Plan
from gateway.admin.bodies import ModelRow, Versions
from gateway.admin.version_rows import version_rows
from gateway.fleet.worker_status import WorkerStatus
from gateway.models.version_states import VersionStates
from gateway.plan_store.store import PlanStore
from registry_client.registry import RegistryClient


async def model_rows(
    registry: RegistryClient, store: PlanStore, workers: Sequence[WorkerStatus], own: VersionStates
) -> tuple[tuple[ModelRow, ...], tuple[str, ...]]:
    """A row for every model that is registered, loaded or routed, by name; and what could not be asked."""
    try:
        registered, warnings = await registry.models(), []
    except RegistryUnavailable as error:
        registered, warnings = [], [str(error)]
    names = sorted({*registered, *(model for w in workers for model in (*w.applied, *w.loaded))})
    found = await asyncio.gather(*(_row(registry, store, workers, own, name) for name in names))
    return tuple(row for row, _ in found), (*warnings, *(text for _, text in found if text))


async def versions_of(
    registry: RegistryClient, store: PlanStore, workers: Sequence[WorkerStatus], own: VersionStates, model: str
) -> Versions:
    """How each version of one model stands; raises NotFound where nobody knows the model, RegistryUnavailable
    where nobody can say.
    """
    row, warning = await _row(registry, store, workers, own, model)
    if not row.states and row.plan is None:
        await registry.versions(model)
    return Versions(model=model, versions=row.states, warnings=(warning,) if warning else ())


async def _row(
    registry: RegistryClient, store: PlanStore, workers: Sequence[WorkerStatus], own: VersionStates, model: str
) -> tuple[ModelRow, str]:
    warning, versions, aliases = "", list[str](), dict[str, str]()
    plan: Plan | None = None
    try:
        versions, aliases = await registry.versions(model), await registry.pointers(model)
    except (NotFound, RegistryUnavailable, ModelRejected) as error:
        warning = f"{model}: {error}"
    try:
        plan = await store.read(model)
    except StoreUnavailable as error:
        warning = f"{model}: its plan is not known: {error}"
    row = ModelRow(
        model=model,
        versions=tuple(versions),
        states=version_rows(model, versions, plan, workers, own.of(model)),
        aliases=aliases,
        loaded={w.name: tuple(w.loaded[model]) for w in workers if model in w.loaded},
        plan=plan,
    )
    return row, warning
