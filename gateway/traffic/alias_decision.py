"""What a move of the registry's alias `champion` asks for, and what becomes of a model's book of aliases. Pure.

Enters: the plan's policy and champion, where the alias points, the book as it is. Leaves: a decision with its reason; the
next book. Never asks the registry or the store, and never reads a clock.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from msgspec.structs import replace

from contracts.plan import CHAMPION, AliasPolicy, Change, VersionRef
from contracts.promotion import (
    MOVES_MAX,
    PROMOTIONS_MAX,
    AliasBook,
    AliasMove,
    AliasTarget,
    Promotion,
    PromotionState,
    watched,
)

Wish = Literal["shift", "request", "leave"]


class Facts(NamedTuple):
    """What decides. `by_hand`: somebody else than the gateway made the plan. `ungated`: why the gate that the plan
    requires is missing; empty where it passed or none is required.
    """

    policy: AliasPolicy | None
    champion: VersionRef
    target: AliasTarget | None
    by_hand: bool = False
    challenged: bool = False
    ungated: str = ""


class Decision(NamedTuple):
    """What to do about a move, why, and what becomes of a promotion that waited."""

    wish: Wish
    why: str
    waiting: PromotionState = "superseded"


def decide(facts: Facts) -> Decision:
    """What a move of the alias `champion` asks for."""
    if facts.target is None:
        return Decision("leave", "the alias champion was deleted", "withdrawn")
    if is_at(facts.target, facts.champion):
        return Decision("leave", "the alias champion is at the present champion", "withdrawn")
    what = moved_to(facts.target.version)
    if facts.policy in {"ignore", "request"}:
        return Decision("request" if facts.policy == "request" else "leave", f"{what}; the policy is {facts.policy}")
    if facts.policy is None and (facts.by_hand or facts.challenged):
        return Decision("leave", f"{what}; traffic was shifted by hand")
    if facts.ungated:
        return Decision("request", f"{what}; a gate is required, and {facts.ungated}")
    return Decision("shift", what)


def moved_to(version: str) -> str:
    """What happened, in words: the reason of a shift that follows the alias."""
    return f"the alias champion moved to version {version}"


def is_at(target: AliasTarget, ref: VersionRef) -> bool:
    """Whether an alias points to this version; to its bytes, where they are known."""
    return target.version == ref.version and target.digest in {None, ref.digest}


def moved(
    book: AliasBook, targets: Mapping[str, AliasTarget], template: AliasMove
) -> tuple[AliasBook, tuple[AliasMove, ...]]:
    """The book after a look that found the aliases at `targets`, and the moves, each made from the template."""
    found = watched({alias: target.version for alias, target in targets.items()})
    moves = []
    for alias in sorted(found.keys() | book.aliases.keys()):
        before, after = book.aliases.get(alias), targets[alias] if alias in found else None
        if before is None or after is None or before.version != after.version:
            identity = f"{template.model}/{book.number + 1}/{alias}"
            moves.append(replace(template, alias_move=identity, alias=alias, before=before, after=after))
    of_champion = next((move for move in moves if move.alias == CHAMPION), book.unsettled)
    after_look = replace(
        book,
        number=book.number + 1,
        aliases={alias: targets[alias] for alias in found},
        moves=(*reversed(moves), *book.moves)[:MOVES_MAX],
        unsettled=of_champion,
    )
    return after_look, tuple(moves)


def settled(
    book: AliasBook, decision: Decision, requested: Promotion | None, now_us: int
) -> tuple[AliasBook, tuple[Promotion, ...]]:
    """The book once a move was dealt with, and the promotions that it changed: the one that waited, the one requested."""
    changed = []
    waiting, rest = book.pending, book.promotions
    if waiting is not None:
        over = replace(waiting, state=decision.waiting, reason=decision.why, decided_us=now_us)
        rest = tuple(over if one is waiting else one for one in rest)
        changed.append(over)
    if requested is not None:
        rest = (requested, *rest)[:PROMOTIONS_MAX]
        changed.append(requested)
    return replace(book, number=book.number + 1, promotions=rest, unsettled=None), tuple(changed)


def closed(book: AliasBook, promotion: Promotion) -> AliasBook:
    """The book with a promotion as it was decided."""
    rest = tuple(promotion if one.promotion_id == promotion.promotion_id else one for one in book.promotions)
    return replace(book, number=book.number + 1, promotions=rest)


def decided_by(promotion: Promotion, change: Change) -> Promotion:
    """A waiting promotion after a change that made its candidate the champion: approved by it, or needless."""
    return replace(
        promotion,
        state="approved" if change.verb == "approve" else "withdrawn",
        who=change.who,
        reason=change.reason,
        decided_us=change.at_us,
        revision=change.revision,
    )
