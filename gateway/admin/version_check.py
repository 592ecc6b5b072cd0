"""Proof that a version can be served, before any plan names it.

Enters: a model and a version. Leaves: the version with its digest, fetched and probed in a child process; its signature; or
`ModelRejected`, `NotFound` or `RegistryUnavailable` with the reason. Never touches a plan, never loads a model into
this process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from contracts.errors import ModelRejected
from contracts.plan import VersionRef
from contracts.signature import Signature
from gateway.models.version_states import VersionStates
from registry_client.registry import FetchedVersion, RegistryClient

Probe = Callable[[Path], Awaitable[Signature | None]]

PASSED_MAX = 1_000
"""Digests remembered as good, with their signatures; the oldest is forgotten first, and would only be probed once more."""


class VersionCheck:
    """A `CheckVersion`: fetches, and probes each digest once. `probe` raises `ModelRejected` for bad files; `states` keeps
    why.
    """

    def __init__(self, registry: RegistryClient, probe: Probe, states: VersionStates) -> None:
        self._registry = registry
        self._probe = probe
        self._states = states
        self._passed: dict[str, Signature | None] = {}
        # one probe at a time: each may take as much memory as a worker
        self._probing = asyncio.Lock()

    async def __call__(self, model: str, version: str) -> VersionRef:
        """The version, proven to load and to answer its own example."""
        with self._states.trying(model, version):
            fetched = await self._registry.fetch(model, version)
            await self.signature(fetched)
        return VersionRef(version=fetched.version, digest=fetched.digest)

    async def signature(self, fetched: FetchedVersion) -> Signature | None:
        """What a version is served by, proven as above; None where it is too long to be told."""
        with self._states.trying(fetched.model, fetched.version):
            return await self._probed(fetched)

    async def _probed(self, fetched: FetchedVersion) -> Signature | None:
        async with self._probing:
            if fetched.digest not in self._passed:
                try:
                    signature = await self._probe(fetched.path)
                except ModelRejected as error:
                    what = f"version {fetched.version} of {fetched.model!r}"
                    raise ModelRejected(f"{what} cannot be served: {error}") from error
                self._remember(fetched.digest, signature)
            return self._passed[fetched.digest]

    def _remember(self, digest: str, signature: Signature | None) -> None:
        if len(self._passed) >= PASSED_MAX:
            del self._passed[next(iter(self._passed))]
        self._passed[digest] = signature
