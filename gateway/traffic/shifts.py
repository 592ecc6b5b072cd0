"""The verbs of traffic, as pure functions: a plan in, the next plan out, its revision one higher.

Every verb refuses with `InvalidInput` or `NotFound` what would break the assignment law, and says what to do instead.
The law: raising a challenger's share moves units from the champion to it and nowhere else; lowering moves them back;
nobody else's units move. Time, names of people and reasons belong to `contracts.plan.Change`, not here.

A version that a plan holds keeps its digest until it has left the plan: what was measured is what gets promoted.
"""

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from contracts.errors import Conflict, InvalidInput, NotFound
from contracts.gate_pin import GatePin
from contracts.plan import AliasPolicy, Challenger, Mode, Plan, VersionRef
from contracts.promotion import Promotion
from gateway.traffic.ranges import Ranges, resized
from gateway.traffic.shares import buckets_of

WARM_MAX = 4
"""Versions kept loaded without traffic; the oldest is dropped when another comes, the rollback's target last of all."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESERVED = frozenset({"champion", "pinned"})


def first_champion(model: str, aliases: Mapping[str, str], versions: Sequence[str]) -> str:
    """The version a model without a plan starts with: its alias `champion`, else the newest of `versions` (the last)."""
    if "champion" in aliases:
        return aliases["champion"]
    if not versions:
        raise NotFound(f"model {model!r} has no version in the registry: register one, then ask again")
    return versions[-1]


def start(model: str, champion: VersionRef, salt: str) -> Plan:
    """The first plan of a model: revision 1, everything to the champion."""
    return Plan(model=model, revision=1, salt=salt, champion=champion)


def canary(plan: Plan, ref: VersionRef, share: float, name: str | None = None) -> Plan:
    """Give a version this share of the units: as a new challenger, or by resizing the one it has."""
    return _challenge(plan, ref, "canary", share, name)


def ab(plan: Plan, ref: VersionRef, share: float, name: str | None = None) -> Plan:
    """As `canary`, for a comparison that is meant to run: the champion's own version may take part (A/A)."""
    return _challenge(plan, ref, "ab", share, name)


def shadow(plan: Plan, ref: VersionRef, share: float, name: str | None = None) -> Plan:
    """Ask a version beside whoever answers, for this share of the units."""
    return _challenge(plan, ref, "shadow", share, name)


def switch(plan: Plan, ref: VersionRef) -> Plan:
    """Blue/green: another champion at once; the old one stays warm and is where a rollback goes."""
    rest = tuple(c for c in plan.challengers if c.version != ref.version)
    return _crowned(plan, ref, rest, previous=plan.champion)


def promote(plan: Plan, name: str | None = None) -> Plan:
    """Make a challenger the champion; the old one stays warm and is where a rollback goes.

    Without a name it is the only challenger that answers; `InvalidInput` lists them where there is not exactly one.
    """
    chosen = named_challenger(plan, name) if name else _only_live(plan)
    rest = tuple(c for c in plan.challengers if c.name != chosen.name)
    return _crowned(plan, ref_of(chosen), rest, previous=plan.champion)


def rollback(plan: Plan) -> Plan:
    """Take the traffic from every challenger that answers; where none does, bring the champion before this one back.

    Both keep what they replace warm. A champion that was brought back has no champion before it, so that repeating the
    command cannot swing between two versions: going further back needs `restore`, and says so.
    """
    lost = tuple(c for c in plan.challengers if c.mode != "shadow")
    if any(c.ranges for c in lost):
        kept = tuple(c for c in plan.challengers if c.mode == "shadow")
        return _next(plan, challengers=kept, warm=(*plan.warm, *map(ref_of, lost)))
    if plan.previous is None:
        raise InvalidInput(
            f"nothing to roll back for {plan.model!r}: no challenger answers and revision {plan.revision} knows no earlier "
            "champion; name an earlier revision (--to REVISION), or switch to a version"
        )
    rest = tuple(c for c in plan.challengers if c.version != plan.previous.version)
    return _crowned(plan, plan.previous, rest, previous=None)


def restore(plan: Plan, older: Plan) -> Plan:
    """The content of an older revision, as a new one; which gate is required and what aliases do stay as they are."""
    assert older.model == plan.model, f"{older.model} is not {plan.model}"
    return replace(
        older,
        revision=plan.revision + 1,
        gate_required=plan.gate_required,
        gate_pin=plan.gate_pin,
        alias_policy=plan.alias_policy,
    )


def rewrite(plan: Plan, wanted: Plan) -> Plan:
    """A plan written by hand, as the next revision; `InvalidInput` where it is not one for this model."""
    if wanted.model != plan.model:
        raise InvalidInput(f"the plan is for model {wanted.model!r}, not for {plan.model!r}")
    if wanted.revision != plan.revision:
        raise InvalidInput(
            f"the plan says revision {wanted.revision}: leave it at {plan.revision}, the one it is made from; "
            "the next number is given here"
        )
    for challenger in wanted.challengers:
        _check_name(challenger.name)
    if len(wanted.warm) > WARM_MAX:
        raise InvalidInput(f"{len(wanted.warm)} warm versions: at most {WARM_MAX} stay loaded without traffic")
    return _next(wanted)


def remove(plan: Plan, name: str) -> Plan:
    """Take a challenger out; its units go back to the champion and it is no longer kept loaded."""
    gone = named_challenger(plan, name)
    return _next(plan, challengers=tuple(c for c in plan.challengers if c.name != gone.name))


def require_gate(plan: Plan, *, required: bool, pin: GatePin | None = None, unpin: bool = False) -> Plan:
    """From now on a version gets more traffic only with a passing gate against the champion, or without one again.

    With `pin` only a gate of that counts; a pin stays until another one, `unpin`, or no gate being required replaces it.
    """
    if pin is not None and (unpin or not required):
        raise InvalidInput(f"{'unpin' if unpin else 'required = false'} and a pin at once: say one of them")
    kept = None if unpin or not required else plan.gate_pin
    return _next(plan, gate_required=required, gate_pin=pin or kept)


def set_alias_policy(plan: Plan, policy: AliasPolicy) -> Plan:
    """What a move of the registry's alias `champion` does from now on."""
    return _next(plan, alias_policy=policy)


def approve(plan: Plan, promotion: Promotion) -> Plan:
    """Make a promotion's candidate the champion; `Conflict` where another is champion than when it was asked for."""
    if plan.champion != promotion.champion:
        raise Conflict(
            f"promotion {promotion.promotion_id} is stale: it was asked for against version {promotion.champion.version!r} "
            f"(digest {promotion.champion.digest[:12]}), the champion of {plan.model!r} is version "
            f"{plan.champion.version!r} (digest {plan.champion.digest[:12]}) now. Refuse it; to have version "
            f"{promotion.candidate.version!r} all the same, `pointsman traffic switch {plan.model} "
            f"{promotion.candidate.version}`"
        )
    return switch(plan, promotion.candidate)


def warm(plan: Plan, ref: VersionRef) -> Plan:
    """Keep a version loaded without traffic, so that a later switch to it costs no loading."""
    if ref in _working(plan):
        raise InvalidInput(f"version {ref.version!r} has a part in the plan of {plan.model!r}: it is loaded already")
    return _next(plan, warm=(*plan.warm, ref))


def cool(plan: Plan, version: str) -> Plan:
    """Stop keeping a version loaded; a rollback to it still works, after loading it again."""
    kept = tuple(ref for ref in plan.warm if ref.version != version)
    if kept == plan.warm:
        known = ", ".join(ref.version for ref in plan.warm) or "none"
        raise NotFound(f"version {version!r} is not kept warm for {plan.model!r}: warm are {known}")
    return _next(plan, warm=kept)


def ref_of(challenger: Challenger) -> VersionRef:
    """The version and digest behind a challenger."""
    return VersionRef(version=challenger.version, digest=challenger.digest)


def refs_of(plan: Plan) -> tuple[VersionRef, ...]:
    """Every version that a plan holds, those with traffic first."""
    held = [*_working(plan), *plan.warm, *([plan.previous] if plan.previous else [])]
    return tuple(dict.fromkeys(held))


def named_challenger(plan: Plan, name: str) -> Challenger:
    """The challenger of that name; `NotFound` lists those there are."""
    for challenger in plan.challengers:
        if challenger.name == name:
            return challenger
    raise NotFound(
        f"model {plan.model!r} has no challenger {name!r} in revision {plan.revision}: there are {_listed(plan)}"
    )


def _challenge(plan: Plan, ref: VersionRef, mode: Mode, share: float, name: str | None) -> Plan:
    """Resize the challenger meant where it has the mode already; otherwise end it and begin another in its place."""
    if ref == plan.champion and mode != "ab":
        raise InvalidInput(
            f"version {ref.version!r} is the champion of {plan.model!r}: a {mode} of it tells nothing; use ab for an A/A"
        )
    buckets = buckets_of(share)
    meant = _meant(plan, ref, mode, name)
    if meant is not None and meant.mode == mode:
        resized_one = replace(meant, ranges=_ranges(plan, meant, buckets))
        return _next(plan, challengers=tuple(resized_one if c is meant else c for c in plan.challengers))
    rest = tuple(c for c in plan.challengers if c is not meant)
    fresh = Challenger(
        name=_check_name(name or f"{mode}-{ref.version}"), version=ref.version, digest=ref.digest, mode=mode
    )
    if meant is not None and "shadow" not in (meant.mode, mode):
        # canary and A/B share a hash space: the units that are with this version stay with it
        fresh = replace(fresh, ranges=meant.ranges)
    cleared = replace(plan, challengers=rest)
    return _next(plan, challengers=(*rest, replace(fresh, ranges=_ranges(cleared, fresh, buckets))))


def _meant(plan: Plan, ref: VersionRef, mode: Mode, name: str | None) -> Challenger | None:
    """The challenger a verb speaks of: by name, else the only one with this version, in this mode if there are several."""
    if name is not None:
        found = next((c for c in plan.challengers if c.name == name), None)
        if found is not None and found.version != ref.version:
            raise InvalidInput(
                f"{name!r} stands for version {found.version!r}: remove it first, or choose another name"
            )
        return found
    same = [c for c in plan.challengers if c.version == ref.version]
    in_mode = [c for c in same if c.mode == mode]
    candidates = in_mode or same
    if len(candidates) > 1:
        names = ", ".join(c.name for c in candidates)
        raise InvalidInput(f"version {ref.version!r} has several challengers, {names}: say which by its name")
    return candidates[0] if candidates else None


def _ranges(plan: Plan, owner: Challenger, buckets: int) -> Ranges:
    if owner.mode == "shadow":
        # a hash space of its own: always the prefix, so that a larger sample contains the smaller one
        return ((0, buckets),) if buckets else ()
    others = [r for c in plan.challengers if c.mode != "shadow" and c.name != owner.name for r in c.ranges]
    return resized(owner.ranges, buckets, others)


def _only_live(plan: Plan) -> Challenger:
    live = [c for c in plan.challengers if c.mode != "shadow"]
    if len(live) != 1:
        raise InvalidInput(
            f"{len(live)} challengers of {plan.model!r} answer requests: name the one to promote; there are {_listed(plan)}"
        )
    return live[0]


def _crowned(plan: Plan, champion: VersionRef, rest: tuple[Challenger, ...], *, previous: VersionRef | None) -> Plan:
    if champion == plan.champion:
        raise InvalidInput(f"version {champion.version!r} is the champion of {plan.model!r} already: nothing to change")
    return _next(plan, champion=champion, challengers=rest, warm=(*plan.warm, plan.champion), previous=previous)


def _next(plan: Plan, **changes: object) -> Plan:
    """The next revision, with `warm` cut to its bound and free of versions that have a part in the plan."""
    changed = replace(plan, revision=plan.revision + 1, **changes)
    working = _working(changed)
    # the newest mention counts: a version warmed again is no longer the oldest
    newest_first = dict.fromkeys(ref for ref in reversed(changed.warm) if ref not in working)
    last_to_go = sorted(newest_first, key=lambda ref: ref != changed.previous)
    kept = set(last_to_go[:WARM_MAX])
    return replace(changed, warm=tuple(ref for ref in reversed(newest_first) if ref in kept))


def _working(plan: Plan) -> tuple[VersionRef, ...]:
    return (plan.champion, *map(ref_of, plan.challengers))


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise InvalidInput(
            f"variant name {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit, "
            f"and not {' or '.join(sorted(_RESERVED))}"
        )
    return name


def _listed(plan: Plan) -> str:
    return ", ".join(f"{c.name} ({c.mode} of version {c.version})" for c in plan.challengers) or "none"
