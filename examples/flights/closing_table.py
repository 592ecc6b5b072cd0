"""The result as tables: every figure of the monitor beside the recount, the certificate, where to look further.

Enters: a result. Leaves: something rich can print. Never computes a figure.
"""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.statistic import Statistic
from examples.flights.closing import Closing, Comparison
from examples.flights.picture import STYLES
from examples.flights.result import Result
from monitor.pages.report_words import NONE, figure, title, with_interval
from monitor.pages.rows import find

_TICK: Final = {True: Text("✓", "green"), False: Text("✗ differs", "bold red")}


def closing_table(result: Result) -> RenderableType:
    """Everything that is to be said at the end."""
    return Group(
        *(_closing(closing) for closing in result.closings),
        _drift(result.closings),
        _verdict(_certified(result), result.complete, "complete, each counted once", "NOT complete"),
        _verdict("the monitor's figures", result.agrees, "stand up to the recount", "do NOT stand up to it"),
        Text(f"report: {result.report}"),
    )


def _closing(closing: Closing) -> Table:
    share = f"{closing.recount.predictions:,} predictions, {closing.recount.share:.1%} of all answered requests"
    if closing.variant.startswith("shadow"):
        share = f"{closing.recount.predictions:,} predictions beside {closing.recount.share:.1%} of the answers"
    table = Table(
        title=f"{closing.variant} (version {closing.version}): {share}", title_justify="left", title_style="bold"
    )
    for name in ("figure", "monitor", "log, by scikit-learn", ""):
        table.add_column(name, justify="left" if name in {"figure", ""} else "right")
    for comparison in closing.comparisons:
        row = find(closing.statistics, comparison.statistic)
        table.add_row(title(comparison.statistic), _measured(row), _recounted(comparison), _TICK[comparison.agrees])
    return table


def _measured(row: Statistic | None) -> Text:
    return Text(NONE) if row is None else Text(with_interval(row), STYLES[row.status])


def _recounted(comparison: Comparison) -> str:
    return figure(comparison.statistic, comparison.recounted)


def _drift(closings: Sequence[Closing]) -> Table:
    table = Table(title="Most drift since training (PSI)", title_justify="left", title_style="bold")
    table.add_column("variant")
    table.add_column("features")
    for closing in closings:
        said = Text(", ").join(
            Text(f"{row.feature} {figure('psi', row.value)} {row.status}", STYLES[row.status]) for row in closing.drift
        )
        table.add_row(f"{closing.variant} (version {closing.version})", said or Text(NONE))
    return table


def _certified(result: Result) -> str:
    records, missing, counted = (result.certificate[name] for name in ("records", "missing", "counted"))
    said = f"pointsman log verify: {records:,} records, {missing:,} missing, {counted or 0:,} counted by the monitor"
    audit = sum(log["kinds"].get("audit", 0) for log in result.certificate.get("logs", ()))
    return f"{said} and {audit} of the audit" if audit and counted is not None and counted + audit == records else said


def _verdict(what: str, good: bool, yes: str, no: str) -> Text:  # noqa: FBT001  it is what is being said
    return Text.assemble(f"{what}: ", (yes, "green") if good else (no, "bold red"))
