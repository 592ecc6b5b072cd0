"""One look at the running replay, as a picture for a terminal: progress, shares, performance, drift, the story so far.

Enters: plain values. Leaves: something rich can print. Never asks anybody and keeps nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from contracts.statistic import Statistic
from examples.flights.versions import Who
from monitor.pages.report_words import NONE, figure, title, with_interval
from monitor.pages.rows import by_drift, by_variant, find

STYLES: Final = {"ok": "green", "warn": "yellow", "alarm": "bold red", "insufficient": "bright_black"}
FEATURES_SHOWN: Final = 6
PERFORMANCE: Final = ("label_coverage", "auc", "ece", "brier")
_BAR_CELLS: Final = 20


class Seen(NamedTuple):
    """What there is to see. Times in microseconds of event time; `shares` are of the newest answers, by variant and version;
    `rows` are the monitor's; `story` are the changes so far, newest last.
    """

    from_us: int
    event_us: int
    to_us: int
    predictions: int
    per_second: float
    labels: int
    shares: Mapping[Who, float]
    rows: Sequence[Statistic]
    story: Sequence[str]
    problem: str


def picture(seen: Seen) -> RenderableType:
    """Everything, from top to bottom."""
    variants = by_variant(seen.rows)
    parts: list[RenderableType] = [_progress(seen), _variants(seen, variants)]
    if variants:
        parts.append(_drift(variants))
    parts += [Text(line, style="cyan") for line in seen.story]
    if seen.problem:
        parts.append(Text(seen.problem, style="yellow"))
    return Group(*parts)


def line(seen: Seen) -> str:
    """The same in one line, for where there is no terminal."""
    shares = ", ".join(
        f"{variant} (v{version}) {share:.0%}" for (variant, version), share in sorted(seen.shares.items())
    )
    counts = f"{seen.predictions:,} predictions ({seen.per_second:,.0f}/s), {seen.labels:,} labels"
    return " | ".join(part for part in (f"{day(seen.event_us)}  {counts}", shares, evidence(seen.rows)) if part)


def evidence(rows: Sequence[Statistic]) -> str:
    """What the monitor says of the variants' ranking just now; empty where it says nothing yet."""
    found = {name: find(own, "auc") for name, own in by_variant(rows).items()}
    words = [
        f"{variant} (v{version}) {with_interval(row)}"
        for (variant, version), row in found.items()
        if row is not None and row.value is not None
    ]
    return f"AUC {', '.join(words)}" if words else ""


def day(us: int) -> str:
    """The day of a moment of event time."""
    return f"{datetime.fromtimestamp(us / 1e6, UTC):%Y-%m-%d}"


def _progress(seen: Seen) -> RenderableType:
    done, total = min(seen.event_us, seen.to_us) - seen.from_us, max(seen.to_us - seen.from_us, 1)
    grid = Table.grid(padding=(0, 2))
    counts = f"{seen.predictions:,} predictions  {seen.per_second:,.0f}/s  {seen.labels:,} labels"
    grid.add_row(Text(day(seen.event_us), style="bold"), ProgressBar(total, max(done, 0), width=40), Text(counts))
    return grid


def _variants(seen: Seen, variants: Mapping[Who, Sequence[Statistic]]) -> Table:
    table = Table(title="Versions and variants", title_justify="left", title_style="bold")
    table.add_column("variant")
    table.add_column("share now")
    for name in ("predictions", *PERFORMANCE):
        table.add_column(title(name), justify="right")
    for variant, version in variants or dict.fromkeys(sorted(seen.shares), ()):
        rows = variants.get((variant, version), ())
        predictions = find(rows, "predictions")
        table.add_row(
            f"{variant} (version {version})",
            _share(variant, seen.shares.get((variant, version), 0.0)),
            NONE if predictions is None else figure("predictions", predictions.value),
            *(_coloured(find(rows, name), with_interval) for name in PERFORMANCE),
        )
    return table


def _share(variant: str, share: float) -> Text:
    if variant.startswith("shadow") and not share:
        return Text("beside every answer", style="bright_black")
    filled = round(share * _BAR_CELLS)
    return Text("█" * filled, style="cyan") + Text("░" * (_BAR_CELLS - filled) + f" {share:4.0%}")


def _drift(variants: Mapping[Who, Sequence[Statistic]]) -> Table:
    """PSI of the features that drift most in any variant, and of the predictions."""
    ranked = by_drift(row for rows in variants.values() for row in rows)
    features = list(dict.fromkeys(row.feature for row in ranked))[:FEATURES_SHOWN]
    table = Table(title="Drift since training (PSI)", title_justify="left", title_style="bold")
    table.add_column("feature")
    for variant, version in variants:
        table.add_column(f"{variant} (version {version})", justify="right")
    for feature in features:
        table.add_row(feature, *(_coloured(find(rows, "psi", feature), _plain) for rows in variants.values()))
    return table


def _plain(row: Statistic) -> str:
    return figure(row.statistic, row.value)


def _coloured(row: Statistic | None, said: Callable[[Statistic], str]) -> Text:
    return Text(NONE) if row is None else Text(said(row), STYLES[row.status])
