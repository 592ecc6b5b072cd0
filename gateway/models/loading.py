"""Which versions this worker has loaded: loads on wish, each once at a time, and lets go of what nobody wants.

Enters: a model, a version and the digest that a plan holds. Leaves: a runner: session and queues. A request that still
runs on a version that was let go keeps it alive until it is done. Never decides which versions are wanted.

Bound: a plan names at most 16 challengers, a champion and 4 warm versions; `gateway.traffic.plans` bounds the aliases.
"""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet

from contracts.errors import RegistryUnavailable
from contracts.plan import VersionRef
from gateway.models.serving import Runner
from gateway.models.sessions import Session
from gateway.models.version_states import VersionStates
from registry_client.cache import mark_used
from registry_client.registry import FetchedVersion, RegistryClient

LOADS_AT_ONCE_MAX = 2
"""Loading takes a core; more at once would only slow the answers down."""


class Loaded:
    """The loaded versions of one worker; `states` says what became of the others that it tried."""

    def __init__(
        self,
        registry: RegistryClient,
        load: Callable[[FetchedVersion], Awaitable[Session]],
        runner_of: Callable[[Session], Runner],
        states: VersionStates,
    ) -> None:
        self.states = states
        self._registry = registry
        self._load = load
        self._runner_of = runner_of
        self._runners: dict[tuple[str, VersionRef], Runner] = {}
        self._loading: dict[tuple[str, VersionRef], asyncio.Task[Runner]] = {}
        self._slots = asyncio.Semaphore(LOADS_AT_ONCE_MAX)

    async def newest(self, model: str, version: str) -> VersionRef:
        """A version with the digest that the registry's files have now, proven by loading it; raises as `runner` does."""
        with self.states.trying(model, version):
            fetched = await self._fetched(model, version)
            ref = VersionRef(version=version, digest=fetched.digest)
            await self.runner(model, ref)
        return ref

    async def runner(self, model: str, ref: VersionRef) -> Runner:
        """The runner of a version, loaded now if need be; raises what the registry or the loading says."""
        key = (model, ref)
        if (runner := self._runners.get(key)) is not None:
            return runner
        task = self._loading.get(key)
        if task is None:
            task = self._loading[key] = asyncio.create_task(self._fetch_and_load(model, ref))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)

    def keep(self, model: str, wanted: AbstractSet[VersionRef]) -> None:
        """Let go of every version of a model that is not wanted."""
        for key in [key for key in self._runners if key[0] == model and key[1] not in wanted]:
            del self._runners[key]

    def mark_used(self) -> None:
        """Tell the cache which versions are in use: who was fetched long ago may be the champion, which has to start without
        the registry, too. Blocks on the disk; raises `RegistryUnavailable` where that does not take it.
        """
        try:
            for runner in list(self._runners.values()):
                mark_used(runner.session.fetched.path)
        except OSError as error:
            raise RegistryUnavailable(f"the cache cannot note what is in use: {error}; see to its disk") from error

    async def _fetched(self, model: str, version: str, digest: str | None = None) -> FetchedVersion:
        try:
            return await self._registry.fetch(model, version, digest)
        except OSError as error:  # a disk that does not take one version keeps no other from serving
            raise RegistryUnavailable(f"{model} version {version}: its files cannot be kept: {error}") from error

    async def _fetch_and_load(self, model: str, ref: VersionRef) -> Runner:
        with self.states.trying(model, ref.version):
            async with self._slots:
                fetched = await self._fetched(model, ref.version, ref.digest)
                runner = self._runner_of(await self._load(fetched))
        self._runners[model, ref] = runner
        return runner
