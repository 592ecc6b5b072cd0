"""What every plan store keeps its word about; `tests/gateway/test_plan_store.py` holds each of them to it."""

from typing import Protocol

from contracts.plan import Change, Plan


class PlanStore(Protocol):
    """Plans and their history, shared by every worker and the admin API.

    Every method raises `StoreUnavailable` where the store cannot be used just now, saying what to do.
    """

    async def read(self, model: str) -> Plan | None:
        """The current plan of a model, or None where it never had one."""
        ...

    async def write(self, change: Change) -> None:
        """Make `change.after` the plan and append the change to the history, both or neither, durably.

        Raises `Conflict` unless the stored revision is that of `change.before` (no plan at all where it is None).
        """
        ...

    async def history(self, model: str | None, limit: int, upto: int | None = None) -> list[Change]:
        """At most `limit` changes, newest first: of one model, if given only up to revision `upto`; or of all models."""
        ...

    async def generation(self) -> int:
        """A number that differs from the last one this object gave whenever any plan changed in between.

        Cheap enough to ask 100 times a second. Ask it before reading plans: a change in between is then seen next time.
        It may also differ without a change, and means nothing to another process.
        """
        ...
