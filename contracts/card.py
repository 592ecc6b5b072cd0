"""The card of a version: everything that is known of it, and what is not known with the reason.

A part that nobody could tell is null and stands in `gaps`; one that is known to be empty is empty. A gap beside a part that
is there says what that part leaves out. Times are microseconds since the epoch, UTC.
"""

from typing import Final, Literal

from contracts.gate import GateOutcome
from contracts.metadata import ModelMetadata
from contracts.plan import VersionRef
from contracts.signature import Signature
from contracts.statistic import Statistic
from contracts.verdict import Verdict
from contracts.wire import Contract

Part = Literal[
    "files", "signature", "reference", "aliases", "roles", "loaded_by", "traffic", "gates", "verdicts", "live"
]
Role = Literal["champion", "canary", "ab", "shadow", "warm", "previous"]

STEPS_MAX: Final = 100
GATES_MAX: Final = 10
LIVE_MAX: Final = 200


class Gap(Contract, frozen=True, kw_only=True):
    """What is not known of one part, and why."""

    part: Part
    reason: str


class CardFiles(Contract, frozen=True, kw_only=True):
    """The files of the version as the registry has them, `reference.json` not counted. `created_us`: when its
    `model.onnx` was written.
    """

    digest: str
    created_us: int
    files: int
    bytes: int
    metadata: ModelMetadata


class CardReference(Contract, frozen=True, kw_only=True):
    """What the reference says of itself: its own figures over `labelled` of `rows` rows, over all and by slice."""

    hash: str
    rows: int
    labelled: int
    positives: int
    features: int
    performance: dict[str, float]
    slices: dict[str, dict[str, float]]


class CardRole(Contract, frozen=True, kw_only=True):
    """A part in a plan. `share` is of the units that it answers (a shadow: is asked for), null without traffic. `previous`
    is where a rollback of the champion goes. The digest is the plan's: it may be of other files under the same version.
    """

    variant: str
    role: Role
    share: float | None
    digest: str


class CardStep(Contract, frozen=True, kw_only=True):
    """A change of the plan in which the version got, changed or lost a part: who made it, and why."""

    revision: int
    at_us: int
    who: str
    verb: str
    reason: str
    before: tuple[CardRole, ...]
    after: tuple[CardRole, ...]


class CardGate(Contract, frozen=True, kw_only=True):
    """What one gate found of these files. `checks` were asked; `open` names those that did not pass. What the gate asked is
    told by the hashes of `contracts.gate.GateResult`, empty in a card that an older release wrote.
    """

    gate_id: str
    outcome: GateOutcome
    baseline: VersionRef | None
    policy_sha256: str = ""
    data_sha256: str = ""
    evaluated_us: int
    who: str
    checks: int
    open: tuple[str, ...]


class Card(Contract, frozen=True, kw_only=True):
    """One version. `digest` is that of its files, else the one that the plan pins, or pinned last; null where none is known.
    `roles` are its present parts in revision `plan_revision`, `traffic` how it came to them, newest first and at most
    STEPS_MAX, `gates` the last GATES_MAX, `live` the monitor's statistics, at most LIVE_MAX. Written at `made_us` by release
    `pointsman`.
    """

    schema: Literal[1] = 1
    model: str
    version: str
    digest: str | None
    made_us: int
    pointsman: str
    files: CardFiles | None
    signature: Signature | None
    reference: CardReference | None
    aliases: tuple[str, ...] | None
    plan_revision: int | None
    roles: tuple[CardRole, ...] | None
    loaded_by: tuple[str, ...] | None
    traffic: tuple[CardStep, ...] | None
    gates: tuple[CardGate, ...] | None
    verdicts: tuple[Verdict, ...] | None
    live: tuple[Statistic, ...] | None
    gaps: tuple[Gap, ...]
