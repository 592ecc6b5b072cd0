"""How a card looks in a terminal.

Enters: a card. Leaves: rich renderables. Never lets a text of the card steer the terminal: many come from users.
"""

from typing import Final

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.card import Card
from gateway.cards.section import Grid, Section, Tone, Word
from gateway.cards.telling import heading_of, sections_of, written
from pointsman.plain_text import plain

STYLES: Final[dict[Tone, str]] = {"": "", "good": "green", "doubtful": "yellow", "bad": "bold red", "soft": "dim"}


def card_view(card: Card) -> RenderableType:
    """Everything that the card says, and everything that it does not know."""
    parts: list[RenderableType] = [Text.assemble((plain(heading_of(card)), "bold"), "  ", (written(card), "dim"))]
    for section in sections_of(card):
        parts += _section(section)
    return Group(*parts)


def _section(section: Section) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(f"\n{section.title}", "bold cyan")]
    if section.facts:
        facts = Table.grid(padding=(0, 2))
        facts.add_column(style="dim", no_wrap=True)
        facts.add_column(overflow="fold")
        for name, word in section.facts:
            facts.add_row(Text(name), _word(word))
        parts.append(facts)
    if section.grid is not None and section.grid.rows:
        parts.append(_grid(section.grid))
    return [*parts, *(Text(plain(gap), "yellow") for gap in section.gaps)]


def _grid(grid: Grid) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for place, name in enumerate(grid.head):
        justify: JustifyMethod = "right" if place in grid.numbers else "left"
        table.add_column(Text(plain(name)), justify=justify, overflow="fold")
    for row in grid.rows:
        table.add_row(*map(_word, row))
    return table


def _word(word: Word) -> Text:
    return Text(plain(word.text), STYLES[word.tone])
