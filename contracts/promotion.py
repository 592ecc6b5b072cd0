"""What the fleet saw of a registry's aliases, and the promotions that wait for a person because of it.

An alias move is told once: a registry keeps no history of its own. A promotion is bound to the bytes of the candidate and of
the champion that it would replace. The book of a model holds both, and is numbered, so that of all who see the same move
exactly one writes it down. Times are microseconds since the epoch, UTC.

Bounds: the newest MOVES_MAX moves and PROMOTIONS_MAX promotions of a model, ALIASES_MAX aliases; the prediction log has all.
"""

from collections.abc import Mapping
from typing import Final, Literal

from contracts.plan import CHAMPION, AliasPolicy, VersionRef
from contracts.wire import Contract

PromotionState = Literal["pending", "approved", "refused", "superseded", "withdrawn"]

MOVES_MAX: Final = 100
PROMOTIONS_MAX: Final = 50
ALIASES_MAX: Final = 200
"""Aliases of one model that are watched: `champion`, and the first others by name."""


class AliasTarget(Contract, frozen=True, kw_only=True):
    """Where an alias points; the digest is null where the version's files could not be had."""

    version: str
    digest: str | None = None


class AliasMove(Contract, frozen=True, kw_only=True):
    """An alias was set (`before` null), moved, or deleted (`after` null). `revision` and `policy` are the plan's when
    `seen_by` saw it first; `policy` is null where nobody set one.
    """

    schema: Literal[1] = 1
    alias_move: str
    model: str
    alias: str
    before: AliasTarget | None
    after: AliasTarget | None
    first_seen_us: int
    seen_by: str
    trigger: Literal["alias_poll"] = "alias_poll"
    policy: AliasPolicy | None
    revision: int


class Promotion(Contract, frozen=True, kw_only=True):
    """A move of the alias `champion` that was not made. `why` it waits; `who` decided it with which `reason`, at
    `decided_us`, and the `revision` of the plan that it became; null and 0 before.
    """

    schema: Literal[1] = 1
    promotion_id: str
    model: str
    candidate: VersionRef
    champion: VersionRef
    why: str
    requested_us: int
    seen_by: str
    state: PromotionState = "pending"
    who: str | None = None
    reason: str = ""
    decided_us: int = 0
    revision: int | None = None


class AliasBook(Contract, frozen=True, kw_only=True):
    """All of it for one model, the newest moves and promotions first. `number` counts the writes; `unsettled` is the newest
    move of the alias `champion` as long as nobody did what the policy asks for.
    """

    schema: Literal[1] = 1
    model: str
    number: int = 0
    aliases: dict[str, AliasTarget] = {}
    moves: tuple[AliasMove, ...] = ()
    promotions: tuple[Promotion, ...] = ()
    unsettled: AliasMove | None = None

    @property
    def pending(self) -> Promotion | None:
        """The promotion that waits; there is at most one."""
        return next((one for one in self.promotions if one.state == "pending"), None)

    def says(self, aliases: Mapping[str, str]) -> bool:
        """Whether the aliases are as the book has them."""
        return {alias: target.version for alias, target in self.aliases.items()} == watched(aliases)


def watched(aliases: Mapping[str, str]) -> dict[str, str]:
    """The aliases that are watched: all of them, unless there are more than ALIASES_MAX."""
    names = sorted(aliases, key=lambda alias: (alias != CHAMPION, alias))[:ALIASES_MAX]
    return {alias: aliases[alias] for alias in names}
