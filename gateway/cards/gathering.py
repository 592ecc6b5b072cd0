"""Asks whoever knows something of a version for their part of its card.

Enters: a model and a version. Leaves: the card as the gateway knows it; a source that is away makes a gap, not an error.
Never asks the monitor, never loads a model into this process: what a version takes and gives, a child process tells.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from contracts.card import Card, CardFiles
from contracts.errors import ModelRejected, NotFound, PointsmanError, RegistryUnavailable, StoreUnavailable
from contracts.signature import Signature
from gateway.cards.assembly import CHANGES_READ_MAX, Parts, Unknown, card_of, is_empty
from gateway.fleet.seam import Fleet
from gateway.models.version_states import VersionStates
from gateway.plan_store.store import GATES_MAX, PlanStore
from registry_client.registry import FetchedVersion, RegistryClient

T = TypeVar("T")

ReadSignature = Callable[[FetchedVersion], Awaitable[Signature | None]]


class CardSources(NamedTuple):
    """Whoever knows something. `signature` raises `ModelRejected` where the version cannot be served; `states`
    remembers where its files are rejected.
    """

    registry: RegistryClient
    store: PlanStore
    fleet: Fleet
    signature: ReadSignature
    states: VersionStates
    now_us: Callable[[], int]
    release: str


async def gather_card(sources: CardSources, model: str, version: str) -> Card:
    """The card of a version; `NotFound` where nobody knows of one, `RegistryUnavailable` or `StoreUnavailable` where those
    who could are away.
    """
    registry, store, fleet = sources.registry, sources.store, sources.fleet
    ((files, signature), reference, aliases), (plan, changes, gates), (verdicts, seen) = await asyncio.gather(
        asyncio.gather(
            _files(sources, model, version),
            _asked(registry.reference(model, version)),
            _asked(registry.pointers(model)),
        ),
        asyncio.gather(
            _asked(store.read(model)),
            _asked(store.history(model, CHANGES_READ_MAX)),
            _asked(store.gates(model, GATES_MAX)),
        ),
        asyncio.gather(_asked(fleet.verdicts(model)), _asked(fleet.workers())),
    )
    parts = Parts(model, version, files, signature, reference, aliases, plan, changes, gates, verdicts, seen)
    card = card_of(parts, sources.now_us(), sources.release)
    if is_empty(card) and isinstance(files, Unknown) and files.cause != "refused":
        away = next((part for part in (plan, changes, gates) if isinstance(part, Unknown)), None)
        raise _nobody(files, away)
    return card


def _nobody(files: Unknown, away: Unknown | None) -> PointsmanError:
    """Why there is no card at all."""
    if away is not None:
        return StoreUnavailable(away.reason)
    return NotFound(files.reason) if files.cause == "absent" else RegistryUnavailable(files.reason)


async def _files(sources: CardSources, model: str, version: str) -> tuple[CardFiles | Unknown, Signature | Unknown]:
    """The files, and what they are served by."""
    fetched = await _asked(_fetched(sources, model, version))
    if isinstance(fetched, Unknown):
        return fetched, Unknown("the files are not known")
    try:
        files: CardFiles | Unknown = await asyncio.to_thread(_measured, fetched)
    except OSError as error:
        files = Unknown(f"the copy of the files cannot be read: {error.strerror}")
    signature = await _asked(sources.signature(fetched))
    return files, Unknown("it is too long to be told") if signature is None else signature


async def _fetched(sources: CardSources, model: str, version: str) -> FetchedVersion:
    with sources.states.fetching(model, version):
        return await sources.registry.fetch(model, version)


def _measured(fetched: FetchedVersion) -> CardFiles:
    sizes = [path.stat().st_size for path in Path(fetched.path).rglob("*") if path.is_file()]
    return CardFiles(
        digest=fetched.digest,
        created_us=fetched.created_us,
        files=len(sizes),
        bytes=sum(sizes),
        metadata=fetched.metadata,
    )


async def _asked(question: Awaitable[T]) -> T | Unknown:
    try:
        return await question
    except NotFound as error:
        return Unknown(str(error), "absent")
    except ModelRejected as error:
        return Unknown(str(error), "refused")
    except (RegistryUnavailable, StoreUnavailable) as error:
        return Unknown(str(error))
