"""Parts -> card: what is known is taken over, what is not becomes a gap with its reason. Pure.

Enters: what the registry, the plan store and the fleet said of a version, or why they did not; later what the monitor said.
Leaves: a card. Never asks anybody, never fills a gap with a guess.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from contracts.card import (
    GATES_MAX,
    LIVE_MAX,
    STEPS_MAX,
    Card,
    CardFiles,
    CardGate,
    CardReference,
    CardRole,
    CardStep,
    Gap,
    Part,
)
from contracts.gate import GateCheck, GateResult
from contracts.plan import Change, Plan
from contracts.reference import Reference
from contracts.signature import Signature
from contracts.statistic import Statistic
from contracts.verdict import Verdict
from gateway.cards.traffic_part import roles_in, steps_of
from gateway.fleet.seam import Seen

CHANGES_READ_MAX: Final = 1_000
NOT_ASKED: Final = "the admin API does not ask the monitor; `pointsman card` and `pointsman report` do"
PERFORMANCE: Final = frozenset({"auc", "accuracy", "log_loss", "brier", "mae", "rmse"})

T = TypeVar("T")


class Unknown(msgspec.Struct, frozen=True):
    """A part that nobody could tell, and why: there is no such version, who knows is away, or it cannot be used."""

    reason: str
    cause: Literal["absent", "away", "refused"] = "away"


class Parts(NamedTuple):
    """What each source said of one version of a model; `changes` newest first, at most CHANGES_READ_MAX."""

    model: str
    version: str
    files: CardFiles | Unknown
    signature: Signature | Unknown
    reference: Reference | Unknown | None
    aliases: Mapping[str, str] | Unknown
    plan: Plan | Unknown | None
    changes: Sequence[Change] | Unknown
    gates: Sequence[GateResult] | Unknown
    verdicts: Sequence[Verdict] | Unknown
    workers: Seen | Unknown


def card_of(parts: Parts, made_us: int, release: str) -> Card:
    """The card as the gateway knows it, without what the monitor says: `with_live` adds that."""
    gaps: list[Gap] = []
    version, files = parts.version, _finite(_known(parts.files, "files", gaps), gaps)
    plan, reference = _known(parts.plan, "roles", gaps), _known(parts.reference, "reference", gaps)
    roles = None if isinstance(parts.plan, Unknown) else roles_in(plan, version)
    traffic = _traffic(_known(parts.changes, "traffic", gaps), version, gaps)
    digest = _digest(files, roles or [role for step in traffic or () for role in (*step.after, *step.before)])
    if reference is None and not isinstance(parts.reference, Unknown):
        gaps.append(Gap(part="reference", reason="no reference was built: `pointsman reference build` makes one"))
    aliases = _known(parts.aliases, "aliases", gaps)
    gaps += _other_files(digest, roles)
    card = Card(
        model=parts.model,
        version=version,
        digest=digest,
        made_us=made_us,
        pointsman=release,
        files=files,
        signature=_known(parts.signature, "signature", gaps),
        reference=None if reference is None else _reference(reference),
        aliases=None if aliases is None else tuple(sorted(name for name, to in aliases.items() if to == version)),
        plan_revision=None if plan is None else plan.revision,
        roles=roles,
        loaded_by=_loaded_by(_known(parts.workers, "loaded_by", gaps), parts.model, version, digest, gaps),
        traffic=traffic,
        gates=_gates(_known(parts.gates, "gates", gaps), version, digest, gaps),
        verdicts=_verdicts(_known(parts.verdicts, "verdicts", gaps), version, digest, gaps),
        live=None,
        gaps=(),
    )
    return replace(card, gaps=(*gaps, Gap(part="live", reason=NOT_ASKED)))


def with_live(card: Card, rows: Sequence[Statistic] | Unknown) -> Card:
    """The card with what the monitor says of all traffic of the version: every figure of the whole, and of single features
    those that are past a gate.
    """
    gaps = [gap for gap in card.gaps if gap.part != "live"]
    if isinstance(rows, Unknown):
        return replace(card, live=None, gaps=(*gaps, Gap(part="live", reason=rows.reason)))
    own = [row for row in rows if (row.model, row.version, row.slice) == (card.model, card.version, "")]
    told = [row for row in own if not row.feature or row.status in {"warn", "alarm"}]
    reasons = []
    if not own:
        reasons.append("the monitor has counted no prediction of it")
    elif not any(row.statistic in PERFORMANCE and row.value is not None for row in own):
        reasons.append("how good its predictions are: none that has a label was counted")
    if len(told) > LIVE_MAX:
        reasons.append(f"{len(told) - LIVE_MAX} more statistics: `pointsman report {card.model}` has them all")
    gaps += [Gap(part="live", reason=reason) for reason in reasons]
    return replace(card, live=tuple(told[:LIVE_MAX]), gaps=tuple(gaps))


def is_empty(card: Card) -> bool:
    """Whether nobody knows anything of such a version."""
    return not (card.files or card.roles or card.traffic or card.gates)


def _known(part: T | Unknown, name: Part, gaps: list[Gap]) -> T | None:
    if isinstance(part, Unknown):
        gaps.append(Gap(part=name, reason=part.reason))
        return None
    return part


def _finite(files: CardFiles | None, gaps: list[Gap]) -> CardFiles | None:
    """JSON has no word for NaN: such a metric is a gap."""
    if files is None:
        return None
    metrics = files.metadata.metrics
    odd = sorted(name for name, value in metrics.items() if not math.isfinite(value))
    if odd:
        gaps.append(Gap(part="files", reason=f"metrics that are no finite numbers: {', '.join(odd)}"))
    kept = {name: value for name, value in metrics.items() if math.isfinite(value)}
    return replace(files, metadata=replace(files.metadata, metrics=kept))


def _digest(files: CardFiles | None, roles: Sequence[CardRole]) -> str | None:
    """Of its files, else of its first part, which may be its last one of earlier days."""
    if files is not None:
        return files.digest
    return roles[0].digest if roles else None


def _other_files(digest: str | None, roles: Sequence[CardRole] | None) -> list[Gap]:
    """A plan pins files: the registry may hold others under the same version by now."""
    others = sorted({role.digest for role in roles or () if role.digest != digest})
    return [
        Gap(part="roles", reason=f"the plan means other files under this version, of digest {other}")
        for other in others
    ]


def _reference(reference: Reference) -> CardReference:
    return CardReference(
        hash=reference.hash,
        rows=reference.rows,
        labelled=reference.labelled,
        positives=reference.positives,
        features=len(reference.features),
        performance=reference.performance,
        slices=reference.slice_performance,
    )


def _loaded_by(
    seen: Seen | None, model: str, version: str, digest: str | None, gaps: list[Gap]
) -> tuple[str, ...] | None:
    if seen is None:
        return None
    gaps += [Gap(part="loaded_by", reason=warning) for warning in seen.warnings]
    held = {
        worker.name: {ref.digest for ref in worker.loaded.get(model, ()) if ref.version == version}
        for worker in seen.workers
    }
    others = sorted(name for name, digests in held.items() if digests - {digest})
    if others:
        gaps.append(Gap(part="loaded_by", reason=f"other files under this version are held by {', '.join(others)}"))
    return tuple(name for name, digests in held.items() if digest in digests)


def _verdicts(
    verdicts: Sequence[Verdict] | None, version: str, digest: str | None, gaps: list[Gap]
) -> tuple[Verdict, ...] | None:
    if verdicts is None:
        return None
    own = tuple(verdict for verdict in verdicts if verdict.version == version)
    stale = sum(verdict.digest != digest for verdict in own)
    if stale:
        gaps.append(Gap(part="verdicts", reason=f"{stale} more are of other files under this version"))
    return tuple(verdict for verdict in own if verdict.digest == digest)


def _traffic(changes: Sequence[Change] | None, version: str, gaps: list[Gap]) -> tuple[CardStep, ...] | None:
    if changes is None:
        return None
    steps = steps_of(changes, version)
    if len(changes) >= CHANGES_READ_MAX:
        gaps.append(Gap(part="traffic", reason=f"what was before the model's last {CHANGES_READ_MAX:,} changes"))
    if len(steps) > STEPS_MAX:
        gaps.append(Gap(part="traffic", reason=f"{len(steps) - STEPS_MAX} earlier changes: see the model's history"))
    return steps[:STEPS_MAX]


def _gates(
    gates: Sequence[GateResult] | None, version: str, digest: str | None, gaps: list[Gap]
) -> tuple[CardGate, ...] | None:
    if gates is None:
        return None
    if digest is None:
        own, stale = [gate for gate in gates if gate.candidate.version == version], 0
    else:
        own = [gate for gate in gates if gate.candidate.digest == digest]
        stale = sum(gate.candidate.version == version for gate in gates if gate.candidate.digest != digest)
    if digest is None and own:
        gaps.append(Gap(part="gates", reason="whether the version still has the files of these gates"))
    if stale:
        gaps.append(
            Gap(part="gates", reason=f"{stale} more are of other files under this version and say nothing here")
        )
    if len(own) > GATES_MAX:
        gaps.append(Gap(part="gates", reason=f"{len(own) - GATES_MAX} earlier ones: see `pointsman gates`"))
    return tuple(_gate(gate) for gate in own[:GATES_MAX])


def _gate(gate: GateResult) -> CardGate:
    return CardGate(
        gate_id=gate.gate_id,
        outcome=gate.outcome,
        baseline=gate.baseline,
        policy_sha256=gate.policy_sha256,
        data_sha256=gate.data_sha256,
        evaluated_us=gate.evaluated_us,
        who=gate.who,
        checks=len(gate.checks),
        open=tuple(_named(check) for check in gate.checks if check.outcome != "pass"),
    )


def _named(check: GateCheck) -> str:
    return f"{check.kind} {check.name}{' ' if check.slice else ''}{check.slice}"
