"""The narrow verbs of the admin API: one table from a name to its body and to what it does with the plan.

Enters: a decoded body. Leaves: the accepted change. Never knows HTTP, never waits for workers.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from contracts.plan import Mode
from gateway.admin.bodies import (
    AliasPolicyBody,
    PromoteBody,
    RemoveBody,
    RepublishBody,
    RequireGateBody,
    RollbackBody,
    ShareBody,
    VerbBody,
    VersionBody,
)
from gateway.admin.plan_control import Accepted, Origin, PlanControl
from gateway.traffic import shifts

Apply = Callable[[PlanControl, str, Origin, Any], Awaitable[Accepted]]


class Verb(NamedTuple):
    """One verb: `POST /admin/models/{model}/<name>` with a `body`."""

    name: str
    summary: str
    body: type[VerbBody]
    apply: Apply


def _challenge(mode: Mode) -> Apply:
    shift = {"canary": shifts.canary, "ab": shifts.ab, "shadow": shifts.shadow}[mode]

    async def apply(control: PlanControl, model: str, origin: Origin, body: ShareBody) -> Accepted:
        share = body.part
        ref = await control.ref(model, body.version)
        return await control.change(model, origin, lambda plan: shift(plan, ref, share, body.name))

    return apply


async def _switch(control: PlanControl, model: str, origin: Origin, body: VersionBody) -> Accepted:
    ref = await control.ref(model, body.version)
    return await control.change(model, origin, lambda plan: shifts.switch(plan, ref))


async def _promote(control: PlanControl, model: str, origin: Origin, body: PromoteBody) -> Accepted:
    return await control.change(model, origin, lambda plan: shifts.promote(plan, body.name))


async def _rollback(control: PlanControl, model: str, origin: Origin, body: RollbackBody) -> Accepted:
    if body.to is not None:
        return await control.restore(model, origin, body.to)
    return await control.change(model, origin, shifts.rollback, gated=False)


async def _remove(control: PlanControl, model: str, origin: Origin, body: RemoveBody) -> Accepted:
    return await control.change(model, origin, lambda plan: shifts.remove(plan, body.name))


async def _warm(control: PlanControl, model: str, origin: Origin, body: VersionBody) -> Accepted:
    ref = await control.ref(model, body.version)
    return await control.change(model, origin, lambda plan: shifts.warm(plan, ref))


async def _cool(control: PlanControl, model: str, origin: Origin, body: VersionBody) -> Accepted:
    return await control.change(model, origin, lambda plan: shifts.cool(plan, body.version))


async def _require_gate(control: PlanControl, model: str, origin: Origin, body: RequireGateBody) -> Accepted:
    return await control.change(
        model, origin, lambda plan: shifts.require_gate(plan, required=body.required, pin=body.pin, unpin=body.unpin)
    )


async def _alias_policy(control: PlanControl, model: str, origin: Origin, body: AliasPolicyBody) -> Accepted:
    return await control.change(model, origin, lambda plan: shifts.set_alias_policy(plan, body.policy))


async def _republish(control: PlanControl, model: str, origin: Origin, body: RepublishBody) -> Accepted:
    return await control.republish(model, origin, stored=body.stored)


VERBS: Final = (
    Verb(
        "canary",
        "Give a version a share of the units: a new challenger, or the one it has resized",
        ShareBody,
        _challenge("canary"),
    ),
    Verb(
        "ab",
        "As canary, for a comparison that is meant to run; the champion's own version may take part",
        ShareBody,
        _challenge("ab"),
    ),
    Verb("shadow", "Ask a version beside whoever answers, for a share of the units", ShareBody, _challenge("shadow")),
    Verb("switch", "Blue/green: another champion at once, the old one kept warm", VersionBody, _switch),
    Verb("promote", "Make a challenger the champion, the old one kept warm", PromoteBody, _promote),
    Verb(
        "rollback",
        "Take the traffic from the challengers, else bring the last champion or an earlier revision back",
        RollbackBody,
        _rollback,
    ),
    Verb("remove", "Take a challenger out", RemoveBody, _remove),
    Verb("warm", "Keep a version loaded without traffic", VersionBody, _warm),
    Verb("cool", "Stop keeping a version loaded without traffic", VersionBody, _cool),
    Verb(
        "require-gate",
        "Whether a version gets more traffic only with a passing gate against the champion, and of which suite",
        RequireGateBody,
        _require_gate,
    ),
    Verb(
        "alias-policy",
        "What a move of the registry's alias champion does: shift at once, wait for a person, or nothing",
        AliasPolicyBody,
        _alias_policy,
    ),
    Verb(
        "republish",
        "After the plan store lost changes: settle what runs, or what is stored, as a newer revision",
        RepublishBody,
        _republish,
    ),
)
