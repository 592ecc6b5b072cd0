"""What a card looks like before anybody draws it: sections of facts and grids, in plain words with a tone each.

A terminal and a page draw the same sections, so that neither says what the other does not. Texts may come from users:
whoever draws them escapes them.
"""

from typing import Final, Literal, NamedTuple

from contracts.card import Card, Part
from contracts.moment import format_moment

Tone = Literal["", "good", "doubtful", "bad", "soft"]

NOT_SAID: Final = "not said"
NONE: Final = "-"


class Word(NamedTuple):
    """A text and how it sounds."""

    text: str
    tone: Tone = ""


class Grid(NamedTuple):
    """A table: every row has as many words as the head; columns in `numbers` hold numbers."""

    head: tuple[str, ...]
    rows: tuple[tuple[Word, ...], ...]
    numbers: frozenset[int] = frozenset()


class Section(NamedTuple):
    """One part of a card: facts by name, a table, and what is not known of it."""

    title: str
    facts: tuple[tuple[str, Word], ...] = ()
    grid: Grid | None = None
    gaps: tuple[str, ...] = ()


def gaps_of(card: Card, *parts: Part) -> tuple[str, ...]:
    """The gaps of these parts, as sentences: a part that is missing is not known, of one that is there something is."""
    return tuple(
        f"{'not known' if getattr(card, gap.part) is None else 'note'}: {gap.reason}"
        for gap in card.gaps
        if gap.part in parts
    )


def said(text: str) -> Word:
    """What somebody wrote, or that nobody did."""
    return Word(text) if text else Word(NOT_SAID, "soft")


def moment(at_us: int) -> Word:
    """A moment to the second."""
    return Word(format_moment(at_us // 10**6 * 10**6))


def figure(value: float | None) -> Word:
    """A number as people read it; a dash where there is none."""
    if value is None:
        return Word(NONE)
    if float(value).is_integer() and abs(value) < 1e15:
        return Word(f"{value:,.0f}")
    return Word(f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4f}" if abs(value) >= 0.001 else f"{value:.3g}")
