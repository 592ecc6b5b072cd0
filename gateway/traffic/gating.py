"""Where a plan requires a gate: which versions a change would give traffic without one. Pure.

Enters: a plan, the next one, gate results. Leaves: the versions that answer more units than before, and why a gate that is
asked for is not there. A gate counts for the bytes of both versions: a champion of other bytes makes it stale. The champion
itself needs none, and neither does a shadow: nobody sees its answers.
"""

from collections.abc import Iterable, Sequence

from contracts.gate import GateResult
from contracts.plan import BUCKETS, Plan, VersionRef
from gateway.traffic.shifts import ref_of


def exposed(before: Plan, after: Plan) -> tuple[VersionRef, ...]:
    """The versions that become champion, or that answer more units as challengers than they did."""
    had, gets = _owned(before), _owned(after)
    more = [ref for ref, buckets in gets.items() if buckets > had.get(ref, 0) and ref != before.champion]
    crowned = [after.champion] if after.champion != before.champion else []
    return tuple(dict.fromkeys([*crowned, *more]))


def ungated(champion: VersionRef, wanted: Iterable[VersionRef], gates: Sequence[GateResult]) -> dict[VersionRef, str]:
    """The versions that may not have traffic beside or instead of this champion, each with the reason. `gates` are the
    model's, the last evaluated first.
    """
    return {ref: _missing(champion, ref, gates) for ref in wanted if not _passed(champion, ref, gates)}


def _owned(plan: Plan) -> dict[VersionRef, int]:
    """The buckets that each version answers for as champion and as challenger."""
    owned: dict[VersionRef, int] = {}
    for challenger in plan.challengers:
        if challenger.mode != "shadow":
            width = sum(end - start for start, end in challenger.ranges)
            owned[ref_of(challenger)] = owned.get(ref_of(challenger), 0) + width
    left = BUCKETS - sum(owned.values())
    owned[plan.champion] = owned.get(plan.champion, 0) + left
    return owned


def _passed(champion: VersionRef, ref: VersionRef, gates: Iterable[GateResult]) -> bool:
    return any(gate.outcome == "pass" and _is_between(champion, ref, gate) for gate in gates)


def _is_between(champion: VersionRef, ref: VersionRef, gate: GateResult) -> bool:
    return gate.candidate.digest == ref.digest and gate.baseline is not None and gate.baseline.digest == champion.digest


def _missing(champion: VersionRef, ref: VersionRef, gates: Sequence[GateResult]) -> str:
    own = [gate for gate in gates if gate.candidate.digest == ref.digest]
    last = next((gate for gate in own if _is_between(champion, ref, gate)), None)
    if last is not None:
        seen = f"its last one, {last.gate_id}, says {last.outcome}"
    elif own:
        seen = "those that it has are against other champions, which makes them stale"
    else:
        seen = "it has none at all"
    return (
        f"version {ref.version!r} (digest {ref.digest[:12]}) has no passing gate against the champion, version "
        f"{champion.version!r} (digest {champion.digest[:12]}): {seen}"
    )
