"""`pointsman explain PREDICTION_ID`: who decided this, on what, under which plan, and what turned out to be true.

Enters: the id that a reply carried, state directories. Leaves: one screen, or JSON; exit code 1 where nobody recorded it.
Only reads; a running gateway is not disturbed.
"""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from contracts.errors import NotFound
from pointsman.configuration import load_settings


def explain(
    prediction_id: Annotated[
        str, typer.Argument(metavar="PREDICTION_ID", help="As the reply had it; ID#2 for its third row.")
    ],
    *,
    state_dirs: Annotated[
        list[Path] | None, typer.Option("--state-dir", help="Where a host keeps its state; once for each host.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Explain one prediction: version, digest, features, plan, who shifted the traffic, label, shadows.

    It reads the prediction log of this machine from when the prediction was made.
    """
    from pointsman.explain_view import explain_view  # noqa: PLC0415  with what follows: numpy, for this alone
    from pointsman.explaining import explained, read_id  # noqa: PLC0415  likewise

    asked = read_id(prediction_id)
    folders = state_dirs or [load_settings(config).state_dir]
    console = Console(stderr=True)
    with console.status(f"reading the log from {asked.made} on"):
        found = explained(asked, [folder / "spool" for folder in folders])
    if found is None:
        where = ", ".join(str(folder) for folder in folders)
        raise NotFound(
            f"prediction {asked.prediction_id} is not in the log of {where}: was it answered by another host (--state-dir),"
            f" or is it older than what is kept here? In Kafka it has its id as the key"
        )
    if as_json:
        typer.echo(msgspec.json.encode(found))
    else:
        Console().print(explain_view(found))
