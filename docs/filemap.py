"""Writes `docs/files.md`: every room with its files, each with the first sentence of its own docstring.

Run as `python docs/filemap.py`; a test compares the page with what this would write.
"""

import ast
import re
from pathlib import Path

HOUSE = Path(__file__).parent.parent
ROOMS = (
    *("pointsman", "gateway", "monitor", "prediction_log", "registry_client", "contracts"),
    *("examples", "benchmarks", "tests"),
)


def page() -> str:
    """The whole page."""
    lines = ["# The rooms and their files", "", "Written by `make docs` from the first sentence of each file.", ""]
    for room in ROOMS:
        lines += [f"## {room}/", "", "| file | what it is for |", "|---|---|"]
        for path in sorted((HOUSE / room).rglob("*.py")):
            sentence = first_sentence(path)
            name = path.relative_to(HOUSE / room)
            if path.name != "__init__.py" and sentence:
                lines.append(f"| `{name}` | {sentence} |")
        lines.append("")
    return "\n".join(lines)


def first_sentence(path: Path) -> str:
    """The first sentence of a file's docstring, on one line."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.;])\s", text)[0].rstrip(".;").replace("|", "\\|")


if __name__ == "__main__":
    (HOUSE / "docs" / "files.md").write_text(page())
