"""Card -> sections on what a version does: parts in the traffic, how it came to them, gates, guards, figures. Pure."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from contracts.card import Card, CardGate, CardRole, CardStep
from contracts.statistic import Statistic
from contracts.verdict import Verdict
from gateway.cards.section import NONE, Grid, Section, Tone, Word, figure, gaps_of, moment
from gateway.traffic.shares import share_text

TONES: Final[Mapping[str, Tone]] = MappingProxyType(
    {
        "pass": "good",
        "ok": "",
        "warn": "doubtful",
        "inconclusive": "doubtful",
        "missing": "doubtful",
        "no_data": "doubtful",
        "insufficient": "soft",
        "error": "bad",
        "fail": "bad",
        "alarm": "bad",
    }
)


def present(card: Card) -> Section:
    """Its parts in the plan as it stands."""
    facts = []
    if card.roles is not None:
        at = "the model has no plan yet" if card.plan_revision is None else f"revision {card.plan_revision}"
        facts.append(("plan", Word(at)))
        facts += [("part", Word(_role(role, card.digest))) for role in card.roles] or [("part", Word("none"))]
    if card.loaded_by is not None:
        facts.append(("loaded by", Word(", ".join(card.loaded_by) or "no worker")))
    return Section("Traffic now", tuple(facts), gaps=gaps_of(card, "roles", "loaded_by"))


def history(card: Card) -> Section:
    """How it came to its parts, newest first."""
    grid = None
    if card.traffic is not None:
        rows = tuple(_step(step, card.digest) for step in card.traffic)
        grid = Grid(("revision", "when (UTC)", "who", "verb", "before", "after", "why"), rows, frozenset({0}))
    return Section("Traffic history", _none(card.traffic, "it never had a part"), grid, gaps_of(card, "traffic"))


def gates(card: Card) -> Section:
    """What gates found of these files, newest first."""
    grid = None
    if card.gates is not None:
        head = ("when (UTC)", "outcome", "against", "who", "checks", "not passed", "policy", "data", "gate")
        grid = Grid(head, tuple(map(_gate, card.gates)), frozenset({4}))
    return Section("Gates", _none(card.gates, "no gate of these files is kept"), grid, gaps_of(card, "gates"))


def verdicts(card: Card) -> Section:
    """What the monitor's guards said last."""
    grid = None
    if card.verdicts is not None:
        head = ("variant", "guard", "outcome", "revision", "judged (UTC)")
        grid = Grid(head, tuple(map(_verdict, card.verdicts)), frozenset({3}))
    return Section("Guards", _none(card.verdicts, "no guard has judged it"), grid, gaps_of(card, "verdicts"))


def live(card: Card) -> Section:
    """How it does on the traffic that it gets."""
    facts, grid = [], None
    if card.live:
        facts.append(("event time", Word(f"{card.live[0].from_} to {card.live[0].to}")))
        head = ("variant", "statistic", "value", "95 % interval", "n", "status")
        grid = Grid(head, tuple(map(_statistic, card.live)), frozenset({2, 3, 4}))
    return Section("Live performance", tuple(facts), grid, gaps_of(card, "live"))


def _none(rows: Sequence[object] | None, words: str) -> tuple[tuple[str, Word], ...]:
    return (("", Word(words, "soft")),) if rows is not None and not rows else ()


def _role(role: CardRole, digest: str | None) -> str:
    """The part in words, and the digest where it is not that of the card."""
    words = {"warm": "kept warm, without traffic", "previous": "where a rollback of the champion goes"}.get(role.role)
    if words is None:
        share = share_text(role.share or 0.0)
        named = role.role if role.variant == role.role else f"{role.variant} ({role.role})"
        words = f"{named}, asked beside for {share} of the units" if role.role == "shadow" else f"{named}, {share}"
    return words if role.digest == digest else f"{words} [other files: {role.digest[:12]}]"


def _roles(roles: Sequence[CardRole], digest: str | None) -> Word:
    return Word("; ".join(_role(role, digest) for role in roles)) if roles else Word(NONE)


def _step(step: CardStep, digest: str | None) -> tuple[Word, ...]:
    before, after = _roles(step.before, digest), _roles(step.after, digest)
    at = moment(step.at_us)
    return Word(str(step.revision)), at, Word(step.who), Word(step.verb), before, after, Word(step.reason or NONE)


def _gate(gate: CardGate) -> tuple[Word, ...]:
    return (
        moment(gate.evaluated_us),
        Word(gate.outcome, TONES[gate.outcome]),
        Word("no champion" if gate.baseline is None else f"{gate.baseline.version} ({gate.baseline.digest[:12]})"),
        Word(gate.who),
        Word(f"{gate.checks:,}"),
        Word(", ".join(gate.open) or NONE),
        Word(gate.policy_sha256[:12] or NONE),
        Word(gate.data_sha256[:12] or NONE),
        Word(gate.gate_id),
    )


def _verdict(verdict: Verdict) -> tuple[Word, ...]:
    return (
        Word(verdict.variant),
        Word(verdict.guard),
        Word(verdict.outcome, TONES[verdict.outcome]),
        Word(str(verdict.revision)),
        moment(verdict.judged_us),
    )


def _statistic(row: Statistic) -> tuple[Word, ...]:
    name = row.statistic.replace("_", " ")
    interval = NONE if row.low is None or row.high is None else f"{figure(row.low).text} to {figure(row.high).text}"
    return (
        Word(row.variant),
        Word(f"{name} of {row.feature}" if row.feature else name),
        figure(row.value),
        Word(interval),
        Word(f"{row.n:,}"),
        Word(row.status, TONES[row.status]),
    )
