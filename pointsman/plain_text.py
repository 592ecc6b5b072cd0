"""Texts of strangers as a terminal may show them: who asked and why, what model files, servers and logs say of themselves.

Enters: any text. Leaves: the same, without what a terminal would obey. Never shortens it, and knows nothing of colours.
"""

from typing import Final

ODD: Final = "\N{REPLACEMENT CHARACTER}"


def plain(text: str) -> str:
    """The text without escape sequences, carriage returns and changes of direction."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ODD for sign in text)
