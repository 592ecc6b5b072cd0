"""Every worker sees a registry's aliases move; one of them writes it down, and one does what the plan's policy asks for.

Enters: a plan, and the aliases as a worker saw them. Leaves: the moves and promotions in the store's book and in the log;
the plan, shifted where the policy says so. Never moves an alias, and never decides (`gateway.traffic.alias_decision`).

A worker may have looked long ago. So it reads the book first and then asks the registry anew: what it writes under the next
number is newer than the book, or somebody was first. A move stays unsettled until it was dealt with, whoever does it; that a
shift was made already is told by the plan's history, so that a rollback after it stands.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from contracts.errors import Conflict, PointsmanError
from contracts.plan import CHAMPION, Change, Plan, VersionRef
from contracts.promotion import AliasBook, AliasMove, AliasTarget, Promotion, watched
from gateway.clock import Clock
from gateway.plan_store.store import GATES_MAX, PlanStore
from gateway.traffic import shifts
from gateway.traffic.alias_decision import Decision, Facts, closed, decide, decided_by, moved, moved_to, settled
from gateway.traffic.first_plan import WHO
from gateway.traffic.gating import gate_command, ungated
from gateway.traffic.plan_floor import Applied, check_floor
from gateway.version_proof import CheckVersion
from registry_client.registry import RegistryClient

Audit = Callable[[Change | AliasMove | Promotion], Awaitable[None]]

ATTEMPTS_MAX: Final = 8
"""How often a look or a decision is made anew after other workers were faster; then `Conflict`, and the next poll tries."""
CHANGES_MAX: Final = 100
"""Changes since a move that are searched for the one that already made it."""


class AliasFollower:
    """Follows the aliases of all models of one worker, `seen_by`. `check` proves a version by loading it."""

    def __init__(
        self,
        registry: RegistryClient,
        store: PlanStore,
        check: CheckVersion,
        audit: Audit,
        clock: Clock,
        seen_by: str,
    ) -> None:
        self._registry = registry
        self._store = store
        self._check = check
        self._audit = audit
        self._clock = clock
        self._seen_by = seen_by

    async def follow(self, plan: Plan, aliases: Mapping[str, str]) -> Plan:
        """The plan as it is after what the aliases ask for.

        Raises what the registry and the store raise, `ModelRejected` where the version cannot be served, `Conflict` where
        others were faster too often, `StoreFellBack` where the store is behind `plan` by now, `LogUnavailable` where a
        record could not be logged; what was done then stands.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                book = await self._looked(plan, aliases)
                if book.unsettled is not None:
                    return await self._settle(plan, book, book.unsettled)
                return await self._tidy(plan, book)
            except Conflict:
                plan = await self._read_again(plan)
        raise Conflict(f"{ATTEMPTS_MAX} others wrote down the aliases of {plan.model!r} at the same time")

    async def _read_again(self, plan: Plan) -> Plan:
        """The plan as others made it meanwhile, never an older one: nobody makes anything of a store that fell back."""
        stored = await self._store.read(plan.model)
        check_floor(plan.model, stored, Applied(plan.revision, "this worker", plan))
        return stored or plan

    async def _looked(self, plan: Plan, aliases: Mapping[str, str]) -> AliasBook:
        """The book; where it differs from what was seen, after another look that is newer than the book."""
        book = await self._store.alias_book(plan.model)
        if book is not None and book.says(aliases):
            return book
        fresh = await self._registry.pointers(plan.model)
        if book is not None and book.says(fresh):
            return book
        known = book or await self._first_book(plan, fresh)
        targets = {
            alias: await self._target(plan, version, known.aliases.get(alias))
            for alias, version in watched(fresh).items()
        }
        template = AliasMove(
            alias_move="",
            model=plan.model,
            alias="",
            before=None,
            after=None,
            first_seen_us=self._clock.now_us(),
            seen_by=self._seen_by,
            policy=plan.alias_policy,
            revision=plan.revision,
        )
        written, moves = moved(known, targets, template)
        await self._store.write_alias_book(written)
        for move in moves:
            await self._audit(move)
        return written

    async def _first_book(self, plan: Plan, fresh: Mapping[str, str]) -> AliasBook:
        """A first look sees no move; but a plan that nobody made by hand was at its alias, and may have to catch up."""
        targets = {alias: AliasTarget(version=version) for alias, version in watched(fresh).items()}
        if CHAMPION in targets and not await self._by_hand(plan):
            targets[CHAMPION] = AliasTarget(version=plan.champion.version, digest=plan.champion.digest)
        return AliasBook(model=plan.model, aliases=targets)

    async def _target(self, plan: Plan, version: str, before: AliasTarget | None) -> AliasTarget:
        # only what moved is worth fetching: the files of many aliases would hold up the record of one
        if before is not None and before.version == version:
            return before
        held = next((ref for ref in shifts.refs_of(plan) if ref.version == version), None)
        if held is not None:
            return AliasTarget(version=version, digest=held.digest)
        try:
            fetched = await self._registry.fetch(plan.model, version)
        except PointsmanError:
            return AliasTarget(version=version)
        return AliasTarget(version=version, digest=fetched.digest)

    async def _settle(self, plan: Plan, book: AliasBook, move: AliasMove) -> Plan:
        """Do what the move asks for; `Conflict` where somebody else changed plan or book meanwhile."""
        if await self._made_already(plan, move):
            await self._close(book, Decision("leave", "the move was followed"), None)
            return plan
        by_hand = plan.alias_policy is None and await self._by_hand(plan)
        facts = Facts(plan.alias_policy, plan.champion, move.after, by_hand, challenged=bool(plan.challengers))
        decision = decide(facts)
        if decision.wish == "shift":
            ref = await self._check(plan.model, _version(move))
            decision = decide(facts._replace(ungated=await self._ungated(plan, ref)))
            if decision.wish == "shift":
                plan = await self._shift(plan, ref, decision.why)
        requested = await self._requested(plan, move, decision.why) if decision.wish == "request" else None
        await self._close(book, decision, requested)
        return plan

    async def _made_already(self, plan: Plan, move: AliasMove) -> bool:
        """Whether the gateway made this shift since it was seen; a person may have taken it back after that."""
        if move.after is None or plan.revision == move.revision:
            return False
        changes = await self._store.history(plan.model, min(CHANGES_MAX, max(1, plan.revision - move.revision)))
        since = [change for change in changes if change.revision > move.revision and _is_own(change)]
        return any(change.after.champion.version == move.after.version for change in since)

    async def _shift(self, plan: Plan, ref: VersionRef, why: str) -> Plan:
        after = shifts.switch(plan, ref)
        change = Change(
            model=plan.model,
            revision=after.revision,
            at_us=self._clock.now_us(),
            who=WHO,
            verb="switch",
            reason=why,
            before=plan,
            after=after,
        )
        await self._store.write(change)
        await self._audit(change)
        return after

    async def _requested(self, plan: Plan, move: AliasMove, why: str) -> Promotion:
        fetched = await self._registry.fetch(plan.model, _version(move))
        return Promotion(
            promotion_id=self._clock.new_id(),
            model=plan.model,
            candidate=VersionRef(version=fetched.version, digest=fetched.digest),
            champion=plan.champion,
            why=why,
            requested_us=self._clock.now_us(),
            seen_by=self._seen_by,
        )

    async def _close(self, book: AliasBook, decision: Decision, requested: Promotion | None) -> None:
        written, changed = settled(book, decision, requested, self._clock.now_us())
        await self._store.write_alias_book(written)
        for promotion in changed:
            await self._audit(promotion)

    async def _tidy(self, plan: Plan, book: AliasBook) -> Plan:
        """A promotion waits no longer once its candidate is the champion, by whomever."""
        waiting = book.pending
        if waiting is None or waiting.candidate != plan.champion:
            return plan
        for change in await self._store.history(plan.model, CHANGES_MAX):
            if change.before is not None and change.before.champion != change.after.champion == waiting.candidate:
                decided = decided_by(waiting, change)
                await self._store.write_alias_book(closed(book, decided))
                await self._audit(decided)
                break
        return plan

    async def _by_hand(self, plan: Plan) -> bool:
        newest = await self._store.history(plan.model, 1)
        return not newest or not _is_own(newest[0])

    async def _ungated(self, plan: Plan, ref: VersionRef) -> str:
        if not plan.gate_required:
            return ""
        missing = ungated(plan, [ref], await self._store.gates(plan.model, GATES_MAX))
        return f"{missing[ref]}; run {gate_command(plan, ref)}" if missing else ""


def _version(move: AliasMove) -> str:
    assert move.after is not None, "a deleted alias asks for nothing"
    return move.after.version


def _is_own(change: Change) -> bool:
    """Whether the gateway made a change by itself. Its name alone does not tell: in the image the user is called so, too."""
    follows = change.verb == "switch" and change.reason == moved_to(change.after.champion.version)
    return change.who == WHO and (follows or change.verb == "start")
