"""What the admin API takes and gives, as types; `/openapi.json` is made from them.

Enters and leaves: JSON. Never holds a rule about plans: those are in `gateway.traffic.shifts`.
"""

from contracts.gate import GateResult
from contracts.gate_pin import GatePin
from contracts.plan import AliasPolicy, Change, Plan, VersionRef
from contracts.promotion import AliasMove, Promotion
from contracts.standing import MonitorStanding
from contracts.verdict import Verdict
from contracts.version_state import State
from contracts.wire import Contract
from gateway.fleet.worker_status import WorkerStatus
from gateway.traffic.shares import checked_share, parse_share


class VerbBody(Contract, frozen=True, kw_only=True):
    """What every verb takes. `expected_revision`: refuse with 409 unless the plan is there; without it the verb applies
    to the plan as it stands. `wait_ms`: answer when every living worker follows, or after that many milliseconds.
    """

    who: str | None = None
    reason: str = ""
    expected_revision: int | None = None
    wait_ms: float = 0.0


class ShareBody(VerbBody, frozen=True, kw_only=True):
    """`share` is a number in [0, 1] or a text such as "5%". `name` is the variant's; by default `<mode>-<version>`."""

    version: str
    share: float | str
    name: str | None = None

    @property
    def part(self) -> float:
        """The share as a number in [0, 1]; raises `InvalidInput`."""
        return parse_share(self.share) if isinstance(self.share, str) else checked_share(self.share)


class VersionBody(VerbBody, frozen=True, kw_only=True):
    """A verb about one version."""

    version: str


class PromoteBody(VerbBody, frozen=True, kw_only=True):
    """`name` may be left out where exactly one challenger answers."""

    name: str | None = None


class RemoveBody(VerbBody, frozen=True, kw_only=True):
    """The challenger to take out."""

    name: str


class RollbackBody(VerbBody, frozen=True, kw_only=True):
    """`to` is an earlier revision whose content comes back; without it challengers lose their traffic or, where there
    are none, the champion before this one comes back.
    """

    to: int | None = None


class RequireGateBody(VerbBody, frozen=True, kw_only=True):
    """Whether the plan requires a gate from now on. `pin`: only gates of that policy, and of that data unless it is null,
    count. Without it a pin that is there stays; with `unpin` any suite will do again.
    """

    required: bool
    pin: GatePin | None = None
    unpin: bool = False


class AliasPolicyBody(VerbBody, frozen=True, kw_only=True):
    """What a move of the registry's alias `champion` does from now on."""

    policy: AliasPolicy


class RepublishBody(VerbBody, frozen=True, kw_only=True):
    """For a plan store that lost changes: what the workers run comes back as a newer revision, with `stored` what the store
    holds. `expected_revision` is the store's.
    """

    stored: bool = False


class Moved(Contract, frozen=True, kw_only=True):
    """An accepted change. `workers`: the revision each living worker routes by; `errors`: why one stays behind;
    `converged`: such as "2/2 in 34 ms", null where nobody asked to wait.
    """

    plan: Plan
    change: Change
    workers: dict[str, int | None]
    errors: dict[str, str]
    converged: str | None
    warnings: tuple[str, ...]


class Failure(Contract, frozen=True, kw_only=True):
    """Every refusal."""

    error: str


class MovedOn(Contract, frozen=True, kw_only=True):
    """409: the plan is not at the revision the caller saw. Both plans, where the expected one ever was."""

    error: str
    expected_revision: int
    expected_plan: Plan | None
    current_revision: int
    current_plan: Plan


class VersionRow(Contract, frozen=True, kw_only=True):
    """One registered or loaded version. `by` are the workers that have loaded it, else those who load or reject it, `admin`
    among them where the admin API did. `reason` says why it is rejected; at a version that is loaded or serving, why
    other files of its number were. `since_us` is since when it is so: microseconds since the epoch, UTC.
    """

    version: str
    state: State
    reason: str = ""
    since_us: int | None = None
    by: tuple[str, ...] = ()


class Versions(Contract, frozen=True, kw_only=True):
    """The versions of a model, oldest to newest; `warnings` says what could not be asked."""

    model: str
    versions: tuple[VersionRow, ...]
    warnings: tuple[str, ...]


class ModelRow(Contract, frozen=True, kw_only=True):
    """One model: what is registered, how each version stands, who has loaded what, and the plan; null before the first."""

    model: str
    versions: tuple[str, ...]
    states: tuple[VersionRow, ...]
    aliases: dict[str, str]
    loaded: dict[str, tuple[VersionRef, ...]]
    plan: Plan | None


class Models(Contract, frozen=True, kw_only=True):
    """Every model that is registered or loaded; `warnings` says what could not be asked."""

    models: tuple[ModelRow, ...]
    warnings: tuple[str, ...]


class Changes(Contract, frozen=True, kw_only=True):
    """Changes, newest first."""

    changes: tuple[Change, ...]


class Workers(Contract, frozen=True, kw_only=True):
    """The living workers, of all hosts where there is a fleet; `warnings` says why some may be missing."""

    workers: tuple[WorkerStatus, ...]
    warnings: tuple[str, ...] = ()


class Monitors(Contract, frozen=True, kw_only=True):
    """The living monitors and how far each is."""

    monitors: tuple[MonitorStanding, ...]


class Judged(Contract, frozen=True, kw_only=True):
    """The latest verdict of each variant and guard of a model."""

    verdicts: tuple[Verdict, ...]


class Promotions(Contract, frozen=True, kw_only=True):
    """What was asked for by moves of the alias `champion`, and the moves of all aliases; both newest first."""

    promotions: tuple[Promotion, ...]
    moves: tuple[AliasMove, ...]


class Refused(Contract, frozen=True, kw_only=True):
    """A promotion that was refused; `warnings` says what of its audit is missing."""

    promotion: Promotion
    warnings: tuple[str, ...]


class GateKept(Contract, frozen=True, kw_only=True):
    """A gate result that is kept; `warnings` says what of its audit is missing, and where the plan pins another policy."""

    gate: GateResult
    warnings: tuple[str, ...]


class Gates(Contract, frozen=True, kw_only=True):
    """The gate results of a model, the last evaluated first."""

    gates: tuple[GateResult, ...]


class Health(Contract, frozen=True, kw_only=True):
    """The plan store can be used. Webhook deliveries that this process took, and those it refused, since it started."""

    status: str
    workers: int
    webhooks_taken: int = 0
    webhooks_refused: int = 0


class Hinted(Contract, frozen=True, kw_only=True):
    """A webhook's delivery was taken: `told` the workers to look, or came once before."""

    told: bool
