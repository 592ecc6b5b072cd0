"""A registry that is an MLflow server, of MLflow 2.22 and newer; without MLflow's own package.

Enters: questions to the server. Leaves: models, aliases and versions as it tells them, and private copies of files in the
same cache that a folder registry fills. MLflow keeps no digests and gives the number of a deleted version out again, so a
version is its name, number and the digest of its files, and its origin (when it was created, and from what) tells whether a
number still means the same files. While the server is away, or a version is gone, the last fetched files are given. Never
writes to the registry.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeVar

from contracts.errors import ModelRejected, NotFound, RegistryUnavailable
from contracts.metadata import ModelMetadata
from contracts.reference import Reference
from registry_client.cache import Known, VersionCache
from registry_client.documents import decode_reference
from registry_client.limits import Limits
from registry_client.mlflow_answers import Run, Version
from registry_client.mlflow_files import REFERENCE, download, fetch_document, list_folder, shelf_of
from registry_client.mlflow_metadata import merged, metadata_said
from registry_client.mlflow_questions import PAGE_ENTRIES, MlflowQuestions
from registry_client.mlflow_rest import MlflowRest
from registry_client.mlflow_watch import Watch
from registry_client.names import is_name, version_order
from registry_client.registry import FetchedVersion
from registry_client.vetting import GRAPH, read_metadata

POLL_SECONDS: Final = 10.0
POLL_SECONDS_MAX: Final = 300.0
JITTER: Final = 0.2
FACTS_SECONDS: Final = 10.0
"""What was asked of a version is not asked again within this time: gateway and monitor ask often."""
REFERENCE_SECONDS: Final = 60.0
REJECTED_SECONDS: Final = 600.0
"""A version that was rejected is not fetched again within this time: what was wrong may have been the server's settings."""
CLAIM_SECONDS: Final = 0.2
STAGES: Final = ("Production", "Staging")
NAME_RULE: Final = "a name is 1 to 128 letters, digits or '._-', no '._-' first, and an alias is no number"

T = TypeVar("T")


class Facts(NamedTuple):
    """What the server says of a version, and when it was asked, in seconds that never go back."""

    version: Version
    run: Run | None
    metadata: ModelMetadata
    asked: float

    @property
    def origin(self) -> str:
        """What tells this version from another one that once had or will have its number."""
        return f"{self.version.creation_timestamp} {self.version.source or ''}"


class Rejected(NamedTuple):
    """Why the version of an origin was rejected, and until when that is not asked again."""

    origin: str
    reason: str
    until: float


class MlflowRegistry:
    """A `RegistryClient` over an MLflow server.

    `cache` is one that keeps this server apart from other registries. `clock` gives seconds that never go back, `draw`
    numbers in [0, 1) for the jitter of polls. `page_entries` is how many models or versions one answer may hold. What is
    remembered is bounded by `limits.entries_max`; the oldest makes room.
    """

    def __init__(
        self,
        rest: MlflowRest,
        cache: VersionCache,
        limits: Limits,
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        page_entries: int = PAGE_ENTRIES,
    ) -> None:
        self._rest = rest
        self._cache = cache
        self._limits = limits
        self._clock = clock
        self._draw = draw
        self._questions = MlflowQuestions(rest, limits, page_entries)
        self._watch = Watch(rest.server, limits.entries_max)
        self._facts: dict[tuple[str, str], Facts] = {}
        self._rejected: dict[tuple[str, str], Rejected] = {}
        self._references: dict[tuple[str, str], tuple[float, Reference | None]] = {}

    async def models(self) -> list[str]:
        """The names of all models, sorted; those whose names cannot stand in an address are passed over, with a warning."""
        names = await self._questions.model_names()
        for name in names:
            if not is_name(name):
                self._watch.once(f"the model {name[:80]!r} is passed over: {NAME_RULE}")
        models = sorted({name for name in names if is_name(name)})
        self._watch.saw_models(models)
        return models

    async def pointers(self, model: str) -> dict[str, str]:
        """The aliases of a model, and `stage:Production` and `stage:Staging` where versions are in these stages of old."""
        _check_names((model,))
        said = await self._questions.model(model)
        aliases = {one.alias: one.version for one in said.aliases}
        if len(aliases) < len(said.aliases):
            raise RegistryUnavailable(
                f"{self._rest.server} gives an alias of {model} twice: nobody can say which is meant"
            )
        for alias, version in aliases.items():
            if not is_name(alias) or alias.isdigit() or not is_name(version):
                self._watch.once(
                    f"alias {alias[:80]!r} of {model} at version {version[:80]!r} is passed over: {NAME_RULE}"
                )
        pointers = {
            alias: version
            for alias, version in aliases.items()
            if is_name(alias) and not alias.isdigit() and is_name(version)
        }
        for one in said.latest_versions:
            if one.current_stage in STAGES and is_name(one.version):
                pointers[f"stage:{one.current_stage}"] = one.version
                self._watch.once(
                    f"{model} uses stages, which MLflow gave up: they are shown, and followed by nobody; set aliases"
                )
        self._watch.saw_pointers(model, pointers)
        return pointers

    async def versions(self, model: str) -> list[str]:
        """The versions of a model that are ready, from oldest to newest."""
        _check_names((model,))
        ready = await self._questions.ready_versions(model)
        found = sorted({version for version in ready if is_name(version)}, key=version_order)
        self._watch.saw_versions(model, found)
        return found

    async def fetch(self, model: str, version: str, digest: str | None = None) -> FetchedVersion:
        """The files of a version; see `RegistryClient.fetch`."""
        _check_names((model, version))
        if digest is not None:
            pinned = await self._cached(model, version, digest)
            if pinned is not None:
                return pinned
        try:
            fetched = await self._present(model, version)
        except (RegistryUnavailable, NotFound) as error:
            last = await self._last_known(model, version)
            if last is None:
                raise
            if isinstance(error, NotFound):
                self._watch.once(f"{error}; the files that were fetched last go on serving")
            fetched = last
        if digest not in {None, fetched.digest}:
            raise ModelRejected(
                f"{model} version {version}: digest {digest} is asked for, but its files have {fetched.digest} and the "
                "cache does not hold the others: a model that was deleted and made again has new files under old numbers; "
                "register the old ones as a new version"
            )
        return fetched

    async def reference(self, model: str, version: str) -> Reference | None:
        """The `reference.json` among the files of a version, None where there is none; the last one while it cannot be read.

        Raises ModelRejected where it is not the reference of this version.
        """
        _check_names((model, version))
        kept = self._references.get((model, version))
        if kept is not None and self._clock() - kept[0] < REFERENCE_SECONDS:
            return kept[1]
        try:
            content = await self._reference_file(model, version)
        except (RegistryUnavailable, NotFound):
            content = await self._on_disk(self._cache.remembered_reference, model, version)
            if content is None:
                raise
        else:
            await self._on_disk(self._cache.remember_reference, model, version, content)
        reference = None if content is None else decode_reference(content, model, version)
        self._keep(self._references, (model, version), (self._clock(), reference))
        return reference

    def poll_after(self, seconds: float) -> float:
        """When to ask again: after `seconds` (0: 10), a fifth more or less; twice as long for each time it was away, at most
        five minutes.
        """
        wanted = (seconds or POLL_SECONDS) * 2.0 ** min(self._rest.failures, 16)
        return min(wanted, max(POLL_SECONDS_MAX, seconds)) * (1 + JITTER * (2 * self._draw() - 1))

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._rest.aclose()

    async def _present(self, model: str, version: str) -> FetchedVersion:
        """The files that the server has now, from the cache where they were fetched before."""
        facts = await self._ask_facts(model, version)
        rejected = self._rejected.get((model, version))
        if rejected is not None and rejected.origin == facts.origin and self._clock() < rejected.until:
            raise ModelRejected(rejected.reason)
        async with self._claimed(model, version):
            known = await self._on_disk(self._cache.remembered, model, version)
            digest = known.digest if known is not None and known.origin == facts.origin else None
            if digest is None or await self._on_disk(self._cache.recall, digest) is None:
                digest = await self._download(model, version, facts)
                if known is not None and known.digest != digest:
                    self._watch.once(f"version {version} of {model} was made again: {known.digest} is {digest} now")
            now = Known(digest=digest, origin=facts.origin, metadata=facts.metadata)
            if known != now:
                await self._on_disk(self._cache.remember, model, version, now)
        fetched = await self._cached(model, version, digest)
        if fetched is None:
            raise RegistryUnavailable(
                f"{model} version {version} was pushed out of the cache by others at once: try again"
            )
        return fetched

    async def _download(self, model: str, version: str, facts: Facts) -> str:
        """Fetch files and give their digest; a rejection is remembered, so that they are not fetched again for it."""
        try:
            place = await self._questions.address(model, version)
            with ExitStack() as owned:
                folder = await self._on_disk(owned.enter_context, self._cache.draft())
                try:
                    shelf = await shelf_of(self._rest, facts.version, place)
                    await download(self._rest, shelf, self._limits, folder)
                    created_ns = facts.version.creation_timestamp * 10**6
                    if (folder / GRAPH).exists():
                        os.utime(folder / GRAPH, ns=(created_ns, created_ns))
                    return await self._on_disk(self._cache.take_in, folder)
                finally:
                    await asyncio.to_thread(owned.close)
        except ModelRejected as error:
            reason, until = f"{model} version {version}: {error}", self._clock() + REJECTED_SECONDS
            self._keep(self._rejected, (model, version), Rejected(facts.origin, reason, until))
            raise ModelRejected(reason) from None
        except OSError as error:
            raise RegistryUnavailable(f"{model} version {version} cannot be cached: {error.strerror}") from error

    async def _ask_facts(self, model: str, version: str) -> Facts:
        kept = self._facts.get((model, version))
        if kept is not None and self._clock() - kept.asked < FACTS_SECONDS:
            return kept
        asked = self._clock()
        said = await self._questions.version(model, version)
        try:
            run = await self._ask_run(said, kept)
            metadata = metadata_said(said, await self._questions.model(model), run)
        except ModelRejected as error:
            raise ModelRejected(f"{model} version {version}: {error}") from None
        facts = Facts(said, run, metadata, asked)
        self._keep(self._facts, (model, version), facts)
        return facts

    async def _ask_run(self, said: Version, kept: Facts | None) -> Run | None:
        """The run behind a version. One that is over says the same for ever; one that cannot be had says nothing, because a
        version serves without it.
        """
        if not said.run_id:
            return None
        if kept is not None and kept.run is not None and kept.version.run_id == said.run_id and kept.run.is_over:
            return kept.run
        try:
            return await self._questions.run(said.run_id)
        except (NotFound, RegistryUnavailable) as error:
            self._watch.once(f"the run of version {said.version} of {said.name} is not known: {error}")
            return None

    async def _reference_file(self, model: str, version: str) -> bytes | None:
        facts = await self._ask_facts(model, version)
        shelf = await shelf_of(self._rest, facts.version, await self._questions.address(model, version))
        for entry in await list_folder(self._rest, shelf, ""):
            if entry.path.rpartition("/")[2] == REFERENCE and not entry.is_dir and entry.file_size is not None:
                return await fetch_document(self._rest, shelf, REFERENCE, entry.file_size)
        return None

    async def _last_known(self, model: str, version: str) -> FetchedVersion | None:
        known = await self._on_disk(self._cache.remembered, model, version)
        return None if known is None else await self._cached(model, version, known.digest)

    async def _cached(self, model: str, version: str, digest: str) -> FetchedVersion | None:
        return await self._on_disk(self._read_cached, model, version, digest)

    def _read_cached(self, model: str, version: str, digest: str) -> FetchedVersion | None:
        path = self._cache.recall(digest)
        if path is None:
            return None
        known = self._cache.remembered(model, version)
        said = known.metadata if known is not None and known.digest == digest else None
        return FetchedVersion(
            model=model,
            version=version,
            digest=digest,
            path=path,
            metadata=merged(read_metadata(path), said),
            created_us=(path / GRAPH).stat().st_mtime_ns // 1000,
        )

    @asynccontextmanager
    async def _claimed(self, model: str, version: str) -> AsyncIterator[None]:
        """The right to fetch a version: workers that want the same one fetch it once, and the others wait for that."""
        while (claim := await self._on_disk(self._cache.claim, model, version)) is None:  # noqa: ASYNC110
            await asyncio.sleep(CLAIM_SECONDS)  # whoever has it may be another process
        try:
            yield
        finally:
            os.close(claim)

    async def _on_disk(self, work: Callable[..., T], *arguments: Any) -> T:
        """Work on the cache in a thread; trouble of the disk is RegistryUnavailable."""
        try:
            return await asyncio.to_thread(work, *arguments)
        except OSError as error:
            raise RegistryUnavailable(f"the cache of model files fails: {error.strerror or error}") from error

    def _keep(self, known: dict[tuple[str, str], T], key: tuple[str, str], value: T) -> None:
        known[key] = value
        while len(known) > self._limits.entries_max:
            del known[next(iter(known))]


def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not is_name(name):
            raise NotFound(f"{name[:80]!r} names nothing: {NAME_RULE}")
