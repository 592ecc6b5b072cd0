"""The two versions of a gate: the candidate, and the champion it is held against, both loaded.

Enters: a registry, a model, the candidate's version, and who the champion is by name, by the running gateway's plan
or by the registry's alias. Leaves: two sessions, or one where there is no champion. Never changes a plan or a registry.
"""

from typing import NamedTuple

from contracts.errors import InvalidInput, NotFound
from contracts.plan import CHAMPION, VersionRef
from gateway.models.sessions import Session, load_session
from pointsman.admin_client import AdminClient
from registry_client.registry import RegistryClient


class Pair(NamedTuple):
    """The candidate and the champion; `chosen` says in words who chose the champion."""

    candidate: Session
    baseline: Session | None
    chosen: str


async def load_pair(
    registry: RegistryClient, model: str, version: str, baseline: str | None, gateway: AdminClient | None
) -> Pair:
    """Both versions, loaded and tried; the registry copies their files into its cache first.

    Raises what the registry, the session and the gateway raise, and `InvalidInput` where the two cannot be compared.
    """
    candidate = await load_session(await registry.fetch(model, version))
    held, digest, chosen = await _champion(registry, model, baseline, gateway)
    if held is None:
        return Pair(candidate, None, chosen)
    champion = await load_session(await registry.fetch(model, held, digest))
    _check_tasks(candidate, champion)
    return Pair(candidate, champion, chosen)


def ref_of(session: Session) -> VersionRef:
    """A loaded version by name and digest."""
    return VersionRef(version=session.fetched.version, digest=session.fetched.digest)


async def _champion(
    registry: RegistryClient, model: str, named: str | None, gateway: AdminClient | None
) -> tuple[str | None, str | None, str]:
    """The champion's version, its digest where a plan pins it, and who says so."""
    if named is not None:
        return named, None, "named with --baseline"
    if gateway is not None:
        try:
            plan = await gateway.plan(model)
        except NotFound:
            pass  # a model that no worker serves yet has no plan
        else:
            return plan.champion.version, plan.champion.digest, f"the champion of revision {plan.revision}"
    pointed = (await registry.pointers(model)).get(CHAMPION)
    return pointed, None, "the registry's alias champion" if pointed else "there is no champion"


def _check_tasks(candidate: Session, champion: Session) -> None:
    """Thresholds may differ: each version decides by its own. What is predicted may not."""
    own, other = candidate.fetched.metadata.task, champion.fetched.metadata.task
    if own is None or other is None:
        return
    if (own.kind, own.classes, own.positive) != (other.kind, other.classes, other.positive):
        raise InvalidInput(
            f"version {candidate.fetched.version} is {own.kind} with classes {list(own.classes)} (positive "
            f"{own.positive}), version {champion.fetched.version} is {other.kind} with {list(other.classes)} "
            f"({other.positive}): they cannot be compared"
        )
