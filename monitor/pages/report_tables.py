"""Statistics -> the tables of the report, as HTML.

Enters: the values of `report_content.py`. Leaves: HTML in which every text from outside is escaped.
Never computes a statistic and never judges one: statuses come with the rows.
"""

from collections.abc import Collection, Sequence
from html import escape
from typing import Final

from contracts.statistic import Statistic
from monitor.pages.plots import meter, whisker
from monitor.pages.report_content import Content, VariantSheet
from monitor.pages.report_words import NONE, brief, brief_interval, figure, named, one_per_feature, title, with_interval
from monitor.pages.rows import SHARES, WORST_FIRST, by_drift, find, judged, overview_columns, variant_order

LEFT: Final = ' class="name"'
QUALITY: Final = ("missing_rate", "unseen_rate", "out_of_range_rate")
FEATURES_MAX: Final = 50
"""Rows of one variant's drift table; the features with the least drift are left to `GET /summaries`."""
SLICE_ROWS_MAX: Final = 200
PSI_GATES: Final = (0.1, 0.2)
PSI_FULL: Final = 0.4
"""PSI at which the bar of the drift table is full."""


def overview(content: Content) -> str:
    """Versions and variants side by side: how much traffic, how good, how far from the reference."""
    columns = overview_columns(row for sheet in content.variants for row in sheet.statistics)
    head = ["variant", "status", "predictions", "share", *(title(name) for name in columns), "worst drift"]
    body = [_overview_row(sheet, columns) for sheet in content.variants]
    return table(head, body, texts=[0])


def drift(sheet: VariantSheet) -> str:
    """The features of one variant by PSI, worst first, with the other distances and the input-quality rates."""
    ranked = by_drift(sheet.statistics)
    present = {row.statistic for row in sheet.statistics if row.feature}
    columns = [name for name in ("ks", "js", *QUALITY) if name in present]
    head = ["feature", "PSI", "", "status", *(title(name) for name in columns), "n"]
    body = [_drift_row(sheet, row, columns) for row in ranked[:FEATURES_MAX]]
    left_out = len(ranked) - len(body)
    note = f'<p class="soft">{left_out} more features with less drift: see /summaries.</p>' if left_out > 0 else ""
    return table(head, body, texts=[0]) + note


def slices(content: Content, statistic: str) -> str:
    """One statistic per slice and variant, with its interval on a common scale, and the worst status of the slice."""
    rows = sorted(
        (row for row in content.slices if row.statistic == statistic and not row.feature),
        key=lambda row: (row.slice, variant_order(row.variant, row.version)),
    )
    bounds = [number for row in rows for number in (row.low, row.high, row.value) if number is not None]
    span = (min(bounds), max(bounds)) if bounds else (0.0, 1.0)
    colours = {(sheet.version, sheet.variant): index for index, sheet in enumerate(content.variants)}
    head = ["slice", "variant", title(statistic), "", "status", "n", "other findings in this slice"]
    body = [
        [
            cell(row.slice, "name"),
            cell(f"{row.variant} ({row.version})", "name"),
            cell(with_interval(row)),
            raw(whisker(row.value, row.low, row.high, span, colours.get((row.version, row.variant), 0))),
            raw(badge(row.status)),
            cell(f"{row.n:,}"),
            cell(_others(content.slices, row), "name wrap"),
        ]
        for row in rows[:SLICE_ROWS_MAX]
    ]
    return table(head, body, texts=[0, 1, 6])


def quality(sheets: Sequence[VariantSheet]) -> str:
    """Features with missing, unseen or out-of-range values in any variant; empty where all are clean."""
    unclean = [(sheet, row) for sheet in sheets for row in sheet.statistics if _is_unclean(row)]
    unclean.sort(key=lambda pair: (WORST_FIRST.index(pair[1].status), -(pair[1].value or 0.0)))
    body = [_quality_row(sheet, row) for sheet, row in unclean]
    return (
        table(["feature", "variant", "what", "rate", "status", "n"], body[:SLICE_ROWS_MAX], texts=[0, 1, 2])
        if body
        else ""
    )


def badge(status: str) -> str:
    """A status as a coloured word."""
    return f'<span class="status {escape(status)}">{escape(status)}</span>'


def cell(text: str, kind: str = "") -> str:
    """One cell of text, escaped."""
    return f'<td class="{kind}">{escape(text)}</td>' if kind else f"<td>{escape(text)}</td>"


def raw(html: str) -> str:
    """One cell of HTML made here."""
    return f"<td>{html}</td>"


def table(head: Sequence[str], body: Sequence[Sequence[str]], *, texts: Collection[int]) -> str:
    """A table; the columns numbered in `texts` are left-aligned. A wide one scrolls by itself."""
    heads = "".join(
        f'<th scope="col"{LEFT if index in texts else ""}>{escape(name)}</th>' for index, name in enumerate(head)
    )
    rows = "".join(f"<tr>{''.join(cells)}</tr>" for cells in body)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _overview_row(sheet: VariantSheet, columns: Sequence[str]) -> list[str]:
    name = f'<td class="name">{escape(sheet.variant)}<br><small>version {escape(sheet.version)}</small></td>'
    cells = [name, raw(badge(judged(sheet.statistics))), cell(f"{sheet.rows:,}"), cell(f"{sheet.share:.1%}")]
    cells += [raw(_overview_figure(sheet, column)) for column in columns]
    drifted = by_drift(sheet.statistics)
    said = f"{escape(drifted[0].feature)}<br><small>PSI {figure('psi', drifted[0].value)}</small>" if drifted else NONE
    return [*cells, raw(said)]


def _overview_figure(sheet: VariantSheet, name: str) -> str:
    """The figure; under it the interval of a performance, and of ECE what a perfectly calibrated model would show."""
    row, noise = find(sheet.statistics, name), find(sheet.statistics, f"{name}_null_p95")
    if row is None or row.value is None:
        return NONE
    under = ""
    if noise is not None:
        under = f"noise ≤ {brief(noise.value)}"
    elif name not in SHARES:
        under = brief_interval(row)
    return escape(figure(name, row.value)) + (f"<br><small>{escape(under)}</small>" if under else "")


def _drift_row(sheet: VariantSheet, row: Statistic, columns: Sequence[str]) -> list[str]:
    cells = [cell(row.feature, "name"), cell(figure("psi", row.value))]
    cells += [raw(meter(row.value, PSI_FULL, row.status, PSI_GATES)), raw(badge(row.status))]
    for name in columns:
        other = find(sheet.statistics, name, row.feature)
        cells.append(cell(NONE if other is None else figure(name, other.value)))
    return [*cells, cell(f"{row.n:,}")]


def _is_unclean(row: Statistic) -> bool:
    return row.statistic in QUALITY and row.value is not None and (row.value > 0 or row.status in {"warn", "alarm"})


def _quality_row(sheet: VariantSheet, row: Statistic) -> list[str]:
    what = title(row.statistic.removesuffix("_rate"))
    return [
        cell(row.feature, "name"),
        cell(sheet.name, "name"),
        cell(what, "name"),
        cell(figure(row.statistic, row.value)),
        raw(badge(row.status)),
        cell(f"{row.n:,}"),
    ]


def _others(rows: Sequence[Statistic], of: Statistic) -> str:
    same = (of.version, of.variant, of.slice)
    own = [row for row in rows if (row.version, row.variant, row.slice) == same and row is not of]
    bad = one_per_feature([row for row in own if row.status in {"warn", "alarm"}])
    return ", ".join(named(row) for row in bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
