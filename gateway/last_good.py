"""The last good plan of each model on local disk: what serves when the plan store is away.

Enters: plans that were applied. Leaves: the same plans, after a restart. Written by atomic rename, so a reader finds one
whole plan; a file that is not one is as good as none, and is said so. Never decides which plan is newer.
"""

import logging
import os
from pathlib import Path

from contracts.errors import InvalidRecord
from contracts.plan import Plan
from contracts.wire import decode, encode
from registry_client.names import is_name


class LastGood:
    """The folder of last good plans, shared by the workers of a host."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, plan: Plan) -> None:
        """Keep a plan that was applied."""
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / f".{plan.model}.{os.getpid()}.part"
        part.write_bytes(encode(plan))
        part.replace(self._folder / f"{plan.model}.json")

    def load(self, model: str) -> Plan | None:
        """The plan of a model that was applied last, if any."""
        path = self._folder / f"{model}.json"
        try:
            return decode(Plan, path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, InvalidRecord) as error:
            logging.getLogger("pointsman.gateway").warning("last good plan %s cannot be used: %s", path, error)
            return None

    def models(self) -> list[str]:
        """The models that have a last good plan."""
        return sorted(path.stem for path in self._folder.glob("*.json") if is_name(path.stem))
