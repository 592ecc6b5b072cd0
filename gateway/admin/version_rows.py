"""How each version of a model stands, from what everybody says of it.

Enters: the registered versions, the plan, the workers' statuses, and what the admin API had to reject. Leaves: one row a
version, oldest to newest. A version that some worker has loaded stands so, whatever others say: their reason is kept beside
it. Pure; never asks anybody.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from contracts.plan import Plan, VersionRef
from contracts.version_state import VersionState
from gateway.admin.bodies import VersionRow
from gateway.fleet.worker_status import WorkerStatus
from registry_client.names import version_order

ADMIN = "admin"


def version_rows(
    model: str,
    registered: Sequence[str],
    plan: Plan | None,
    workers: Sequence[WorkerStatus],
    own: Mapping[str, VersionState],
) -> tuple[VersionRow, ...]:
    """A row for every version that is registered or loaded, or in the plan and tried; `own` is what the admin API says."""
    routed = _routed(plan)
    loaded: dict[str, list[str]] = {}
    serving: dict[str, list[str]] = {}
    said: dict[str, list[tuple[str, VersionState]]] = {}
    for worker in workers:
        for ref in worker.loaded.get(model, ()):
            (serving if ref in routed else loaded).setdefault(ref.version, []).append(worker.name)
        for state in worker.versions.get(model, ()):
            said.setdefault(state.version, []).append((worker.name, state))
    for state in own.values():
        said.setdefault(state.version, []).append((ADMIN, state))
    known = {*registered, *loaded, *serving, *(ref.version for ref in routed if ref.version in said)}
    return tuple(
        _row(version, serving.get(version, []), loaded.get(version, []), said.get(version, []))
        for version in sorted(known, key=version_order)
    )


def _row(version: str, serving: list[str], loaded: list[str], said: list[tuple[str, VersionState]]) -> VersionRow:
    rejected = [(name, state) for name, state in said if state.state == "rejected"]
    if serving or loaded:
        row = VersionRow(version=version, state="serving" if serving else "loaded", by=tuple(serving or loaded))
        return replace(row, **_first(rejected)) if rejected else row
    if not said:
        return VersionRow(version=version, state="available")
    about = rejected or said
    names = tuple(dict.fromkeys(name for name, _ in about))
    row = VersionRow(version=version, state="rejected" if rejected else "loading", by=names)
    return replace(row, **_first(about))


def _first(said: list[tuple[str, VersionState]]) -> dict[str, str | int]:
    """Reason and time of whoever found it first."""
    first = min((state for _, state in said), key=lambda state: state.since_us)
    return {"reason": first.reason, "since_us": first.since_us}


def _routed(plan: Plan | None) -> frozenset[VersionRef]:
    if plan is None:
        return frozenset()
    return frozenset({plan.champion, *(VersionRef(version=c.version, digest=c.digest) for c in plan.challengers)})
