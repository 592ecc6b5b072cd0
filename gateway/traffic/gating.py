"""Where a plan requires a gate: which versions a change would give traffic without one. Pure.

Enters: a plan, the next one, gate results. Leaves: the versions that answer more units than before, why a gate that is
asked for is not there, and the command that makes it. A gate counts for the bytes of both versions: a champion of other
bytes makes it stale; where the plan pins a suite, it counts for that alone. The champion itself needs none, and neither does
a shadow: nobody sees its answers.
"""

import shlex
from collections.abc import Iterable, Sequence
from typing import Final

from contracts.gate import GateResult
from contracts.gate_pin import GatePin
from contracts.plan import BUCKETS, Plan, VersionRef
from gateway.traffic.shifts import ref_of

SUITES_TOLD: Final = 3
"""Suites that a refusal names beside the one it wants, the last evaluated first."""


def exposed(before: Plan, after: Plan) -> tuple[VersionRef, ...]:
    """The versions that become champion, or that answer more units as challengers than they did."""
    had, gets = _owned(before), _owned(after)
    more = [ref for ref, buckets in gets.items() if buckets > had.get(ref, 0) and ref != before.champion]
    crowned = [after.champion] if after.champion != before.champion else []
    return tuple(dict.fromkeys([*crowned, *more]))


def ungated(plan: Plan, wanted: Iterable[VersionRef], gates: Sequence[GateResult]) -> dict[VersionRef, str]:
    """The versions that may not have traffic beside or instead of the plan's champion, each with the reason. `gates` are the
    model's, the last evaluated first.
    """
    return {ref: _missing(plan, ref, gates) for ref in wanted if not _passed(plan, ref, gates)}


def gate_command(plan: Plan, ref: VersionRef) -> str:
    """How a version comes by the gate that the plan wants, for people to copy."""
    pin = plan.gate_pin
    suite = shlex.quote(pin.suite) if pin and pin.suite else "FILE"
    which = f", FILE being the suite of policy {pin.policy_sha256}," if pin and not pin.suite else ""
    return f"`pointsman gate {plan.model} {ref.version} --suite {suite}`{which}"


def other_than_pinned(plan: Plan, gate: GateResult) -> str:
    """Why a gate can open nothing under this plan, whatever it found; empty where it is of what the plan pins."""
    if _is_of(plan.gate_pin, gate):
        return ""
    assert plan.gate_pin is not None, "without a pin any gate is of it"
    return (
        f"it opens no traffic: revision {plan.revision} of {plan.model!r} wants a gate of {plan.gate_pin.in_words}, "
        f"this one is of {_suite_of(gate)}"
    )


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


def _passed(plan: Plan, ref: VersionRef, gates: Iterable[GateResult]) -> bool:
    return any(
        gate.outcome == "pass" and _is_of(plan.gate_pin, gate) and _is_between(plan.champion, ref, gate)
        for gate in gates
    )


def _is_between(champion: VersionRef, ref: VersionRef, gate: GateResult) -> bool:
    return gate.candidate.digest == ref.digest and gate.baseline is not None and gate.baseline.digest == champion.digest


def _is_of(pin: GatePin | None, gate: GateResult) -> bool:
    return pin is None or (gate.policy_sha256 == pin.policy_sha256 and pin.data_sha256 in {None, gate.data_sha256})


def _missing(plan: Plan, ref: VersionRef, gates: Sequence[GateResult]) -> str:
    champion, pin = plan.champion, plan.gate_pin
    own = [gate for gate in gates if gate.candidate.digest == ref.digest]
    fresh = [gate for gate in own if _is_between(champion, ref, gate)]
    last = next((gate for gate in fresh if _is_of(pin, gate)), None)
    if last is not None:
        seen = f"its last one, {last.gate_id}, says {last.outcome}"
    elif fresh:
        suites = dict.fromkeys(map(_suite_of, fresh))
        seen = f"those that it has are of {', '.join(list(suites)[:SUITES_TOLD])}"
    elif own:
        seen = "those that it has are against other champions, which makes them stale"
    else:
        seen = "it has none at all"
    return (
        f"version {ref.version!r} (digest {ref.digest[:12]}) has no passing gate against the champion, version "
        f"{champion.version!r} (digest {champion.digest[:12]}){f', of {pin.in_words}' if pin else ''}: {seen}"
    )


def _suite_of(gate: GateResult) -> str:
    on = f"on data {gate.data_sha256[:12]}" if gate.data_sha256 else "without data"
    return f"policy {gate.policy_sha256[:12]} {on}"
