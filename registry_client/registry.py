"""The seam to a model registry: which models, versions and aliases there are, and a version's files on our own disk.

The gateway polls this; whatever stands behind it may be away at any time. Nothing here moves an alias.
"""

from pathlib import Path
from typing import Protocol

import msgspec

from contracts.metadata import ModelMetadata
from contracts.reference import Reference


class FetchedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version whose files lie in `path`: a private folder that holds `model.onnx` and nobody else writes.

    `digest` is the sha256, in hex, of the JSON list of `[path, bytes, sha256]` of all files in the order of their paths;
    `reference.json` is not among them: it may be built later and carries a hash of its own. `created_us` is when
    `model.onnx` was written, in microseconds since the epoch, UTC.
    """

    model: str
    version: str
    digest: str
    path: Path
    metadata: ModelMetadata
    created_us: int


class RegistryClient(Protocol):
    """What the gateway asks of any registry. Cheap enough to be asked every few seconds.

    Each may raise `RegistryUnavailable` (ask again later), `NotFound` (no such model or version) and `ModelRejected`
    (what is there must not be used; the message says why).
    """

    async def models(self) -> list[str]:
        """The names of all models, sorted."""
        ...

    async def pointers(self, model: str) -> dict[str, str]:
        """The aliases of a model: alias to version. The version need not exist."""
        ...

    async def versions(self, model: str) -> list[str]:
        """The versions of a model from oldest to newest: numbers in numeric order, then other names in text order."""
        ...

    async def fetch(self, model: str, version: str, digest: str | None = None) -> FetchedVersion:
        """The files of a version; asking again costs little while they do not change.

        With `digest` exactly those files, from the cache if they were ever fetched, whatever the registry holds by now.
        Without it the registry's present files, or the last fetched ones while the registry does not have them.
        """
        ...

    async def reference(self, model: str, version: str) -> Reference | None:
        """The reference of a version, None where it has none; the last known one while the registry is away.

        Raises ModelRejected where `reference.json` is not the reference of this version.
        """
        ...

    def poll_after(self, seconds: float) -> float:
        """In how many seconds to ask again where `seconds` are wished, 0 for what suits this registry."""
        ...

    async def aclose(self) -> None:
        """Let go of whatever is open."""
        ...
