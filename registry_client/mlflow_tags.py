"""Writes tags to a version at an MLflow server: the one thing that is ever written to a registry, and only when asked.

Enters: a model, a version, tags. Leaves: the tags at the server, one after the other; what a refused one says. Tags are for
people and pipelines to read: whoever may edit the model may set them, so nothing here ever takes them for evidence.
"""

from collections.abc import Mapping
from typing import Final

from registry_client.mlflow_rest import MlflowRest

SET_TAG: Final = "model-versions/set-tag"


class MlflowTags:
    """Tags of versions at one server. Close it after use."""

    def __init__(self, rest: MlflowRest) -> None:
        self._rest = rest

    async def write(self, model: str, version: str, tags: Mapping[str, str]) -> None:
        """Set these tags, the others stay. Raises RegistryUnavailable, and what the server refuses: then those before the
        one that the error names are set.
        """
        for key, value in tags.items():
            said = {"name": model, "version": version, "key": key, "value": value}
            await self._rest.tell(SET_TAG, said, f"the tag {key} of {model} version {version}")

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._rest.aclose()
