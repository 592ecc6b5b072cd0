"""Figures in, one SVG file's text out: bars with their spread, and lines over a rate, on logarithmic scales.

Enters: names and numbers. Leaves: SVG that needs no style sheet, script or font of its own, and reads on light and dark
pages. It never measures, and never lets text through unescaped.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

from benchmarks.spread import Spread

WIDTH: Final = 760.0
COLOURS: Final = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#64748b")
INK, GRID = "#1f2937", "#d1d5db"
ROW_HEIGHT, BAR_HEIGHT = 30.0, 16.0
NAMES_WIDTH, FIGURES_WIDTH = 120.0, 170.0
PLOT = (70.0, 60.0, 560.0, 380.0)
"""Left, top, right and bottom of a line plot."""


class Bar(NamedTuple):
    """One row: a name with its spread, or with the reason why there is none."""

    name: str
    figure: Spread | None
    reason: str = ""
    ours: bool = False


class Point(NamedTuple):
    """One measurement of a line."""

    x: float
    y: float


class Line(NamedTuple):
    """A named row of points, from left to right."""

    name: str
    points: Sequence[Point]


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars from the power of ten under the smallest figure; the thin line is from quartile to quartile."""
    figures = [row.figure for row in rows if row.figure is not None and row.figure.low > 0]
    low = 10.0 ** math.floor(math.log10(min((figure.low for figure in figures), default=1.0)))
    high = 10.0 ** math.ceil(math.log10(max((figure.high for figure in figures), default=10.0) * 1.0001))
    right = WIDTH - FIGURES_WIDTH

    def across(value: float) -> float:
        return NAMES_WIDTH + (right - NAMES_WIDTH) * logarithm(value, low, high)

    top = 46.0
    bottom = top + ROW_HEIGHT * len(rows)
    drawn = [text(10, 22, title, size=15, bold=True)]
    for tick in decades(low, high):
        x = across(tick)
        drawn += [line(x, top, x, bottom), text(x, bottom + 16, f"{tick:,g}", anchor="middle")]
    drawn.append(text((NAMES_WIDTH + right) / 2, bottom + 34, unit, anchor="middle"))
    for number, row in enumerate(rows):
        y = top + ROW_HEIGHT * (number + 0.5)
        drawn.append(text(NAMES_WIDTH - 8, y + 4, row.name, anchor="end", bold=row.ours))
        if row.figure is None or row.figure.middle <= 0:
            drawn.append(text(NAMES_WIDTH + 6, y + 4, row.reason[:90], size=11))
            continue
        width = across(row.figure.middle) - NAMES_WIDTH
        colour = COLOURS[0] if row.ours else COLOURS[-1]
        drawn += [
            f'<rect x="{NAMES_WIDTH}" y="{y - BAR_HEIGHT / 2:.1f}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>',
            line(across(row.figure.low), y, across(row.figure.high), y, INK, 2),
            text(right + 8, y + 4, row.figure.shown(0)),
        ]
    return svg(WIDTH, bottom + 44, drawn)


def lines(title: str, x_unit: str, y_unit: str, rows: Sequence[Line]) -> str:
    """Lines on two logarithmic scales."""
    left, top, right, bottom = PLOT
    points = [point for row in rows for point in row.points if point.x > 0 and point.y > 0] or [Point(1, 1)]
    x_low, x_high = min(point.x for point in points) / 1.2, max(point.x for point in points) * 1.2
    y_low = 10.0 ** math.floor(math.log10(min(point.y for point in points)))
    y_high = 10.0 ** math.ceil(math.log10(max(point.y for point in points) * 1.0001))
    drawn = [text(10, 22, title, size=15, bold=True)]
    for tick in decades(y_low, y_high):
        y = bottom - (bottom - top) * logarithm(tick, y_low, y_high)
        drawn += [line(left, y, right, y), text(left - 6, y + 4, f"{tick:,g}", anchor="end")]
    for tick in steps(x_low, x_high):
        x = left + (right - left) * logarithm(tick, x_low, x_high)
        drawn += [line(x, top, x, bottom), text(x, bottom + 16, f"{tick:,g}", anchor="middle")]
    drawn += [
        text((left + right) / 2, bottom + 34, x_unit, anchor="middle"),
        text(left, top - 8, y_unit, anchor="middle"),
    ]
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        places = [
            (
                left + (right - left) * logarithm(point.x, x_low, x_high),
                bottom - (bottom - top) * logarithm(point.y, y_low, y_high),
            )
            for point in row.points
            if point.x > 0 and point.y > 0
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        y = top + 18.0 * number
        drawn += [line(right + 14, y, right + 34, y, colour, 3), text(right + 40, y + 4, row.name)]
    return svg(WIDTH, bottom + 44, drawn)


def logarithm(value: float, low: float, high: float) -> float:
    """Where a value lies between two others, by their logarithms: 0 to 1, and no further."""
    share = (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low))
    return min(max(share, 0.0), 1.0)


def decades(low: float, high: float) -> list[float]:
    """The powers of ten from one to another."""
    return [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]


def steps(low: float, high: float) -> list[float]:
    """Round numbers (1, 2, 5 of each power of ten) between two values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [digit * 10.0**power for power in powers for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]


def text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    """Words at a place."""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, colour: str = GRID, width: int = 1) -> str:
    """A straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def svg(width: float, height: float, drawn: Sequence[str]) -> str:
    """A whole file; the white ground makes it readable on a dark page."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" font-family="sans-serif" fill="{INK}">'
    )
    ground = f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    return "\n".join([head, ground, *drawn, "</svg>", ""])
