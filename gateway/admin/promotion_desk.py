"""Where a person decides about promotions that an alias move asked for.

Enters: a model, a promotion's id, who decides and why. Leaves: the plan with the candidate as its champion, or the promotion
refused; both in the store and in the log. Never makes a promotion: a worker that sees the alias move does.

An approval is the plan's compare-and-set first and the book's mark after it: where the process ends in between, a worker
makes the same mark out of the plan's history.
"""

import logging
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from contracts.errors import Conflict, LogUnavailable, NotFound
from contracts.plan import Change
from contracts.promotion import AliasBook, Promotion
from gateway.admin.plan_control import ATTEMPTS_MAX, Accepted, Origin, PlanControl
from gateway.clock import Clock
from gateway.plan_store.store import PlanStore
from gateway.traffic import shifts
from gateway.traffic.alias_decision import closed, decided_by
from gateway.version_proof import CheckVersion

AuditPromotion = Callable[[Promotion], Awaitable[None]]

APPROVE = "approve"

_LOG = logging.getLogger("pointsman.admin")


class PromotionDesk:
    """The promotions of all models of one store."""

    def __init__(
        self, store: PlanStore, control: PlanControl, check_version: CheckVersion, audit: AuditPromotion, clock: Clock
    ) -> None:
        self._store = store
        self._control = control
        self._check_version = check_version
        self._audit = audit
        self._clock = clock

    async def book(self, model: str) -> AliasBook:
        """What was seen of a model's aliases, and its promotions; an empty one before the first look."""
        return await self._store.alias_book(model) or AliasBook(model=model)

    async def approve(self, model: str, promotion_id: str, origin: Origin) -> Accepted:
        """Make the candidate the champion.

        Raises `NotFound` where there is no such promotion; `Conflict` where it was decided, is stale because the champion
        or the candidate's files are others now, or lacks a gate that the plan requires; and what a switch raises.
        """
        _, promotion = await self._pending(model, promotion_id)
        found = await self._check_version(model, promotion.candidate.version)
        if found != promotion.candidate:
            raise Conflict(
                f"promotion {promotion_id} is stale: it was asked for with digest {promotion.candidate.digest[:12]}, "
                f"version {found.version!r} of {model!r} has {found.digest[:12]} now. Refuse it, and register the files as "
                "a new version"
            )
        await self._pending(model, promotion_id)
        accepted = await self._control.change(model, origin, lambda plan: shifts.approve(plan, promotion))
        unlogged = await self._mark_approved(promotion, accepted.change)
        return accepted if accepted.unlogged else accepted._replace(unlogged=unlogged)

    async def refuse(self, model: str, promotion_id: str, origin: Origin) -> tuple[Promotion, str]:
        """Leave the champion as it is; the promotion, and why its audit record is missing from the log, if it is."""
        for _ in range(ATTEMPTS_MAX):
            book, promotion = await self._pending(model, promotion_id)
            refused = replace(
                promotion, state="refused", who=origin.who, reason=origin.reason, decided_us=self._clock.now_us()
            )
            try:
                await self._store.write_alias_book(closed(book, refused))
            except Conflict:
                continue
            return refused, await self._logged(refused)
        raise Conflict(f"{ATTEMPTS_MAX} others wrote down the aliases of {model!r} at the same time: ask again")

    async def _mark_approved(self, promotion: Promotion, change: Change) -> str:
        """Mark it approved, whatever was said of it meanwhile: the plan has it."""
        decided = decided_by(promotion, change)
        for _ in range(ATTEMPTS_MAX):
            book = await self.book(promotion.model)
            if decided in book.promotions:
                return ""
            try:
                await self._store.write_alias_book(closed(book, decided))
            except Conflict:
                continue
            return await self._logged(decided)
        return ""

    async def _pending(self, model: str, promotion_id: str) -> tuple[AliasBook, Promotion]:
        book = await self.book(model)
        promotion = next((one for one in book.promotions if one.promotion_id == promotion_id), None)
        if promotion is None:
            raise NotFound(
                f"model {model!r} has no promotion {promotion_id!r}: see `pointsman promotions list {model}`"
            )
        if promotion.state != "pending":
            why = f" ({promotion.reason})" if promotion.reason else ""
            raise Conflict(
                f"promotion {promotion_id} of {model!r} is {promotion.state} already{why}: nothing to decide"
            )
        return book, promotion

    async def _logged(self, promotion: Promotion) -> str:
        try:
            await self._audit(promotion)
        except LogUnavailable as error:
            _LOG.exception("the audit record of promotion %s is not in the log", promotion.promotion_id)
            return str(error)
        return ""
