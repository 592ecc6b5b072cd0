"""`pointsman card MODEL VERSION`: everything that is known of one version, and what is not.

Enters: command-line arguments. Leaves: the card on the terminal, as JSON, or as a page in a file. The gateway's part comes
from the admin API, the live part from the monitor; without the monitor the card says that this is not known. Never
moves traffic.
"""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from contracts.errors import InvalidInput
from contracts.wire import encode
from pointsman.addresses import monitor_address
from pointsman.admin_client import admin_address
from pointsman.configuration import load_settings


def card(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version.", show_default=False)],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the card to this file, as a page of its own.")] = None,
    admin: Annotated[str | None, typer.Option(help="The admin API, such as http://127.0.0.1:8003.")] = None,
    monitor: Annotated[str | None, typer.Option(help="The monitor, such as http://127.0.0.1:8004.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Show everything that is known of one version: files, purpose, traffic, gates, figures; and what is not known."""
    from pointsman.card_asking import ask_card  # noqa: PLC0415  with what follows: for this command alone

    settings = load_settings(config)
    admin, monitor = admin or admin_address(settings), monitor or monitor_address(settings)
    found = asyncio.run(ask_card(admin, monitor, model, version))
    if html is not None:
        from gateway.cards.page import page  # noqa: PLC0415  likewise

        _write(html, page(found))
        typer.echo(f"card written to {html}", err=True)
    if as_json:
        typer.echo(encode(found))
    elif html is None:
        from rich.console import Console  # noqa: PLC0415  likewise

        from pointsman.card_view import card_view  # noqa: PLC0415  likewise

        Console().print(card_view(found))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--html {file} cannot be written: {error.strerror}") from error
