"""Numbers in, one inline SVG out: the pictures of the report, drawn without any JavaScript.

Enters: plain numbers and names. Leaves: SVG text with classes instead of colours (`report_style.py` gives them light,
dark and paper colours). Never reads a clock or a file, and never lets text through unescaped.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from monitor.pages.plot_axes import (
    HEIGHT,
    LEFT,
    RIGHT,
    SLOTS_BOTTOM,
    WIDTH,
    Frame,
    ceiling,
    minute_of,
    padded,
    px,
    slot_names,
    time_axis,
    time_span,
    unit_axis,
    y_axis,
)

COLOURS: Final = 6
"""Line colours before they repeat; the seventh variant shares the first one's."""
LINE_HEIGHT: Final = 12


class Point(NamedTuple):
    """One value with its interval at one time (microseconds since the epoch, UTC); null is a gap in the line. `sure` is
    false where too little was observed: such a point is drawn hollow.
    """

    at_us: int
    value: float | None
    low: float | None = None
    high: float | None = None
    sure: bool = True


class Line(NamedTuple):
    """One named series; `colour` counts the variants from 0."""

    name: str
    points: Sequence[Point]
    colour: int = 0


class Bars(NamedTuple):
    """Shares of one group over the slots of a distribution: each in [0, 1], together at most 1."""

    name: str
    shares: Sequence[float]
    colour: int = 0


class CalibrationPoint(NamedTuple):
    """One bin: the mean prediction, the observed rate with its interval, and how many rows stand behind it."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


def meter(value: float | None, full: float, status: str, marks: Sequence[float] = ()) -> str:
    """A small horizontal bar for a table cell: `value` of `full`, coloured by status, with gates as thin marks."""
    width, height = 120.0, 12.0
    share = 0.0 if value is None else min(max(value / full, 0.0), 1.0)
    bar = f'<rect class="fill {escape(status)}" width="{px(share * width)}" height="{px(height)}" rx="2"/>'
    gates = "".join(
        f'<line class="gate" x1="{px(mark / full * width)}" x2="{px(mark / full * width)}" y1="0" y2="{px(height)}"/>'
        for mark in marks
        if mark <= full
    )
    track = f'<rect class="track" width="{px(width)}" height="{px(height)}" rx="2"/>'
    return f'<svg class="meter" viewBox="0 0 {px(width)} {px(height)}" aria-hidden="true">{track}{bar}{gates}</svg>'


def whisker(value: float | None, low: float | None, high: float | None, span: tuple[float, float], colour: int) -> str:
    """A dot with its interval on the scale `span`, for a table cell; empty where there is no value."""
    if value is None:
        return ""
    width, height = 120.0, 14.0
    start, end = span
    scale = (width - 8) / (end - start) if end > start else 0.0

    def at(number: float) -> str:
        return px(4 + (min(max(number, start), end) - start) * scale)

    line = ""
    if low is not None and high is not None:
        line = f'<line class="stroke c{colour % COLOURS}" x1="{at(low)}" x2="{at(high)}" y1="7" y2="7"/>'
    dot = f'<circle class="fill c{colour % COLOURS}" cx="{at(value)}" cy="7" r="3.5"/>'
    return f'<svg class="meter" viewBox="0 0 {px(width)} {px(height)}" aria-hidden="true">{line}{dot}</svg>'


def distribution(title: str, slots: Sequence[str], reference: Bars | None, groups: Sequence[Bars]) -> str:
    """Shares per slot: one bar a group beside each other, the reference as a stepped outline over them.

    `slots` are the names under the bars; every `Bars.shares` has as many values.
    """
    everyone = [*groups, *([reference] if reference else [])]
    top = max((share for bars in everyone for share in bars.shares), default=0.0)
    frame = Frame(0, max(len(slots), 1), 0, ceiling(top), SLOTS_BOTTOM)
    parts = [*y_axis(frame, percent=True), *slot_names(frame, slots)]
    for index, bars in enumerate(groups):
        parts += _bars(frame, bars, index, len(groups), slots)
    if reference is not None:
        parts.append(_steps(frame, reference.shares))
    return _svg(title, parts)


def timeline(
    title: str, lines: Sequence[Line], gates: Sequence[tuple[str, float]] = (), *, floor: float | None = None
) -> str:
    """Values over time with their intervals as bands; `gates` are named horizontal lines, `floor` a fixed lower end."""
    spoken = [point for line in lines for point in line.points if point.value is not None]
    if not spoken:
        return _nothing(title)
    numbers = [number for point in spoken for number in (point.value, point.low, point.high) if number is not None]
    numbers += [gate for _, gate in gates if gate <= 2 * max(numbers)]
    low, high = padded(min(numbers), max(numbers), floor)
    frame = Frame(*time_span([point.at_us for point in spoken]), low, high)
    parts = [*y_axis(frame), *time_axis(frame)]
    for line in lines:
        parts += [_band(frame, line), *_strokes(frame, line)]
    parts += _gates(frame, [(name, value) for name, value in gates if low <= value <= high])
    return _svg(title, parts)


def calibration(title: str, points: Sequence[CalibrationPoint], colour: int) -> str:
    """Observed rate against mean prediction, with intervals; the diagonal is perfect, the bars below are the counts."""
    if not points:
        return _nothing(title)
    frame = Frame(0.0, 1.0, 0.0, 1.0)
    parts = [*y_axis(frame), *unit_axis(frame)]
    parts.append(_path("reference", [(frame.x(0), frame.y(0)), (frame.x(1), frame.y(1))]))
    most = max(point.n for point in points)
    for point in points:
        parts += _calibration_mark(frame, point, most, colour)
    return _svg(title, parts)


def legend(names: Sequence[tuple[str, int]], *, reference: str | None = None) -> str:
    """Names with their colours, as HTML above a plot; `reference` names the outline."""
    items = [f'<span><i class="key c{colour % COLOURS}"></i>{escape(name)}</span>' for name, colour in names]
    if reference is not None:
        items.append(f'<span><i class="key reference"></i>{escape(reference)}</span>')
    return f'<p class="legend">{"".join(items)}</p>'


def _svg(title: str, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {px(WIDTH)} {px(HEIGHT)}"'
    body = "".join(parts)
    return (
        f'<svg class="plot" {size} role="img" aria-label="{escape(title)}"><title>{escape(title)}</title>{body}</svg>'
    )


def _nothing(title: str) -> str:
    return f'<p class="nothing">{escape(title)}: nothing to draw yet.</p>'


def _bars(frame: Frame, bars: Bars, index: int, of: int, slots: Sequence[str]) -> list[str]:
    width = 0.8 / of
    parts = []
    for slot, share in enumerate(bars.shares):
        x, right = frame.x(slot + 0.1 + index * width), frame.x(slot + 0.1 + (index + 1) * width)
        y = frame.y(share)
        box = f'x="{px(x)}" y="{px(y)}" width="{px(right - x)}" height="{px(frame.y(0) - y)}"'
        said = escape(f"{bars.name}, {slots[slot]}: {share:.2%}")
        parts.append(f'<rect class="fill c{bars.colour % COLOURS}" {box}><title>{said}</title></rect>')
    return parts


def _steps(frame: Frame, shares: Sequence[float]) -> str:
    corners = []
    for slot, share in enumerate(shares):
        corners += [(frame.x(slot), frame.y(share)), (frame.x(slot + 1), frame.y(share))]
    return _path("reference", corners)


def _gates(frame: Frame, gates: Sequence[tuple[str, float]]) -> list[str]:
    """Every gate as a line; its name where it does not run into the one above."""
    parts, above = [], -math.inf
    for name, value in sorted(gates, key=lambda gate: -gate[1]):
        y = frame.y(value)
        parts.append(f'<line class="gate" x1="{LEFT}" x2="{px(WIDTH - RIGHT)}" y1="{px(y)}" y2="{px(y)}"/>')
        if y - above > LINE_HEIGHT:
            place = f'x="{px(WIDTH - RIGHT)}" y="{px(y)}" dy="-3"'
            parts.append(f'<text class="gatename" {place}>{escape(name)}</text>')
            above = y
    return parts


def _band(frame: Frame, line: Line) -> str:
    outlines = []
    for run in _runs([point for point in line.points if point.value is None or point.low is not None]):
        upper = [(frame.x(p.at_us), frame.y(p.high)) for p in run if p.high is not None]
        lower = [(frame.x(p.at_us), frame.y(p.low)) for p in reversed(run) if p.low is not None]
        if len(run) > 1:
            outlines.append(_moves([*upper, *lower]) + "Z")
    return f'<path class="band c{line.colour % COLOURS}" d="{"".join(outlines)}"/>' if outlines else ""


def _strokes(frame: Frame, line: Line) -> list[str]:
    kind = f"stroke c{line.colour % COLOURS}"
    parts = [
        _path(kind, [(frame.x(p.at_us), frame.y(p.value)) for p in run if p.value is not None])
        for run in _runs(line.points)
        if len(run) > 1
    ]
    return parts + [_dot(frame, line, point, point.value) for point in line.points if point.value is not None]


def _dot(frame: Frame, line: Line, point: Point, value: float) -> str:
    said = f"{line.name}, {minute_of(point.at_us)}: {value:.4g}"
    if point.low is not None and point.high is not None:
        said += f" [{point.low:.4g}, {point.high:.4g}]"
    place = f'cx="{px(frame.x(point.at_us))}" cy="{px(frame.y(value))}" r="2.2"'
    kind = "fill" if point.sure else "hollow stroke"
    return f'<circle class="{kind} c{line.colour % COLOURS}" {place}><title>{escape(said)}</title></circle>'


def _calibration_mark(frame: Frame, point: CalibrationPoint, most: int, colour: int) -> list[str]:
    x, kind = px(frame.x(point.predicted)), f"c{colour % COLOURS}"
    tall = 48 * point.n / most
    said = f"predicted {point.predicted:.3f}, observed {point.observed:.3f} in {point.n:,} rows"
    left, top = px(frame.x(point.predicted) - 5), px(HEIGHT - frame.bottom - tall)
    return [
        f'<rect class="count" x="{left}" y="{top}" width="10" height="{px(tall)}"/>',
        f'<line class="stroke {kind}" x1="{x}" x2="{x}" y1="{px(frame.y(point.low))}" y2="{px(frame.y(point.high))}"/>',
        f'<circle class="fill {kind}" cx="{x}" cy="{px(frame.y(point.observed))}" r="3.5"><title>{said}</title></circle>',
    ]


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points cut at the gaps: a line is never drawn over what was not measured."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point.value is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def _path(kind: str, corners: Sequence[tuple[float, float]]) -> str:
    return f'<path class="{kind}" d="{_moves(corners)}"/>' if corners else ""


def _moves(corners: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{px(x)},{px(y)}" for x, y in corners)
