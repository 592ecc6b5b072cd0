r"""Plan and unit -> who answers, who is asked beside, and why: the assignment law, as pure functions.

Enters: a plan and the unit of one request. Leaves: a route. Never looks anything up: whoever reads a record can compute
its route again from the plan of that revision.

The unit's hash is xxh3_64 over "<salt>\\0<unit>"; its upper 32 bits are the bucket that the plan's ranges speak of. Each
shadow has a hash space of its own, salted with its name, so that several shadows sample independently.
"""

from bisect import bisect_right
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from contracts.errors import NotFound
from contracts.plan import BUCKETS, CHAMPION, Challenger, Plan, VersionRef
from contracts.prediction import Assignment, Reason, Role, UnitSource


class Variant(NamedTuple):
    """A version in a traffic role, with its part of the units in [0, 1]."""

    name: str
    ref: VersionRef
    role: Role
    share: float


class Points(NamedTuple):
    """A plan laid out for lookup: `starts[i]` is the first bucket of the range that `owners[i]` owns, gaps included."""

    plan: Plan
    champion: Variant
    starts: tuple[int, ...]
    owners: tuple[Variant, ...]
    shadows: tuple[tuple[Variant, Challenger], ...]
    named: dict[str, Variant]


class Route(NamedTuple):
    """Who answers one request, and how the unit came there; what `contracts.prediction.Assignment` says, as numbers."""

    variant: Variant
    unit_hash: int
    unit_source: UnitSource
    salt: str
    propensity: float
    reason: Reason

    @property
    def assignment(self) -> Assignment:
        """How the unit came there, as a record says it."""
        return Assignment(
            unit_hash=f"{self.unit_hash:016x}",
            unit_source=self.unit_source,
            salt=self.salt,
            share=self.variant.share,
            propensity=self.propensity,
            reason=self.reason,
        )


def points_of(plan: Plan) -> Points:
    """Lay a plan out for lookup."""
    champion = Variant(CHAMPION, plan.champion, "champion", plan.champion_share)
    named = {CHAMPION: champion}
    owned: list[tuple[int, int, Variant]] = []
    shadows = []
    for challenger in plan.challengers:
        ref = VersionRef(version=challenger.version, digest=challenger.digest)
        role: Role = "shadow" if challenger.mode == "shadow" else "challenger"
        variant = Variant(challenger.name, ref, role, challenger.share)
        named[challenger.name] = variant
        if role == "shadow":
            shadows.append((variant, challenger))
        else:
            owned.extend((start, end, variant) for start, end in challenger.ranges)
    starts, owners = [0], [champion]
    for start, end, variant in sorted(owned, key=lambda part: part[0]):
        if start == starts[-1]:
            owners[-1] = variant
        else:
            starts.append(start)
            owners.append(variant)
        starts.append(end)
        owners.append(champion)
    return Points(plan, champion, tuple(starts), tuple(owners), tuple(shadows), named)


def unit_hash(salt: str, unit: str) -> int:
    """The 64-bit hash of a unit under a salt."""
    return xxh3_64_intdigest(f"{salt}\0{unit}".encode())


def route(points: Points, unit: str, source: UnitSource) -> Route:
    """The variant that owns the unit's bucket."""
    plan = points.plan
    hashed = unit_hash(plan.salt, unit)
    variant = points.owners[bisect_right(points.starts, hashed >> 32) - 1]
    return Route(variant, hashed, source, plan.salt, variant.share, "hash")


def route_to(points: Points, variant: Variant, unit: str, source: UnitSource, reason: Reason) -> Route:
    """The variant that something other than the hash chose; it was sure to be chosen, so the propensity is 1."""
    salt = points.plan.salt
    return Route(variant, unit_hash(salt, unit), source, salt, 1.0, reason)


def stand_in(points: Points, missed: Route) -> Route:
    """The champion's route where it answers for a challenger that could not; the propensity stays the unit's own."""
    return missed._replace(variant=points.champion, reason="fallback")


def shadow_routes(points: Points, unit: str, source: UnitSource) -> list[Route]:
    """The shadows that are asked beside whoever answers; each samples the units by a hash of its own."""
    routes = []
    for variant, challenger in points.shadows:
        salt = f"{points.plan.salt}\0{variant.name}"
        hashed = unit_hash(salt, unit)
        bucket = hashed >> 32
        if variant.share == 1.0 or any(start <= bucket < end for start, end in challenger.ranges):
            routes.append(Route(variant, hashed, source, salt, variant.share, "shadow"))
    return routes


def named_variant(points: Points, name: str) -> Variant:
    """The variant of that name; `NotFound` lists the names there are."""
    variant = points.named.get(name)
    if variant is None:
        known = ", ".join(points.named)
        raise NotFound(
            f"model {points.plan.model!r} has no variant {name!r} in revision {points.plan.revision}: use {known}"
        )
    return variant


assert BUCKETS == 2**32, "the bucket is the upper half of a 64-bit hash"
