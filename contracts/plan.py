"""The plan: who gets which traffic for one model; immutable, numbered by `revision`.

The four patterns are shapes of it. Blue/green: another champion, the old one in `warm`. Canary and A/B: challengers that
own ranges of the unit hash. Shadow: challengers asked beside whoever answers. Ranges are half-open [start, end) in
`BUCKETS` steps of the unit hash; what no canary or A/B challenger owns is the champion's, so the ranges are complete by
construction. A shadow's ranges lie in a hash space of its own and may overlap with anyone's.
"""

from typing import Literal

from contracts.errors import InvalidInput
from contracts.gate_pin import GatePin
from contracts.wire import Contract

BUCKETS = 2**32
CHAMPION = "champion"
CHALLENGERS_MAX = 16

Mode = Literal["shadow", "canary", "ab"]
AliasPolicy = Literal["follow", "request", "ignore"]


class VersionRef(Contract, frozen=True, kw_only=True):
    """One registered artefact: registry version and sha256 digest of its files."""

    version: str
    digest: str


class Challenger(Contract, frozen=True, kw_only=True):
    """A named variant beside the champion. `ranges` are in the order in which they were taken: lowering the share gives
    back the last first.
    """

    name: str
    version: str
    digest: str
    mode: Mode
    ranges: tuple[tuple[int, int], ...] = ()

    @property
    def share(self) -> float:
        """The part of the units that this challenger is asked for, in [0, 1]."""
        return sum(end - start for start, end in self.ranges) / BUCKETS


class Plan(Contract, frozen=True, kw_only=True):
    """One model's plan. `previous` is the champion before this one: where a rollback goes. `warm` versions stay loaded
    without traffic. `gate_required`: more traffic only for versions whose gate against the champion passed; of what
    `gate_pin` names, where it is not null.
    `alias_policy`: what a move of the registry's alias `champion` does; null: it is followed until somebody shifts traffic.
    """

    schema: Literal[1] = 1
    model: str
    revision: int
    salt: str
    champion: VersionRef
    challengers: tuple[Challenger, ...] = ()
    warm: tuple[VersionRef, ...] = ()
    previous: VersionRef | None = None
    gate_required: bool = False
    alias_policy: AliasPolicy | None = None
    gate_pin: GatePin | None = None

    def __post_init__(self) -> None:
        """Refuse a plan that breaks its own laws; `InvalidInput` names which."""
        names = [challenger.name for challenger in self.challengers]
        if len(names) > CHALLENGERS_MAX:
            raise InvalidInput(f"{len(names)} challengers; a plan holds at most {CHALLENGERS_MAX}: remove one first")
        if CHAMPION in names or len(set(names)) != len(names):
            raise InvalidInput(f"challenger names {names} must differ from each other and from {CHAMPION!r}")
        live: list[tuple[int, int]] = []
        for challenger in self.challengers:
            _check_ranges(challenger.name, sorted(challenger.ranges))
            if challenger.mode != "shadow":
                live.extend(challenger.ranges)
        _check_ranges("the challengers together", sorted(live))
        if self.gate_pin is not None and not self.gate_required:
            raise InvalidInput("gate_pin: says which gate counts, but gate_required is false: require one, or pin none")

    @property
    def champion_share(self) -> float:
        """The part of the units that no challenger owns, in [0, 1]."""
        owned = sum(end - start for c in self.challengers if c.mode != "shadow" for start, end in c.ranges)
        return (BUCKETS - owned) / BUCKETS


class Change(Contract, frozen=True, kw_only=True):
    """One line of a plan's history: who moved what, when, why, from what to what."""

    schema: Literal[1] = 1
    model: str
    revision: int
    at_us: int
    who: str
    verb: str
    reason: str
    before: Plan | None
    after: Plan


def _check_ranges(owner: str, ranges: list[tuple[int, int]]) -> None:
    last = 0
    for start, end in ranges:
        if not (last <= start < end <= BUCKETS):
            raise InvalidInput(
                f"ranges of {owner}: [{start}, {end}) is empty, overlaps another or leaves [0, {BUCKETS})",
            )
        last = end
