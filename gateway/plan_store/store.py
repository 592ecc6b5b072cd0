"""What every plan store keeps its word about; `tests/gateway/test_plan_store.py` holds each of them to it."""

from typing import Final, Protocol

from contracts.errors import Conflict
from contracts.gate import GateResult
from contracts.plan import Change, Plan
from contracts.promotion import AliasBook

REPUBLISH: Final = "republish"
"""The one verb that may skip revisions: it brings a store that lost some back above what the workers run."""

GATES_MAX: Final = 200
"""Gate results kept of one model; the ones that were evaluated longest ago go first. The prediction log has them all."""


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

    async def keep_gate(self, result: GateResult) -> None:
        """Keep what a gate found, durably; the same result twice is kept once. At most GATES_MAX of a model stay."""
        ...

    async def gates(self, model: str, limit: int) -> list[GateResult]:
        """At most `limit` gate results of a model, the last evaluated first."""
        ...

    async def alias_book(self, model: str) -> AliasBook | None:
        """What was seen of a model's aliases, and its promotions; None before the first look."""
        ...

    async def write_alias_book(self, book: AliasBook) -> None:
        """Make this the model's book, durably. Raises `Conflict` unless the stored number (0: none) is the one before."""
        ...

    async def generation(self) -> int:
        """A number that differs from the last one this object gave once any plan changed in between: at once where the
        store is on this host, within milliseconds in a fleet, a second or two where a message was lost.

        Cheap enough to ask 100 times a second. Ask it before reading plans: a change in between is then seen next time.
        It may also differ without a change, and means nothing to another process.
        """
        ...

    async def changed(self, seconds: float) -> None:
        """Return when `generation` has news, where the store is told of it; else after so many seconds."""
        ...

    async def aclose(self) -> None:
        """Let go of the store; the next call takes it up again."""
        ...


def check_step(change: Change) -> None:
    """A change is one step from the plan it was made from; only a republished plan may leap."""
    expected = change.before.revision if change.before else 0
    step = change.revision - expected
    assert change.after.revision == change.revision, "a change is numbered as its plan"
    assert step == 1 or (change.verb == REPUBLISH and step > 1), "a change is one step"


def check_number(book: AliasBook, stored: int) -> None:
    """Raise `Conflict` unless the book is the one after the stored number."""
    if stored != book.number - 1:
        raise Conflict(
            f"the aliases of {book.model!r} are at number {stored}, not {book.number - 1}: someone else wrote them; "
            "read them again"
        )
