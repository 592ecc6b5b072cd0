"""`pointsman traffic ...`, `promote`, `rollback` and `models`: the operator's hands on the points.

Enters: command-line arguments. Leaves: a table or JSON on stdout, what to do next on stderr, an exit code. Never knows a
rule about plans: the admin API applies them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import typer
from rich.console import Console, Group, RenderableType
from rich.text import Text

from contracts.errors import InvalidInput, Unavailable
from contracts.plan import Plan
from contracts.wire import Contract, encode
from gateway.admin.bodies import Changes, Monitors, Moved, Workers
from gateway.traffic.shares import parse_share
from pointsman.admin_client import AdminClient, admin_address, admin_client
from pointsman.configuration import load_settings
from pointsman.gate_pinning import Named, required_by
from pointsman.identity import user_name
from pointsman.plain_text import plain
from pointsman.traffic_view import differences, fleet_view, history_view, models_view, plan_view

T = TypeVar("T")

WAIT_SECONDS: Final = 5.0

traffic_app = typer.Typer(no_args_is_help=True, help="Who gets which traffic: show it, shift it, see who did.")


def _share(text: str) -> float:
    try:
        return parse_share(text)
    except InvalidInput as error:
        raise typer.BadParameter(str(error)) from None


ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.", show_default=False)]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A registered version.", show_default=False)]
ShareArgument = Annotated[
    float, typer.Argument(parser=_share, metavar="SHARE", help="Such as 5% or 0.05.", show_default=False)
]
VariantArgument = Annotated[str, typer.Argument(metavar="VARIANT", help="A challenger's name.", show_default=False)]
NameOption = Annotated[str | None, typer.Option(help="The challenger's name; by default its mode and version.")]
ReasonOption = Annotated[str, typer.Option(help="Why; goes into the history.")]
WhoOption = Annotated[str | None, typer.Option(help="Who asks, for the history; by default the user of this machine.")]
ExpectOption = Annotated[int | None, typer.Option(help="Refuse unless the plan is at this revision.")]
WaitOption = Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait until every worker follows.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AdminOption = Annotated[str | None, typer.Option(help="The admin API, such as http://127.0.0.1:8003.")]
ConfigOption = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]


class OnOff(StrEnum):
    """Whether something holds."""

    ON = "on"
    OFF = "off"


class PolicyName(StrEnum):
    """What a move of the alias `champion` does."""

    FOLLOW = "follow"
    REQUEST = "request"
    IGNORE = "ignore"


class Place(NamedTuple):
    """Which admin API to ask."""

    admin: str | None
    config: Path | None

    @property
    def address(self) -> str:
        """Its address: as said, else by the settings."""
        return self.admin or admin_address(load_settings(self.config))


class Asked(NamedTuple):
    """What every change carries."""

    place: Place
    reason: str
    who: str | None
    expect: int | None
    wait: float
    as_json: bool

    @property
    def body(self) -> dict[str, Any]:
        """The same, as the admin API takes it."""
        return {
            "reason": self.reason,
            "who": self.who or user_name(),
            "expected_revision": self.expect,
            "wait_ms": self.wait * 1000,
        }


@traffic_app.command()
def show(
    model: ModelArgument, *, as_json: JsonOption = False, admin: AdminOption = None, config: ConfigOption = None
) -> None:
    """Show who gets which traffic of a model, and which workers follow."""
    plan, workers, monitors = call(Place(admin, config), lambda client: _standing(client, model))
    print_out(plan, Group(plan_view(plan), fleet_view(plan, workers, monitors)), as_json=as_json)


@traffic_app.command()
def history(
    model: ModelArgument,
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many changes.")] = 20,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Show who changed what when, newest first."""
    changes = call(Place(admin, config), lambda client: client.history(model, limit))
    print_out(Changes(changes=changes), history_view(changes), as_json=as_json)


def models(*, as_json: JsonOption = False, admin: AdminOption = None, config: ConfigOption = None) -> None:
    """Show what is registered, loaded and routed."""
    found = call(Place(admin, config), lambda client: client.models())
    print_out(found, models_view(found) if found.models else "no models are registered yet", as_json=as_json)
    for warning in found.warnings:
        say("yellow", f"warning: {warning}")


def _challenge(verb: str, summary: str) -> None:
    """The command of a verb with a share."""

    @traffic_app.command(verb, help=summary)
    def command(
        model: ModelArgument,
        version: VersionArgument,
        share: ShareArgument,
        *,
        name: NameOption = None,
        reason: ReasonOption = "",
        who: WhoOption = None,
        expect: ExpectOption = None,
        wait: WaitOption = WAIT_SECONDS,
        as_json: JsonOption = False,
        admin: AdminOption = None,
        config: ConfigOption = None,
    ) -> None:
        asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
        _change(asked, model, verb, {"version": version, "share": share, "name": name})


def _about_version(verb: str, summary: str) -> None:
    """The command of a verb about one version."""

    @traffic_app.command(verb, help=summary)
    def command(
        model: ModelArgument,
        version: VersionArgument,
        *,
        reason: ReasonOption = "",
        who: WhoOption = None,
        expect: ExpectOption = None,
        wait: WaitOption = WAIT_SECONDS,
        as_json: JsonOption = False,
        admin: AdminOption = None,
        config: ConfigOption = None,
    ) -> None:
        asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
        _change(asked, model, verb, {"version": version})


_challenge("canary", "Give a version a share of the traffic; ask again to change it.")
_challenge("ab", "As canary, for a comparison that is meant to run; the champion's own version may take part.")
_challenge(
    "shadow", "Ask a version beside whoever answers, for a share of the traffic; its answers go to the log only."
)
_about_version("switch", "Blue/green: make a version the champion at once; the old one stays warm.")
_about_version("warm", "Keep a version loaded without traffic.")
_about_version("cool", "Stop keeping a version loaded without traffic.")


@traffic_app.command()
def remove(
    model: ModelArgument,
    variant: VariantArgument,
    *,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Take a challenger out; its traffic goes back to the champion."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    _change(asked, model, "remove", {"name": variant})


@traffic_app.command("require-gate")
def require_gate(
    model: ModelArgument,
    state: Annotated[OnOff, typer.Argument(help="From now on, or not any more.", show_default=False)],
    *,
    suite: Annotated[Path | None, typer.Option(help="Only gates of this suite count: its policy and its data.")] = None,
    any_data: Annotated[bool, typer.Option("--any-data", help="With --suite: its policy, on whatever data.")] = False,
    policy_sha256: Annotated[str | None, typer.Option(help="As --suite --any-data, by the policy's hash.")] = None,
    data_sha256: Annotated[
        str | None, typer.Option(help="With --policy-sha256: only on the data of this hash.")
    ] = None,
    any_suite: Annotated[bool, typer.Option("--any-suite", help="Gates of any suite count again.")] = False,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """More traffic only for versions whose `pointsman gate` against the champion passed; never for a rollback.

    Any suite will do unless one is named; the one that was named stays until another is, or --any-suite.
    """
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    named = Named(suite, any_data, policy_sha256, data_sha256, any_suite)
    _change(asked, model, "require-gate", required_by(named, required=state is OnOff.ON))


@traffic_app.command("alias-policy")
def alias_policy(
    model: ModelArgument,
    policy: Annotated[PolicyName, typer.Argument(help="What its moves do.", show_default=False)],
    *,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """What a move of the registry's alias champion does: shift at once, wait for `pointsman promotions`, or nothing."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    _change(asked, model, "alias-policy", {"policy": policy.value})


@traffic_app.command()
def republish(
    model: ModelArgument,
    *,
    stored: Annotated[bool, typer.Option("--stored", help="Settle what the store holds instead of what runs.")] = False,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """After the plan store lost changes: write what the workers run as a newer revision."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    _change(asked, model, "republish", {"stored": stored})


def promote(
    model: ModelArgument,
    variant: Annotated[
        str | None, typer.Argument(metavar="VARIANT", help="A challenger; may be left out where only one answers.")
    ] = None,
    *,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Make a challenger the champion; the old champion stays warm."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    _change(asked, model, "promote", {"name": variant})


def rollback(
    model: ModelArgument,
    *,
    to: Annotated[int | None, typer.Option(help="Bring the content of this earlier revision back.")] = None,
    reason: ReasonOption = "",
    who: WhoOption = None,
    expect: ExpectOption = None,
    wait: WaitOption = WAIT_SECONDS,
    as_json: JsonOption = False,
    admin: AdminOption = None,
    config: ConfigOption = None,
) -> None:
    """Take all traffic from the challengers; where none has any, bring the champion before this one back."""
    asked = Asked(Place(admin, config), reason, who, expect, wait, as_json)
    _change(asked, model, "rollback", {"to": to})


async def _standing(client: AdminClient, model: str) -> tuple[Plan, Workers, Monitors]:
    plan, workers = await client.plan(model), await client.workers()
    try:
        monitors = await client.monitors()
    except Unavailable:
        monitors = Monitors(monitors=())  # the plan store is away, as the workers' warning says
    return plan, workers, monitors


def _change(asked: Asked, model: str, verb: str, body: dict[str, Any]) -> None:
    """Ask for a change and tell what came of it."""
    show_moved(asked, call(asked.place, lambda client: client.do(model, verb, {**body, **asked.body})))


def show_moved(asked: Asked, moved: Moved) -> None:
    """Print the plan, and tell what came of a change."""
    print_out(moved, plan_view(moved.plan), as_json=asked.as_json)
    model = moved.plan.model
    say("green", f"changed: {'; '.join(differences(moved.change.before, moved.change.after))}")
    if moved.converged is not None:
        say("default" if moved.converged.endswith(" ms") else "yellow", f"converged: {moved.converged}")
    for slot, reason in moved.errors.items():
        say("yellow", f"{slot} stays behind: {reason}")
    for warning in moved.warnings:
        say("yellow", f"warning: {warning}")
    if any(challenger.mode != "shadow" for challenger in moved.plan.challengers):
        say("dim", f"next: pointsman report {model}, then pointsman promote {model} or pointsman rollback {model}")
    elif moved.plan.previous is not None:
        say("dim", f"back to version {moved.plan.previous.version}: pointsman rollback {model}")


def call(place: Place, ask: Callable[[AdminClient], Awaitable[T]]) -> T:
    """What the admin API answers; raises what it refuses with."""

    async def asking() -> T:
        async with admin_client(place.address) as client:
            return await ask(client)

    return asyncio.run(asking())


def print_out(value: Contract, view: RenderableType, *, as_json: bool) -> None:
    """To stdout: JSON for programs, a view for people."""
    if as_json:
        typer.echo(encode(value))
    else:
        Console().print(view)


def say(style: str, text: str) -> None:
    """One line to stderr."""
    Console(stderr=True).print(Text(plain(text), style), soft_wrap=True)
