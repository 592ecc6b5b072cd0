"""How a gate's result looks in a terminal.

Enters: a result. Leaves: rich renderables. Never judges: every outcome stands in the result.
"""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.gate import GateCheck, GateOutcome, GateResult
from contracts.moment import format_moment
from pointsman.plain_text import plain

STYLES: Final[dict[GateOutcome, str]] = {
    "pass": "green",
    "inconclusive": "yellow",
    "missing": "yellow",
    "fail": "bold red",
}
NONE: Final = "-"


def gate_view(result: GateResult, chosen: str) -> RenderableType:
    """Every check with its figures, and the outcome; `chosen` says who the champion was taken from."""
    held = "no champion" if result.baseline is None else f"version {result.baseline.version}"
    title = Text.assemble(
        (f"{result.model} version {result.candidate.version}", "bold"),
        f" against {held} ({chosen}), {result.rows:,} rows",
        (f", policy {result.policy_sha256[:12]}, data {result.data_sha256[:12] or NONE}", "dim"),
    )
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("check", "candidate", "champion", "observed", "95 % interval", "at most", "n", "outcome", ""):
        table.add_column(name, justify="left" if name in {"check", "outcome", ""} else "right")
    for check in result.checks:
        table.add_row(*_row(check))
    return Group(title, table, Text.assemble("gate: ", (result.outcome, STYLES[result.outcome])))


def gates_view(results: tuple[GateResult, ...]) -> RenderableType:
    """One line a gate, the last evaluated first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("when (UTC)", "version", "against", "outcome", "who", "policy", "what was not passed", "gate"):
        table.add_column(name)
    for result in results:
        short = ", ".join(_named(check) for check in result.checks if check.outcome != "pass")
        table.add_row(
            format_moment(result.evaluated_us // 10**6 * 10**6),
            Text(plain(result.candidate.version)),
            Text(NONE if result.baseline is None else plain(result.baseline.version)),
            Text(result.outcome, STYLES[result.outcome]),
            Text(plain(result.who)),
            Text(result.policy_sha256[:12], "dim"),
            Text(plain(short)),
            result.gate_id,
        )
    return table


def _row(check: GateCheck) -> tuple[str | Text, ...]:
    interval = NONE if check.low is None or check.high is None else f"{_figure(check.low)} to {_figure(check.high)}"
    return (
        Text(plain(_named(check))),
        _figure(check.candidate),
        _figure(check.baseline),
        _figure(check.observed),
        interval,
        _figure(check.threshold),
        f"{check.n:,}",
        Text(check.outcome, STYLES[check.outcome]),
        Text(plain(check.reason), "dim"),
    )


def _named(check: GateCheck) -> str:
    return f"{check.kind} {check.name}{' ' if check.slice else ''}{check.slice}"


def _figure(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 1000 or (value.is_integer() and value) else f"{value:.4f}"
