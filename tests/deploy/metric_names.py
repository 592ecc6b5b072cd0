"""Which metrics there are, with which labels: names from the pages that the programs serve, labels from docs/metrics.md.

Rules and dashboards are held against both.
"""

import re
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import promql_parser as ast

from gateway.exposition import page
from monitor.pages.metrics import Snapshot, exposition
from monitor.pages.standing import PartitionStanding, Standing
from prediction_log.forward.status import ForwarderStatus, write_status
from tests.deploy.validators import HOUSE

PARTS = ("_bucket", "_count", "_sum")
SCRAPED = {"instance", "job"}
FOREIGN = {
    "up": set(),
    "kubelet_volume_stats_available_bytes": {"namespace", "persistentvolumeclaim"},
    "kubelet_volume_stats_capacity_bytes": {"namespace", "persistentvolumeclaim"},
}
"""Metrics of Prometheus itself and of the kubelet, not ours."""


def selectors(expression: str) -> Iterator[ast.VectorSelector]:
    """Everything that an expression selects; an expression that does not parse raises ValueError."""
    found: list[ast.VectorSelector] = []

    def visit(node: ast.Expr) -> bool:
        if isinstance(node, ast.VectorSelector):
            found.append(node)
        return True

    ast.walk(ast.parse(expression), visit)
    yield from found


def complaints(expression: str) -> Iterator[str]:
    """What an expression selects or groups by, and nobody makes."""
    made, labels = made_names(), documented_labels()
    chosen: set[str] = set()
    for selector in selectors(expression):
        name = selector.name
        known = FOREIGN.get(name, labels.get(_family(name)))
        if name not in FOREIGN and (_family(name) not in made or known is None):
            yield f"no metric {name} is made and documented"
            continue
        allowed = known | SCRAPED | ({"le"} if name.endswith("_bucket") else set())
        chosen |= allowed
        for matcher in selector.matchers.matchers:
            if matcher.name not in allowed:
                yield f"{name} has no label {matcher.name}"
    for group in re.findall(r"\b(?:by|on) \(([\w, ]+)\)", expression):
        for label in group.replace(" ", "").split(","):
            if label not in chosen:
                yield f"no metric of the expression has a label {label}"


@cache
def made_names() -> set[str]:
    """Every metric that a gateway beside a forwarder, or a monitor of a fleet, has on its page."""
    with tempfile.TemporaryDirectory() as directory:
        write_status(Path(directory), _plain(ForwarderStatus))
        gateway = page(Path(directory) / "metrics", ["worker-0"])
    monitor = exposition(Snapshot(_plain(Standing, partitions=[_plain(PartitionStanding)]), {}))
    return set(re.findall(r"^# TYPE (pointsman_\w+) ", (gateway + monitor).decode(), re.MULTILINE))


def _plain(kind: type[Any], **known: Any) -> Any:
    """A value of a struct in which nothing has happened yet."""
    return kind(**{field.name: known.get(field.name, _nothing(field.type)) for field in msgspec.structs.fields(kind)})


def _nothing(kind: Any) -> Any:
    return next(value for value in (None, 0, False, "", [], "stopped") if _fits(value, kind))


def _fits(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError:
        return False
    return True


def documented_labels() -> dict[str, set[str]]:
    """The labels of every documented metric."""
    found: dict[str, set[str]] = {}
    before: set[str] = set()
    for line in (HOUSE / "docs" / "metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        names = re.findall(r"`(pointsman_\w+)`", cells[1]) if len(cells) > 3 else []
        if names:
            before = before if cells[2] == "the same" else set(cells[2].split(", ")) - {"", "le"}
            found |= dict.fromkeys(names, before)
    return found


def _family(name: str) -> str:
    for part in PARTS:
        name = name.removesuffix(part)
    return name
