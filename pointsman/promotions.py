"""`pointsman promotions`: what moves of the registry's alias `champion` asked for, and a person's yes or no.

Enters: command-line arguments. Leaves: a table or JSON on stdout, what came of it on stderr, an exit code. Never decides
whether a promotion can be approved: the admin API does.
"""

from typing import Annotated

import typer

from gateway.admin.bodies import Promotions
from pointsman.admin_client import AdminClient
from pointsman.promotions_view import promotions_view
from pointsman.traffic import (
    WAIT_SECONDS,
    AdminOption,
    Asked,
    ConfigOption,
    ExpectOption,
    JsonOption,
    ModelArgument,
    Place,
    ReasonOption,
    WaitOption,
    WhoOption,
    call,
    print_out,
    say,
    show_moved,
)

promotions_app = typer.Typer(
    no_args_is_help=True,
    help="Promotions that a move of the registry's alias champion asked for: list, approve, refuse.",
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The promotion's id, as listed.", show_default=False)]


@promotions_app.command("list")
def listed(
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="One model; by default all.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many of each model.")] = 20,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Show promotions and the moves of aliases, newest first."""
    found = call(Place(admin, config), lambda client: _found(client, model, limit))
    print_out(found, promotions_view(found), as_json=as_json)


@promotions_app.command()
def approve(
    model: ModelArgument,
    promotion: IdArgument,
    *,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Make the candidate the champion, if it has the same files and the champion is still the same."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    show_moved(asked, call(asked.place, lambda client: client.approve(model, promotion, asked.body)))


@promotions_app.command()
def refuse(
    model: ModelArgument,
    promotion: IdArgument,
    *,
    reason: ReasonOption = "",
    who: WhoOption = None,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Leave the champion as it is."""
    asked = Asked(Place(admin, config), reason, who, None, 0.0, as_json)
    refused = call(asked.place, lambda client: client.refuse(model, promotion, asked.body))
    shown = promotions_view(Promotions(promotions=(refused.promotion,), moves=()))
    print_out(refused, shown, as_json=as_json)
    for warning in refused.warnings:
        say("yellow", f"warning: {warning}")


async def _found(client: AdminClient, model: str | None, limit: int) -> Promotions:
    names = [model] if model else [row.model for row in (await client.models()).models]
    found = [await client.promotions(name, limit) for name in names]
    return Promotions(
        promotions=tuple(one for each in found for one in each.promotions),
        moves=tuple(move for each in found for move in each.moves),
    )
