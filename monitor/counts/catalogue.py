"""Which generation a version is in now: what the registry says of it, asked now and then and kept in between.

Enters: two functions that read the registry, and the time. Leaves: generations. A reference that is built later, or built
again, is seen within `refresh_us`. Where the registry is unavailable the last word counts; for a version never heard of
`Unavailable` is passed on, so that nothing is counted before it is known how.

Bound: `versions_max` versions are kept; when full, all are asked again.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from contracts.errors import InvalidInput, Unavailable
from contracts.metadata import ModelMetadata
from contracts.reference import Reference
from monitor.counts.generation import Generation, definition_of, generation_of

REFRESH_US: Final = 5_000_000
VERSIONS_MAX: Final = 256

T = TypeVar("T")

ReferenceOf = Callable[[str, str], Reference | None]
MetadataOf = Callable[[str, str], ModelMetadata | None]


class _Kept(NamedTuple):
    generation: Generation
    asked_us: int


class Catalogue:
    """The generations of all versions. One whose reference or metadata cannot be used is counted without."""

    def __init__(
        self,
        reference_of: ReferenceOf,
        metadata_of: MetadataOf,
        *,
        refresh_us: int = REFRESH_US,
        versions_max: int = VERSIONS_MAX,
    ) -> None:
        self._rejected: Counter[tuple[str, str]] = Counter()
        self._reference_of = reference_of
        self._metadata_of = metadata_of
        self._refresh_us = refresh_us
        self._versions_max = versions_max
        self._kept: dict[tuple[str, str, str], _Kept] = {}

    def generation(self, model: str, version: str, digest: str, now_us: int) -> Generation:
        """How records of this version are counted now. Raises Unavailable for an unknown version while the registry is."""
        key = model, version, digest
        kept = self._kept.get(key)
        if kept is not None and 0 <= now_us - kept.asked_us < self._refresh_us:  # the time of day may be set back
            return kept.generation
        try:
            definition = definition_of(
                self._usable(self._reference_of, model, version), self._usable(self._metadata_of, model, version)
            )
        except Unavailable:
            if kept is None:
                raise
            definition = kept.generation.definition
        same = kept is not None and kept.generation.definition == definition
        generation = kept.generation if kept and same else generation_of(model, version, digest, definition)
        if len(self._kept) >= self._versions_max and kept is None:
            self._kept.clear()
        self._kept[key] = _Kept(generation, now_us)
        return generation

    def take_rejected(self) -> Counter[tuple[str, str]]:
        """How often references and metadata were refused since this was last asked, by (model, version)."""
        rejected, self._rejected = self._rejected, Counter()
        return rejected

    def _usable(self, read: Callable[[str, str], T | None], model: str, version: str) -> T | None:
        try:
            return read(model, version)
        except InvalidInput:
            self._rejected[model, version] += 1
            return None
