"""Sections of a card -> one self-contained HTML page: no script, no font, no picture from anywhere else.

Enters: a card. Leaves: HTML that reads on a light or dark screen and on paper. Every text of the card is escaped: many come
from users.
"""

from html import escape
from typing import Final

from contracts.card import Card
from gateway.cards.section import Grid, Section, Word
from gateway.cards.telling import heading_of, sections_of, written

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do for such a page: draw it."""

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2430; --soft: #5b6775; --rule: #dfe4ea; --gap: #f6f3e8;
  --good: #2b8a5a; --doubtful: #946200; --bad: #c62f2f; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161c; --ink: #e4e9ef; --soft: #9aa7b4; --rule: #2b333d;
  --gap: #26231a; --good: #62c495; --doubtful: #e6b450; --bad: #f4776f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1060px; padding: 28px 24px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 32px 0 10px; padding-top: 12px; border-top: 1px solid var(--rule); }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; white-space: pre-wrap; }
.scroll { overflow-x: auto; margin-top: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 10px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: break-word; }
th { font-weight: 600; color: var(--soft); } .number { text-align: right; white-space: nowrap; }
.gap { background: var(--gap); border-left: 4px solid var(--doubtful); padding: 4px 12px; margin: 10px 0 0; }
.soft { color: var(--soft); } .good { color: var(--good); } .doubtful { color: var(--doubtful); }
.bad { color: var(--bad); font-weight: 600; }
@media print { body { padding: 0; } h2 { break-after: avoid; } }
"""


def page(card: Card) -> str:
    """The card as an HTML document."""
    name = escape(heading_of(card))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{name}</title><style>{STYLE}</style>'
    )
    body = "".join(map(_section, sections_of(card)))
    said = f'<h1>{name}</h1><p class="soft">{escape(written(card))}</p>{body}'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{said}</body></html>\n'


def _section(section: Section) -> str:
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{_word(word)}</dd>" for name, word in section.facts)
    gaps = "".join(f'<p class="gap">{escape(gap)}</p>' for gap in section.gaps)
    grid = _grid(section.grid) if section.grid is not None and section.grid.rows else ""
    return f"<h2>{escape(section.title)}</h2>{f'<dl>{facts}</dl>' if facts else ''}{grid}{gaps}"


def _grid(grid: Grid) -> str:
    head = "".join(f"<th{_side(grid, place)}>{escape(name)}</th>" for place, name in enumerate(grid.head))
    rows = "".join(
        f"<tr>{''.join(f'<td{_side(grid, place)}>{_word(word)}</td>' for place, word in enumerate(row))}</tr>"
        for row in grid.rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _side(grid: Grid, place: int) -> str:
    return ' class="number"' if place in grid.numbers else ""


def _word(word: Word) -> str:
    text = escape(word.text)
    return f'<span class="{word.tone}">{text}</span>' if word.tone else text
