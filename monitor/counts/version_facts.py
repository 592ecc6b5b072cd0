"""What the registry knows of versions, for the tick: a tick runs in a thread and waits, a registry answers on the loop.

Enters: names. Leaves: references and metadata; none where the registry does not know the version any more. What the
registry refuses (`ModelRejected`) is `InvalidInput` here: counting goes on without it.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from contracts.errors import InvalidInput, ModelRejected, NotFound, RegistryUnavailable
from contracts.metadata import ModelMetadata
from contracts.reference import Reference
from registry_client.registry import RegistryClient

Answer = TypeVar("Answer")


class VersionFacts:
    """Blocking questions to a registry; never asked from the loop's own thread. Each waits at most `timeout_seconds`."""

    def __init__(self, registry: RegistryClient, loop: asyncio.AbstractEventLoop, timeout_seconds: float) -> None:
        self._registry = registry
        self._loop = loop
        self._timeout_seconds = timeout_seconds

    def reference(self, model: str, version: str) -> Reference | None:
        """The reference of a version. Raises InvalidInput where it cannot be used, RegistryUnavailable for now."""
        return self._asked(self._registry.reference(model, version))

    def metadata(self, model: str, version: str) -> ModelMetadata | None:
        """What `model.json` says of a version. Raises as `reference` does."""
        fetched = self._asked(self._registry.fetch(model, version))
        return None if fetched is None else fetched.metadata

    def _asked(self, question: Coroutine[Any, Any, Answer]) -> Answer | None:
        asked = asyncio.run_coroutine_threadsafe(question, self._loop)
        try:
            return asked.result(self._timeout_seconds)
        except NotFound:
            return None
        except ModelRejected as error:
            raise InvalidInput(str(error)) from error
        except TimeoutError:
            asked.cancel()
            raise RegistryUnavailable(f"the registry did not answer within {self._timeout_seconds:g} s") from None
