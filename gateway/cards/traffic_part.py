"""Which parts a version plays in a plan, and in which changes it got, changed or lost one. Pure.

Enters: plans and their history. Leaves: roles and steps. A version is told by its name; whether a plan means the same files,
the digest in each role says.
"""

from collections.abc import Iterable, Sequence

from contracts.card import CardRole, CardStep
from contracts.plan import CHAMPION, Change, Plan


def roles_in(plan: Plan | None, version: str) -> tuple[CardRole, ...]:
    """What the version does in a plan, traffic first; of a version that is kept warm, also that a rollback goes to it."""
    if plan is None:
        return ()
    roles = []
    if plan.champion.version == version:
        share = plan.champion_share
        roles.append(CardRole(variant=CHAMPION, role="champion", share=share, digest=plan.champion.digest))
    roles += [
        CardRole(variant=challenger.name, role=challenger.mode, share=challenger.share, digest=challenger.digest)
        for challenger in plan.challengers
        if challenger.version == version
    ]
    roles += [
        CardRole(variant="", role="warm", share=None, digest=ref.digest) for ref in plan.warm if ref.version == version
    ]
    if plan.previous is not None and plan.previous.version == version:
        roles.append(CardRole(variant="", role="previous", share=None, digest=plan.previous.digest))
    return tuple(roles)


def steps_of(changes: Iterable[Change], version: str) -> tuple[CardStep, ...]:
    """The changes in which the version's part is not what it was, in their order."""
    steps = []
    for change in changes:
        before, after = roles_in(change.before, version), roles_in(change.after, version)
        if _moving(before) != _moving(after):
            steps.append(
                CardStep(
                    revision=change.revision,
                    at_us=change.at_us,
                    who=change.who,
                    verb=change.verb,
                    reason=change.reason,
                    before=before,
                    after=after,
                )
            )
    return tuple(steps)


def _moving(roles: Sequence[CardRole]) -> list[CardRole]:
    """To be where a rollback would go is no part in the traffic."""
    return [role for role in roles if role.role != "previous"]
