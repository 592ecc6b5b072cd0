"""How promotions and moves of aliases look in a terminal.

Enters: the admin API's reply. Leaves: rich renderables. Never asks anybody anything.
"""

from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.promotion import AliasMove, AliasTarget, Promotion
from gateway.admin.bodies import Promotions
from pointsman.plain_text import plain
from pointsman.traffic_view import when

STYLES: Final = {"pending": "yellow", "approved": "green", "refused": "red"}


def promotions_view(found: Promotions) -> RenderableType:
    """Two tables; a sentence where there is nothing."""
    tables = []
    if found.promotions:
        names = ("when (UTC)", "model", "version", "digest", "instead of", "state", "why", "who", "reason", "promotion")
        tables.append(_table(names, [_promotion(one) for one in found.promotions]))
    if found.moves:
        seen = ("seen (UTC)", "model", "alias", "from", "to", "policy", "seen by")
        tables.append(_table(seen, [_move(move) for move in found.moves]))
    return Group(*tables) if tables else Text("no alias moved since Pointsman looks, and no promotion waits")


def _table(names: tuple[str, ...], rows: list[tuple[Text, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(name, no_wrap=name == "promotion")
    for row in rows:
        table.add_row(*row)
    return table


def _promotion(one: Promotion) -> tuple[Text, ...]:
    return (
        Text(when(one.requested_us)),
        Text(one.model),
        Text(one.candidate.version),
        Text(one.candidate.digest[:12], "dim"),
        Text(one.champion.version),
        Text(one.state, STYLES.get(one.state, "dim")),
        Text(plain(one.why)),
        Text(plain(one.who or "")),
        Text(plain(one.reason)),
        Text(one.promotion_id),
    )


def _move(move: AliasMove) -> tuple[Text, ...]:
    policy = Text(move.policy or "none set", "" if move.policy else "dim")
    seen = Text(move.seen_by, "dim")
    return (
        Text(when(move.first_seen_us)),
        Text(move.model),
        Text(move.alias),
        _at(move.before),
        _at(move.after),
        policy,
        seen,
    )


def _at(target: AliasTarget | None) -> Text:
    if target is None:
        return Text("nowhere", "dim")
    return Text.assemble(target.version, (f" {target.digest[:12]}" if target.digest else " (files unknown)", "dim"))
