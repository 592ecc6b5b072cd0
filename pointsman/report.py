"""`pointsman report MODEL`: drift and performance per version, variant and slice, asked from the running monitor.

Enters: a model's name. Leaves: tables on the terminal, the rows as JSON, or the monitor's HTML report in a file.
Never computes a statistic: every figure is a row of `GET /summaries`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import httpx
import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.errors import InvalidInput, NotFound, Unavailable
from contracts.statistic import Statistic
from monitor.pages.report_words import NONE, brief_interval, figure, look_first, title
from monitor.pages.rows import (
    SHARES,
    by_drift,
    by_variant,
    find,
    judged,
    overview_columns,
    performance_statistic,
    variant_name,
)
from pointsman.addresses import http_client, monitor_address, reason_of
from pointsman.configuration import load_settings
from pointsman.plain_text import plain

TIMEOUT_SECONDS: Final = 60.0
FEATURES_MAX: Final = 15
"""Features in the drift table, worst first; `--json` has them all."""
STYLES: Final = {"ok": "green", "warn": "yellow", "alarm": "bold red", "insufficient": "bright_black"}


class Rows(msgspec.Struct):
    """The body of `GET /summaries`."""

    rows: list[Statistic]


def report(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report with its plots to this file.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="Event time from, e.g. 2013-04-01T00:00:00Z.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Event time before, e.g. 2013-05-01T00:00:00Z.")] = None,
    monitor: Annotated[str | None, typer.Option(help="The monitor, such as http://127.0.0.1:8004.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Show drift and performance of a model per version, variant and slice."""
    asked = {"model": model} | ({"from": start} if start else {}) | ({"to": end} if end else {})
    with http_client(monitor or monitor_address(load_settings(config)), TIMEOUT_SECONDS) as client:
        body = _fetch(client, "/summaries", asked)
        rows = msgspec.json.decode(body, type=Rows).rows
        if not rows:
            raise NotFound(f"the monitor at {client.base_url} knows no prediction of {model!r} in this period")
        if html is not None:
            html.write_bytes(_fetch(client, "/report", asked))
            typer.echo(f"report written to {html}", err=True)
    if as_json:
        typer.echo(body)
    elif html is None:
        show(Console(), model, rows)


def show(console: Console, model: str, rows: Sequence[Statistic]) -> None:
    """Print what to look at first, then the tables."""
    everywhere = by_variant(row for row in rows if not row.slice)
    named = {variant_name(*key): found for key, found in everywhere.items()}
    console.print(
        Text(model, style="bold"), Text(f"{rows[0].from_} to {rows[0].to} of event time", style="bright_black")
    )
    for attention in look_first(named, []):
        console.print(_status(attention.status), Text(plain(attention.sentence)))
    console.print(_overview(named))
    console.print(_drift(named))
    sliced = [row for row in rows if row.slice]
    statistic = performance_statistic(sliced)
    if statistic is not None:
        console.print(_slices(sliced, statistic))


def _overview(variants: dict[str, list[Statistic]]) -> Table:
    columns = overview_columns(row for rows in variants.values() for row in rows)
    table = _table("Versions and variants", ["", *map(_head, variants)])
    table.add_row("status", *(_status(judged(rows)) for rows in variants.values()))
    for name in ("predictions", *columns):
        table.add_row(title(name), *(_figure(find(rows, name)) for rows in variants.values()))
    return table


def _drift(variants: dict[str, list[Statistic]]) -> Table:
    """PSI of each feature in each variant, coloured by its status; ordered by the worst of them."""
    ranked = by_drift(row for rows in variants.values() for row in rows)
    features = list(dict.fromkeys(row.feature for row in ranked))
    shown = features[:FEATURES_MAX]
    more = f"; {len(features) - len(shown)} more in --json" if len(shown) < len(features) else ""
    table = _table(f"Drift (PSI against the reference{more})", ["feature", *map(_head, variants)])
    for feature in shown:
        table.add_row(Text(plain(feature)), *(_psi(find(rows, "psi", feature)) for rows in variants.values()))
    return table


def _slices(rows: Sequence[Statistic], statistic: str) -> Table:
    variants = by_variant(rows)
    table = _table(f"Slices ({title(statistic)})", ["slice", *(_head(variant_name(*key)) for key in variants)])
    for name in sorted({row.slice for row in rows}):
        own = [[row for row in held if row.slice == name] for held in variants.values()]
        table.add_row(Text(plain(name)), *(_figure(find(found, statistic)) for found in own))
    return table


def _head(variant: str) -> str:
    return variant.replace(" (", "\n(")


def _figure(row: Statistic | None) -> Text:
    """The value over its interval, coloured where it is more than a fact."""
    if row is None:
        return Text(NONE)
    interval = "" if row.statistic in SHARES else brief_interval(row)
    said = figure(row.statistic, row.value) + (f"\n{interval}" if interval else "")
    return Text(said, STYLES[row.status] if row.status != "ok" else "")


def _psi(row: Statistic | None) -> Text:
    if row is None:
        return Text(NONE)
    return Text(figure("psi", row.value) + ("" if row.status == "ok" else f" {row.status}"), STYLES[row.status])


def _status(status: str) -> Text:
    return Text(status, STYLES[status])


def _table(caption: str, head: Sequence[str]) -> Table:
    table = Table(title=caption, title_justify="left", title_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index == 0 else "right")
    return table


def _fetch(client: httpx.Client, path: str, asked: dict[str, str]) -> bytes:
    try:
        response = client.get(path, params=asked)
    except httpx.TransportError as error:
        silent = f"nobody answers at {client.base_url} ({error})"
        raise Unavailable(
            f"{silent}: start Pointsman with `pointsman up`, or name its monitor with --monitor"
        ) from error
    if response.status_code != httpx.codes.OK:
        refused = Unavailable if response.is_server_error else InvalidInput
        raise refused(f"the monitor at {client.base_url} answered {response.status_code}: {reason_of(response)}")
    return response.content
