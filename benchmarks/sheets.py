"""A table that a terminal, a page and a reader of the page's source can all read.

Enters: a title, headings and rows of text. Leaves: a rich table, or Markdown. It never computes a figure.
"""

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Table


class Sheet(NamedTuple):
    """Rows under headings; the first column names the row."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def rich(self) -> Table:
        """For a terminal."""
        shown = Table(title=self.title, caption="\n".join(self.notes) or None, caption_justify="left")
        for column, heading in enumerate(self.headings):
            shown.add_column(heading, justify="right" if column else "left")
        for row in self.rows:
            shown.add_row(*row)
        return shown

    def markdown(self) -> str:
        """For a page."""
        lines = [
            f"**{self.title}**",
            "",
            _line(self.headings),
            _line(["---", *("---:" for _ in self.headings[1:])]),
            *(_line(row) for row in self.rows),
            "",
            *self.notes,
        ]
        return "\n".join(lines).rstrip() + "\n"


def _line(cells: Sequence[str]) -> str:
    """One row; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
