"""Where things stand in a picture: the frame, its axes and their ticks, as SVG.

Enters: the values at the borders. Leaves: coordinates and SVG text. Never draws a value.
"""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import Final, NamedTuple

WIDTH: Final = 540
HEIGHT: Final = 230
LEFT: Final = 46
RIGHT: Final = 20
TOP: Final = 12
BOTTOM: Final = 28
SLOTS_BOTTOM: Final = 54
"""Room under the axis: for times, and for the slanted names of slots."""
LABELS_MAX: Final = 24
"""Names under one plot; of more, every second, third... is written."""
MICROSECONDS_PER_DAY: Final = 86_400_000_000


class Frame(NamedTuple):
    """The plotting area and the values at its borders."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    bottom: float = BOTTOM

    def x(self, value: float) -> float:
        """Where a value stands, from the left."""
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Where a value stands, from the top."""
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return HEIGHT - self.bottom - share * (HEIGHT - TOP - self.bottom)


def y_axis(frame: Frame, *, percent: bool = False) -> list[str]:
    """Values and grid lines; in percent where they are shares."""
    parts = []
    for tick in ticks(frame.y_low, frame.y_high, 5):
        y = px(frame.y(tick))
        name = f"{tick * 100:g} %" if percent else f"{tick:g}"
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{px(WIDTH - RIGHT)}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{y}" dy="0.32em">{name}</text>')
    return parts


def unit_axis(frame: Frame) -> list[str]:
    """Shares from 0 to 1, from left to right."""
    y = px(HEIGHT - frame.bottom + 16)
    return [f'<text class="mid" x="{px(frame.x(tick))}" y="{y}">{tick:g}</text>' for tick in (0, 0.2, 0.4, 0.6, 0.8, 1)]


def time_axis(frame: Frame) -> list[str]:
    """Times from left to right; the frame's x is in microseconds since the epoch."""
    parts = []
    for at_us in time_ticks(frame.x_low, frame.x_high):
        x, y = px(frame.x(at_us)), HEIGHT - frame.bottom
        name = _time_name(at_us, frame.x_high - frame.x_low)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{px(y)}" y2="{px(y + 4)}"/>')
        parts.append(f'<text class="mid" x="{x}" y="{px(y + 18)}">{name}</text>')
    return parts


def slot_names(frame: Frame, slots: Sequence[str]) -> list[str]:
    """Slanted, so that neighbours do not run into each other; of many slots only every second, third... is named."""
    every = max(1, math.ceil(len(slots) / LABELS_MAX))
    parts = []
    for index in range((len(slots) - 1) % every, len(slots), every):
        x, y = px(frame.x(index + 0.6)), px(HEIGHT - frame.bottom + 12)
        name = escape(shorten(slots[index], 11))
        parts.append(f'<text class="end" x="{x}" y="{y}" transform="rotate(-40 {x} {y})">{name}</text>')
    return parts


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) within [low, high], about as many as asked; needs low < high."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * (1 + 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def time_ticks(low_us: float, high_us: float) -> list[int]:
    """Times for an axis over [low, high], at most about eight: months if it is long, else days, hours or minutes."""
    if high_us - low_us > 70 * MICROSECONDS_PER_DAY:
        return _month_starts(low_us, high_us)
    minutes = (1, 5, 15, 30, 60, 180, 360, 720, 1440, 2 * 1440, 7 * 1440, 14 * 1440)
    step = next((m * 60_000_000 for m in minutes if (high_us - low_us) / (m * 60_000_000) <= 8), 14 * 86_400_000_000)
    first = math.ceil(low_us / step) * step
    return list(range(first, math.floor(high_us) + 1, step))


def time_span(times_us: Sequence[int]) -> tuple[float, float]:
    """The borders of these times; a single one stands in the middle of a day."""
    low, high = min(times_us), max(times_us)
    return (low, high) if high > low else (low - MICROSECONDS_PER_DAY / 2, high + MICROSECONDS_PER_DAY / 2)


def ceiling(top: float) -> float:
    """A little above the tallest bar."""
    return max(top * 1.08, 0.01)


def padded(low: float, high: float, floor: float | None) -> tuple[float, float]:
    """A little more than [low, high], and never so little that no tick could be told from the next."""
    margin = (high - low) * 0.08 if high > low else abs(high) * 0.1
    margin = max(margin, abs(high) * 1e-6, abs(low) * 1e-6, 1e-6)
    return (low - margin if floor is None else min(floor, low)), high + margin


def shorten(name: str, most: int) -> str:
    """`name`, cut to at most `most` characters with an ellipsis."""
    return name if len(name) <= most else name[: most - 1] + "…"


def px(number: float) -> str:
    """A coordinate, as short as it can be seen."""
    return f"{number:.1f}".removesuffix(".0")


def minute_of(at_us: float) -> str:
    """The UTC minute of a time in microseconds since the epoch."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M")


def _month_starts(low_us: float, high_us: float) -> list[int]:
    start, end = datetime.fromtimestamp(low_us / 1e6, UTC), datetime.fromtimestamp(high_us / 1e6, UTC)
    every = max(1, math.ceil((high_us - low_us) / (30 * MICROSECONDS_PER_DAY) / 8))
    months = range(start.year * 12 + start.month - 1, end.year * 12 + end.month, every)
    starts = [int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp() * 1e6) for month in months]
    return [at_us for at_us in starts if low_us <= at_us <= high_us]


def _time_name(at_us: float, span_us: float) -> str:
    at = datetime.fromtimestamp(at_us / 1e6, UTC)
    if span_us > 70 * MICROSECONDS_PER_DAY:
        return at.strftime("%b %Y") if at.month == 1 else at.strftime("%b")
    return at.strftime("%d %b") if span_us > 3 * MICROSECONDS_PER_DAY else at.strftime("%d %b %H:%M")
