"""The command `pointsman`: the list of its commands, and how an error leaves it.

Enters: command-line arguments. Leaves: exit code 0 when done, 1 when refused or failed, 2 for wrong usage.
"""

import sys

import typer
from rich.console import Console
from rich.markup import escape

from contracts.errors import PointsmanError
from pointsman.card import card
from pointsman.demo import demo
from pointsman.explain import explain
from pointsman.gate import gate, gates
from pointsman.label import label
from pointsman.log import log_app
from pointsman.plain_text import plain
from pointsman.promotions import promotions_app
from pointsman.reference import reference_app
from pointsman.report import report
from pointsman.roles import forward, monitor, serve, up
from pointsman.traffic import models, promote, rollback, traffic_app

app = typer.Typer(
    name="pointsman",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve models, split their traffic, log every prediction, measure every version.",
)

for command in (
    up,
    serve,
    forward,
    monitor,
    models,
    promote,
    rollback,
    label,
    report,
    gate,
    gates,
    card,
    explain,
    demo,
):
    app.command()(command)
app.add_typer(traffic_app, name="traffic")
app.add_typer(promotions_app, name="promotions")
app.add_typer(reference_app, name="reference")
app.add_typer(log_app, name="log")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except PointsmanError as error:
        Console(stderr=True).print(f"[bold red]error:[/] {escape(plain(str(error)))}", soft_wrap=True, highlight=False)
        sys.exit(1)
