"""Content -> one self-contained HTML page: no script, no font, no picture from anywhere else.

Enters: `report_content.Content`. Leaves: HTML that reads on a light or dark screen and on paper.
Never reads the state, a clock or a file.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final
from urllib.parse import quote

from contracts.plan import CHAMPION
from monitor.pages.distributions import Distribution
from monitor.pages.plots import Bars, Line, calibration, distribution, legend, timeline
from monitor.pages.report_content import WORST_DRIFT, Content, VariantSheet
from monitor.pages.report_style import STYLE
from monitor.pages.report_tables import badge, cell, drift, overview, quality, slices, table
from monitor.pages.report_words import MEANING, look_first, title
from monitor.pages.rows import WORST_FIRST, performance_statistic

GATES: Final = {WORST_DRIFT: (("warn 0.1", 0.1), ("alarm 0.2", 0.2))}
ODD: Final = {"absent": "absent", "ragged": "not one value a row", "wrong_type": "of a type that its bins cannot take"}
OUTCOMES: Final = {
    "received": "received in all",
    "accepted": "are the truth of their prediction",
    "corrected": "replaced by a later one",
    "retracted": "taken back",
    "duplicate": "said the same again",
    "pending": "wait for their prediction",
    "orphaned": "their prediction never came",
    "too_late": "came after the horizon",
    "invalid": "are no truth of the task",
    "unscored": "are of predictions that failed",
}
TOGETHER: Final = 0.9
"""The part of their points of time that two variants must share to be compared."""
NOTES_MAX: Final = 50
FLOORED: Final = frozenset({WORST_DRIFT, "label_coverage", "error_rate"})
"""Statistics whose time axis starts at 0; the others zoom in on where they move."""


def page(content: Content) -> str:
    """The report on one model."""
    sections = [
        _header(content),
        _first(content),
        _overview(content),
        _over_time(content),
        *(_variant(sheet, index) for index, sheet in enumerate(content.variants)),
        _slices(content),
        _quality(content),
        _labels(content),
        _log(content),
        _legend(),
    ]
    return document(f"{content.model}: monitoring report", "".join(sections))


def index(models: Sequence[tuple[str, int]]) -> str:
    """The first page: every model that the monitor has seen, with its number of predictions."""
    rows = "".join(
        f'<li><a href="report?model={escape(_quoted(name))}">{escape(name)}</a> '
        f'<span class="soft">{count:,} predictions</span></li>'
        for name, count in models
    )
    said = f"<ul>{rows}</ul>" if rows else "<p>No prediction has been read yet.</p>"
    links = '<p class="soft">Also: <a href="summaries">/summaries</a> (JSON), <a href="status">/status</a>, '
    return document("Pointsman monitor", f'<h1>Pointsman monitor</h1>{said}{links}<a href="metrics">/metrics</a></p>')


def document(name: str, body: str) -> str:
    """A whole HTML document around `body`, which is HTML already."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(name)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>'


def _header(content: Content) -> str:
    predictions = sum(sheet.rows for sheet in content.variants)
    period = f"{_time(content.from_us)} to {_time(content.to_us)} of event time"
    said = f"{period} · {predictions:,} predictions recorded · written {_time(content.made_us)}"
    numbers = f'<a href="summaries?model={escape(_quoted(content.model))}">the numbers as JSON</a>'
    links = f'<a href="./">all models</a> · {numbers}'
    return f'<h1>{escape(content.model)}</h1><p class="soft">{escape(said)}<br>{links}</p>'


def _first(content: Content) -> str:
    serious = [note.text for note in content.notes if note.serious]
    found = look_first({sheet.name: sheet.statistics for sheet in content.variants}, serious, _rivals(content))
    items = "".join(f"<li>{badge(attention.status)} {escape(attention.sentence)}</li>" for attention in found)
    return f'<div class="first {found[0].status}"><strong>What to look at first</strong><ul>{items}</ul></div>'


def _rivals(content: Content) -> list[tuple[str, str]]:
    """(champion, challenger) where both were asked at the same times: others differ by the season as well."""
    times = {
        line.name: {point.at_us for point in line.points if point.value}
        for line in content.series.get("predictions", ())
    }
    champions = [sheet.name for sheet in content.variants if sheet.variant == CHAMPION]
    others = [sheet.name for sheet in content.variants if sheet.variant != CHAMPION]
    return [
        (champion, other)
        for champion in champions
        for other in others
        if len(times[champion] & times[other]) >= TOGETHER * len(times[champion] | times[other])
    ]


def _overview(content: Content) -> str:
    if not content.variants:
        return '<p class="nothing">No prediction in this period.</p>'
    note = "Share is the part of all recorded predictions, those of shadows included."
    return f'<h2>Versions and variants</h2>{overview(content)}<p class="soft">{note}</p>'


def _over_time(content: Content) -> str:
    drawn = {
        name: lines
        for name, lines in content.series.items()
        if any(point.value is not None for line in lines for point in line.points)
    }
    if not drawn:
        return ""
    names = legend([(sheet.name, colour) for colour, sheet in enumerate(content.variants)])
    figures = "".join(_series(name, lines, content.bucket) for name, lines in drawn.items())
    note = (
        "Bands are 95 % intervals, hollow points rest on too few observations, labels count at their prediction's time."
    )
    return f'<h2>Over time</h2>{names}<div class="grid2">{figures}</div><p class="soft">{note}</p>'


def _series(name: str, lines: Sequence[Line], bucket: str) -> str:
    what = "worst PSI of any feature, noise taken off," if name == WORST_DRIFT else title(name)
    said = f"{what} per {bucket}"
    floor = 0.0 if name in FLOORED else None
    return _figure(said, "", timeline(said, lines, GATES.get(name, ()), floor=floor))


def _variant(sheet: VariantSheet, colour: int) -> str:
    parts = [f"<h2>{escape(sheet.name)}</h2>"]
    if sheet.earlier:
        parts.append(
            f'<p class="soft">{sheet.earlier:,} of its predictions were counted under an earlier reference: '
            "they are in the totals, not in the plots, drift and performance.</p>"
        )
    parts.append(legend([("current", colour)], reference="reference (training time)"))
    figures = [_distribution(feature.name, feature.distribution, colour) for feature in sheet.features]
    if sheet.score is not None:
        figures.insert(0, _distribution("prediction", sheet.score, colour))
    if sheet.calibration:
        figures.insert(1, _calibration(sheet, colour))
    parts.append(f'<div class="grid2">{"".join(figures)}</div>')
    parts.append(f"<h3>Drift of the features against the reference</h3>{drift(sheet)}")
    return "".join(parts)


def _distribution(name: str, shape: Distribution, colour: int) -> str:
    reference = Bars("reference", shape.reference) if shape.reference else None
    current = [Bars("current", shape.current, colour)] if shape.current else []
    return _figure(
        name, f"{shape.n:,} values", distribution(f"distribution of {name}", shape.slots, reference, current)
    )


def _calibration(sheet: VariantSheet, colour: int) -> str:
    labelled = sum(point.n for point in sheet.calibration)
    said = f"observed against predicted, {labelled:,} labelled predictions"
    return _figure("calibration", said, calibration(f"calibration of {sheet.name}", sheet.calibration, colour))


def _slices(content: Content) -> str:
    statistic = performance_statistic(content.slices)
    if statistic is None:
        return ""
    return f"<h2>Slices: {escape(title(statistic))}</h2>{slices(content, statistic)}"


def _quality(content: Content) -> str:
    found = quality(content.variants) or "<p>No feature has a missing, unseen or out-of-range value in this period.</p>"
    odd = [
        f"<li>{escape(feature)}: {ODD.get(what, what)} in {count:,} rows</li>"
        for (what, feature), count in content.odd_inputs.items()
    ]
    more = f"<p>Since the beginning of the log, in any version:</p><ul>{''.join(odd)}</ul>" if odd else ""
    return f"<h2>Input quality</h2>{found}{more}"


def _labels(content: Content) -> str:
    body = [
        [
            cell(OUTCOMES.get(what, what.replace("_", " ")) + (f" ({why})" if why else ""), "name wrap"),
            cell(f"{count:,}"),
        ]
        for (what, why), count in sorted(content.labels.items(), key=lambda item: _place(item[0][0]))
    ]
    if not body:
        return "<h2>Labels</h2><p>No label has come yet.</p>"
    note = '<p class="soft">Since the beginning of the log. A label that corrects another takes its place.</p>'
    return f"<h2>Labels</h2>{table(['what became of them', 'labels'], body, texts=[0])}{note}"


def _place(outcome: str) -> int:
    return list(OUTCOMES).index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


def _log(content: Content) -> str:
    if not content.notes:
        return "<h2>Prediction log</h2><p>Read without a gap: nothing was found lost or damaged.</p>"
    serious = any(note.serious for note in content.notes)
    said = (
        "What was found lost or damaged while reading:"
        if serious
        else "Nothing that was answered is missing; found beside:"
    )
    items = "".join(f"<li>{escape(note.text)}</li>" for note in content.notes[:NOTES_MAX])
    more = f"<li>and {len(content.notes) - NOTES_MAX:,} more, in /status</li>" if len(content.notes) > NOTES_MAX else ""
    return f"<h2>Prediction log</h2><p>{said}</p><ul>{items}{more}</ul>"


def _legend() -> str:
    words = "".join(f"<dt>{badge(status)}</dt><dd>{escape(MEANING[status])}.</dd>" for status in reversed(WORST_FIRST))
    return f"<h2>How to read the statuses</h2><dl>{words}</dl>"


def _figure(name: str, note: str, svg: str) -> str:
    return f"<figure><figcaption>{escape(name)} <small>{escape(note)}</small></figcaption>{svg}</figure>"


def _time(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _quoted(name: str) -> str:
    return quote(name, safe="")
