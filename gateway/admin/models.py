"""What is registered, loaded and routed, model by model.

Enters: the registry, the plan store and the workers' statuses. Leaves: one row a model. A registry or a store that is away
makes a warning, not an error: what is loaded is known without them.
"""

import asyncio
from collections.abc import Sequence

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable, StoreUnavailable
from contracts.plan import Plan
from gateway.admin.bodies import ModelRow
from gateway.fleet.worker_status import WorkerStatus
from gateway.plan_store.store import PlanStore
from registry_client.registry import RegistryClient


async def model_rows(
    registry: RegistryClient, store: PlanStore, workers: Sequence[WorkerStatus]
) -> tuple[tuple[ModelRow, ...], tuple[str, ...]]:
    """A row for every model that is registered, loaded or routed, by name; and what could not be asked."""
    try:
        registered, warnings = await registry.models(), []
    except RegistryUnavailable as error:
        registered, warnings = [], [str(error)]
    names = sorted({*registered, *(model for w in workers for model in (*w.applied, *w.loaded))})
    found = await asyncio.gather(*(_row(registry, store, workers, name) for name in names))
    return tuple(row for row, _ in found), (*warnings, *(text for _, text in found if text))


async def _row(
    registry: RegistryClient, store: PlanStore, workers: Sequence[WorkerStatus], model: str
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
        aliases=aliases,
        loaded={w.name: tuple(w.loaded[model]) for w in workers if model in w.loaded},
        plan=plan,
    )
    return row, warning
