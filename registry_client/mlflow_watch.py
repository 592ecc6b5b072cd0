"""Notices what moved in a registry that keeps no history: aliases set, moved and removed, versions and models gone.

Enters: what the registry answered now. Leaves: a line in the log for each change since it was last asked; a warning where
something is gone that may be serving. Never decides what is served: what is gone serves on until somebody shifts traffic.

Bound: what was seen last of each model; `entries_max` models, the oldest makes room.
"""

import logging
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Watch:
    """What one registry said last, by model. `server` names it in the log."""

    def __init__(self, server: str, entries_max: int) -> None:
        self._server = server
        self._entries_max = entries_max
        self._models: frozenset[str] = frozenset()
        self._pointers: dict[str, dict[str, str]] = {}
        self._versions: dict[str, frozenset[str]] = {}
        self._said: dict[str, None] = {}
        self._logger = logging.getLogger("pointsman.registry")

    def saw_models(self, models: Sequence[str]) -> None:
        """Note which models there are."""
        for model in sorted(self._models.difference(models)):
            self._logger.warning("%s has no model %s any more: what serves goes on serving", self._server, model)
        self._models = frozenset(models)

    def saw_pointers(self, model: str, pointers: dict[str, str]) -> None:
        """Note which aliases a model has."""
        before = self._pointers.get(model)
        for alias in sorted(pointers.keys() | (before or {}).keys()) if before is not None else ():
            old, new = (before or {}).get(alias), pointers.get(alias)
            if new is None:
                self._logger.warning(
                    "%s: alias %s of %s, which was at version %s, is gone: what serves goes on serving",
                    self._server,
                    alias,
                    model,
                    old,
                )
            elif old != new:
                self._logger.info(
                    "%s: alias %s of %s is at version %s, was at %s", self._server, alias, model, new, old
                )
        self._keep(self._pointers, model, pointers)

    def saw_versions(self, model: str, versions: Sequence[str]) -> None:
        """Note which versions a model has."""
        for version in sorted(self._versions.get(model, frozenset()).difference(versions)):
            self._logger.warning(
                "%s: version %s of %s is gone: it stays in the cache, and where it serves it goes on",
                self._server,
                version,
                model,
            )
        self._keep(self._versions, model, frozenset(versions))

    def once(self, message: str) -> None:
        """Warn of something that will be so again at every poll, once."""
        if message not in self._said:
            self._logger.warning("%s: %s", self._server, message)
        self._keep(self._said, message, None)

    def _keep(self, known: dict[str, T], key: str, value: T) -> None:
        known[key] = value
        while len(known) > self._entries_max:
            del known[next(iter(known))]
