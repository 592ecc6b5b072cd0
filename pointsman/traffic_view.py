"""How plans, changes and models look in a terminal.

Enters: contracts and the admin API's replies. Leaves: rich renderables and sentences. Never asks anybody anything.
"""

from datetime import UTC, datetime
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from contracts.plan import CHAMPION, Change, Plan, VersionRef
from gateway.admin.bodies import ModelRow, Models, Monitors, VersionRow, Workers
from gateway.traffic.shares import share_text
from pointsman.plain_text import plain

BAR_CELLS: Final = 40
COLOURS: Final = ("cyan", "magenta", "yellow", "blue", "red", "bright_green", "bright_magenta", "bright_yellow")
CHAMPION_COLOUR: Final = "green"
STATE_COLOURS: Final[dict[str, str]] = {
    "serving": "green",
    "loaded": "cyan",
    "loading": "yellow",
    "rejected": "red",
    "available": "dim",
}


def plan_view(plan: Plan) -> RenderableType:
    """One plan: who gets which part of the units."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("variant", "mode", "version", "digest", "share"):
        table.add_column(name, justify="right" if name == "share" else "left")
    table.add_column("")
    table.add_row(*_variant(CHAMPION, "", plan.champion, plan.champion_share, CHAMPION_COLOUR))
    for challenger, colour in zip(plan.challengers, _colours(plan), strict=True):
        ref = VersionRef(version=challenger.version, digest=challenger.digest)
        table.add_row(*_variant(challenger.name, challenger.mode, ref, challenger.share, colour))
    return Group(Text.assemble((plan.model, "bold"), f"  revision {plan.revision}"), table, *_kept(plan))


def fleet_view(plan: Plan, workers: Workers, monitors: Monitors) -> RenderableType:
    """Who follows a plan, who stays behind and why, and how far the monitors are."""
    follow = [worker for worker in workers.workers if worker.applied.get(plan.model, 0) == plan.revision]
    lines = [Text(f"{len(follow)} of {len(workers.workers)} workers at revision {plan.revision}", "dim")]
    if not workers.workers:
        lines = [Text("no worker runs: the plan applies when one starts", "yellow")]
    for worker in workers.workers:
        reason = worker.errors.get(plan.model)
        if worker not in follow or reason:
            at = worker.applied.get(plan.model)
            where = f"revision {at}" if at else "nothing yet"
            lines.append(Text(f"{worker.name} at {where}: {plain(reason or 'it is on its way')}", "yellow"))
    lines += [Text(f"warning: {plain(warning)}", "yellow") for warning in workers.warnings]
    for monitor in monitors.monitors:
        said = f"monitor {monitor.member}: {monitor.lag_records:,} records behind"
        lines.append(
            Text(
                f"{said}; {plain(monitor.problem)}" if monitor.problem else said, "yellow" if monitor.problem else "dim"
            )
        )
    return Group(*lines)


def history_view(changes: tuple[Change, ...]) -> RenderableType:
    """Changes, newest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("revision", "when (UTC)", "who", "verb", "what", "why"):
        table.add_column(name, justify="right" if name == "revision" else "left")
    for change in changes:
        table.add_row(
            str(change.revision),
            when(change.at_us),
            escape(plain(change.who)),
            escape(change.verb),
            escape("; ".join(differences(change.before, change.after))),
            escape(plain(change.reason)),
        )
    return table


def models_view(found: Models) -> RenderableType:
    """What is registered, loaded and routed."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("model", "versions", "aliases", "champion", "challengers", "loaded by"):
        table.add_column(name)
    for row in found.models:
        table.add_row(*_model(row))
    rejected = [(row.model, one) for row in found.models for one in row.states if one.reason]
    return Group(table, *(_rejection(model, one) for model, one in rejected)) if rejected else table


def differences(before: Plan | None, after: Plan) -> list[str]:
    """What a change changed, as short sentences; never empty."""
    if before is None:
        return [f"first plan: champion {after.champion.version}"]
    told = []
    if before.champion != after.champion:
        told.append(f"champion {before.champion.version} → {after.champion.version}")
    shares = {c.name: c.share for c in before.challengers}
    modes = {c.name: f"{c.name} ({c.mode}, version {c.version})" for c in (*before.challengers, *after.challengers)}
    new = {c.name: c.share for c in after.challengers}
    for name in dict.fromkeys([*shares, *new]):
        if name not in new:
            told.append(f"{name} removed")
        elif name not in shares:
            told.append(f"{modes[name]} {share_text(new[name])}")
        elif shares[name] != new[name]:
            told.append(f"{name} {share_text(shares[name])} → {share_text(new[name])}")
    if before.salt != after.salt:
        told.append("new salt: every unit was assigned anew")
    return [*(told or _warmth(before, after)), *_rules(before, after)] or ["nobody moved"]


def when(at_us: int) -> str:
    """A moment as people read it, UTC, to the second."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _rules(before: Plan, after: Plan) -> list[str]:
    """Changes of what later changes need; told beside any others, for somebody may have loosened one on the way."""
    told = []
    if before.gate_required != after.gate_required:
        told.append(f"a gate is {'required' if after.gate_required else 'not required any more'}")
    if before.gate_pin != after.gate_pin and after.gate_required:
        told.append(f"a gate must be of {after.gate_pin.in_words if after.gate_pin else 'any suite'}")
    if before.alias_policy != after.alias_policy:
        told.append(f"the alias champion: {after.alias_policy or 'followed until traffic is shifted by hand'}")
    return told


def _warmth(before: Plan, after: Plan) -> list[str]:
    """Changes of what is kept loaded, which move nobody."""
    warm = sorted({ref.version for ref in after.warm} - {ref.version for ref in before.warm})
    cooled = sorted({ref.version for ref in before.warm} - {ref.version for ref in after.warm})
    return [f"version {version} kept warm" for version in warm] + [f"version {version} let go" for version in cooled]


def _variant(name: str, mode: str, ref: VersionRef, share: float, colour: str) -> tuple[RenderableType, ...]:
    return (
        Text(name, style=colour),
        mode,
        Text(ref.version),
        Text(ref.digest[:12], style="dim"),
        share_text(share),
        _bar(share, colour, hollow=mode == "shadow"),
    )


def _bar(share: float, colour: str, *, hollow: bool) -> Text:
    """A share as a bar; hollow for a shadow, whose answers nobody sees. Some is at least one cell."""
    cells = max(1, round(share * BAR_CELLS)) if share else 0
    return Text.assemble((("░" if hollow else "█") * cells, colour), ("·" * (BAR_CELLS - cells), "bright_black"))


def _colours(plan: Plan) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(len(plan.challengers))]


def _kept(plan: Plan) -> list[Text]:
    lines = []
    if plan.gate_required:
        pinned = f", of {plan.gate_pin.in_words}" if plan.gate_pin else ""
        lines.append(Text(f"more traffic needs a passing gate against the champion{pinned}", style="dim"))
    if plan.alias_policy:
        lines.append(Text(f"moves of the alias champion: {plan.alias_policy}", style="dim"))
    if plan.warm:
        lines.append(Text(f"warm: {', '.join(f'version {ref.version}' for ref in plan.warm)}", style="dim"))
    if plan.previous is not None:
        lines.append(Text(f"a rollback of the champion goes to version {plan.previous.version}", style="dim"))
    return lines


def _rejection(model: str, row: VersionRow) -> Text:
    since = f" since {when(row.since_us)} UTC" if row.since_us is not None else ""
    how = "rejected" if row.state == "rejected" else f"{row.state}, but files of its number are rejected"
    return Text(f"version {row.version} of {model} is {how}{since}: {plain(row.reason)}", STATE_COLOURS["rejected"])


def _versions(row: ModelRow) -> Text:
    """The versions, each in the colour of its state and named by it where it is anything but available."""
    told = [
        (one.version if one.state == "available" else f"{one.version} {one.state}", STATE_COLOURS[one.state])
        for one in row.states
    ]
    return Text(", ").join(Text(text, colour) for text, colour in told)


def _model(row: ModelRow) -> tuple[RenderableType, ...]:
    aliases = ", ".join(f"{alias} = {version}" for alias, version in sorted(row.aliases.items()))
    loaded = "; ".join(f"{slot}: {', '.join(ref.version for ref in refs)}" for slot, refs in sorted(row.loaded.items()))
    challengers = ", ".join(f"{c.name} {share_text(c.share)}" for c in row.plan.challengers) if row.plan else ""
    champion = row.plan.champion.version if row.plan else "no plan yet"
    return Text(row.model), _versions(row), *map(Text, (aliases, champion, challengers, loaded))
