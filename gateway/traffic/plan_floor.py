"""A plan store may lose changes (a failover to an older copy, a restored backup, FLUSHALL); workers may not follow it back.

Enters: what the store holds of a model, and the newest that is known to be applied. Leaves: nothing, or `StoreFellBack`.
Never writes: `pointsman traffic republish` brings the store above what runs, in the direction that a person chooses.

Ask what is applied before reading the store: a change in between is then ahead of it, never behind.
"""

from typing import NamedTuple

from contracts.errors import Conflict
from contracts.plan import Plan


class StoreFellBack(Conflict):
    """The store holds an older plan than the one that is applied, another one of its revision, or none at all."""


class Applied(NamedTuple):
    """The newest plan known to be applied: its revision (0: none), by whom, and the plan itself where it is at hand."""

    revision: int = 0
    who: str = ""
    plan: Plan | None = None


NOTHING = Applied()


def check_floor(model: str, stored: Plan | None, applied: Applied) -> None:
    """Raise `StoreFellBack` where the store is behind what is applied."""
    held = 0 if stored is None else stored.revision
    same = held == applied.revision and applied.plan is not None and stored != applied.plan and stored is not None
    if held >= applied.revision and not same:
        return
    if same:
        what = f"holds another revision {held} of {model!r} than {applied.who} runs"
    else:
        found = f"revision {held}" if held else "no plan"
        what = f"holds {found} of {model!r}, though {applied.who} runs revision {applied.revision}"
    raise StoreFellBack(
        f"the plan store {what}: it lost changes, and nobody follows it back. "
        f"Restore the store, or settle it: `pointsman traffic republish {model}` writes what runs as a newer revision, "
        "with --stored what the store holds"
    )
