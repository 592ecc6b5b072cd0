"""The state -> what a report on one model says.

Enters: a reader of the state, a question that names the model and maybe a period. Leaves: the report's content. Only reads.
Never writes a page.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final

import msgspec

from contracts.errors import NotFound
from contracts.statistic import Statistic
from monitor.measures.policy import MonitorPolicy
from monitor.measures.statistics import PREDICTION
from monitor.measures.subject import newest_of, predicted_in, rows_of
from monitor.pages.distributions import calibration_of, distribution_of
from monitor.pages.plots import Line, Point
from monitor.pages.queries import StateReader
from monitor.pages.question import Question
from monitor.pages.report_content import WORST_DRIFT, Content, FeatureSheet, LogNote, VariantSheet
from monitor.pages.rows import by_drift, find, performance_statistic
from monitor.pages.windows import Period, Window, period_of, windows_of
from prediction_log.finding import HARMLESS, Finding

FEATURES_DRAWN: Final = 6
POINTS_MAX: Final = 45
"""Points of one line, about; the bucket is the narrowest that needs no more."""
WIDTHS: Final = MappingProxyType(
    {
        "5 minutes": 300_000_000,
        "hour": 3_600_000_000,
        "6 hours": 6 * 3_600_000_000,
        "day": 86_400_000_000,
        "week": 7 * 86_400_000_000,
        "4 weeks": 28 * 86_400_000_000,
        "quarter": 91 * 86_400_000_000,
    }
)
LOSSES: Final = ("log_loss", "rmse")
ALWAYS_DRAWN: Final = (WORST_DRIFT, "ece", "predictions", "label_coverage")

Who = tuple[str, str]
"""(variant, version)."""


def gather(reader: StateReader, question: Question, policy: MonitorPolicy, now_us: int) -> Content:
    """The content of the report. Raises NotFound where there is nothing of the model in this period."""
    period = period_of(reader, question)
    windows = list(windows_of(reader, question._replace(slice="")))
    if period is None or not windows:
        known = sorted({group.model for group in reader.groups()})
        raise NotFound(
            f"no predictions of model {question.model!r} in this period; there are {', '.join(known) or 'none'}"
        )
    total = sum(predicted_in(window.counted) for window in windows)
    sheets = [_sheet(window, total, policy) for window in windows]
    bucket, bucket_us = _bucket(period)
    return Content(
        model=windows[0].key.model,
        from_us=period.from_us,
        to_us=period.to_us,
        made_us=now_us,
        variants=sheets,
        slices=_slices(reader, question, policy),
        series=_series(reader, question._replace(bucket_us=bucket_us), sheets, policy),
        bucket=bucket,
        notes=[_note(finding) for finding in reader.findings()],
        labels=_tallies(reader, "labels_", windows[0].key.model),
        odd_inputs=_tallies(reader, "feature_", windows[0].key.model),
    )


def _sheet(window: Window, total: int, policy: MonitorPolicy) -> VariantSheet:
    newest, rows = newest_of(window.counted), rows_of(window.counted, window.key, policy)
    layout, predicted = newest.generation.layout, predicted_in(window.counted)
    sections = layout.sections
    return VariantSheet(
        version=window.key.version,
        variant=window.key.variant,
        rows=predicted,
        share=predicted / total if total else 0.0,
        earlier=predicted - int(newest.vector[sections["rows"].start]),
        statistics=rows,
        features=_features(window, rows),
        score=distribution_of(layout.prediction, newest.vector[sections["prediction"].cells])
        if layout.prediction
        else None,
        calibration=calibration_of(layout, newest.vector),
    )


def _features(window: Window, rows: Sequence[Statistic]) -> list[FeatureSheet]:
    """The distributions of the features that drifted most."""
    newest = newest_of(window.counted)
    reference = newest.generation.definition.reference
    bins = {feature.name: feature.bins for feature in reference.features} if reference is not None else {}
    ranked = [row.feature for row in by_drift(rows) if row.feature in bins]
    sections = newest.generation.layout.sections
    return [
        FeatureSheet(name, distribution_of(bins[name], newest.vector[sections[f"feature:{name}"].cells]))
        for name in ranked[:FEATURES_DRAWN]
    ]


def _slices(reader: StateReader, question: Question, policy: MonitorPolicy) -> list[Statistic]:
    windows = [window for window in windows_of(reader, question) if window.key.slice]
    return [row for window in windows for row in rows_of(window.counted, window.key, policy)]


def _series(
    reader: StateReader, question: Question, sheets: Sequence[VariantSheet], policy: MonitorPolicy
) -> dict[str, Sequence[Line]]:
    """One line a statistic and variant, in the colours of the sheets; a stretch without traffic is a gap."""
    found: dict[Who, dict[int, list[Statistic]]] = {}
    for window in windows_of(reader, question._replace(slice="")):
        own = found.setdefault((window.key.variant, window.key.version), {})
        own[window.key.from_us] = rows_of(window.counted, window.key, policy)
    starts = sorted({start for own in found.values() for start in own})
    leading = performance_statistic(row for sheet in sheets for row in sheet.statistics)
    names = dict.fromkeys([*([leading] if leading else []), *LOSSES, *ALWAYS_DRAWN])
    return {
        name: [
            Line(sheet.name, _points(name, found.get((sheet.variant, sheet.version), {}), starts), colour)
            for colour, sheet in enumerate(sheets)
        ]
        for name in names
    }


def _points(statistic: str, rows: dict[int, list[Statistic]], starts: Iterable[int]) -> list[Point]:
    return [_point(start, _row(rows.get(start, []), statistic)) for start in starts]


def _row(rows: Sequence[Statistic], statistic: str) -> Statistic | None:
    """The row of a statistic; of drift that of the worst feature, predictions aside: theirs is not an input."""
    if statistic == WORST_DRIFT:
        own = [row for row in rows if row.statistic == statistic and row.feature not in {"", PREDICTION}]
        return max(own, key=lambda row: row.value or 0.0, default=None)
    return find(rows, statistic)


def _point(at_us: int, row: Statistic | None) -> Point:
    if row is None:
        return Point(at_us, None)
    return Point(at_us, row.value, row.low, row.high, sure=row.status != "insufficient")


def _bucket(period: Period) -> tuple[str, int]:
    span = period.to_us - period.from_us
    widest = list(WIDTHS.items())[-1]
    return next(((name, width) for name, width in WIDTHS.items() if span / width <= POINTS_MAX), widest)


def _note(content: str) -> LogNote:
    finding = msgspec.json.decode(content, type=Finding)
    seqs = "" if finding.first_seq is None else f", records {finding.first_seq} to {finding.last_seq}"
    place = f"log {finding.log_id[:8]}, segment {finding.segment}, byte {finding.offset}{seqs}"
    return LogNote(finding.kind not in HARMLESS, f"{finding.kind.replace('_', ' ')} in {place}: {finding.detail}")


def _tallies(reader: StateReader, prefix: str, model: str) -> dict[tuple[str, str], int]:
    totals: dict[tuple[str, str], int] = {}
    for (name, of, _, detail), value in sorted(reader.counters().items()):
        if name.startswith(prefix) and of in {"", model} and value:
            key = name.removeprefix(prefix), detail
            totals[key] = totals.get(key, 0) + value
    return totals
