"""The pictures: well-formed SVG that says what it draws, whatever the numbers and the names."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.pages.plot_axes import ticks, time_ticks
from monitor.pages.plots import (
    Bars,
    CalibrationPoint,
    Line,
    Point,
    calibration,
    distribution,
    legend,
    meter,
    timeline,
    whisker,
)

DAY_US = 86_400_000_000
HOSTILE = '<script>alert("x")</script>&\'"'


def tree(svg):
    return ET.fromstring(svg)


def texts(svg):
    return [element.text for element in tree(svg).iter("text")]


def at_us(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp()) * 1_000_000


finite = st.floats(-1e12, 1e12)
points = st.lists(
    st.builds(
        Point,
        st.integers(0, 3_000_000_000_000_000),
        st.none() | finite,
        st.none() | finite,
        st.none() | finite,
        st.booleans(),
    ),
    max_size=30,
)


def test_differences_too_small_for_a_tick_are_drawn_flat():
    tree(timeline("t", [Line("a", [Point(0, 0.0), Point(DAY_US, 5e-324), Point(2 * DAY_US, 1e-9)])]))
    tree(distribution("d", ["a"], None, [Bars("current", [5e-324])]))


@given(lines=st.lists(points, max_size=3))
@settings(max_examples=150)
def test_a_timeline_of_any_numbers_is_well_formed_and_stays_finite(lines):
    drawn = timeline("any", [Line(f"v{i}", line, i) for i, line in enumerate(lines)], [("gate", 0.1)])
    tree(drawn)
    assert "nan" not in drawn
    assert "inf" not in drawn


def test_a_gap_cuts_the_line_and_is_never_drawn_over():
    values = [
        Point(0, 1.0),
        Point(DAY_US, 2.0),
        Point(2 * DAY_US, None),
        Point(3 * DAY_US, 1.5),
        Point(4 * DAY_US, 1.0),
    ]
    strokes = [e for e in tree(timeline("t", [Line("a", values)])).iter("path") if "stroke" in e.get("class")]
    assert len(strokes) == 2
    assert [path.get("d").count("L") for path in strokes] == [1, 1]


def test_higher_values_are_drawn_higher_and_later_ones_further_right():
    dots = list(tree(timeline("t", [Line("a", [Point(0, 1.0), Point(DAY_US, 2.0)])])).iter("circle"))
    assert float(dots[1].get("cy")) < float(dots[0].get("cy"))
    assert float(dots[1].get("cx")) > float(dots[0].get("cx"))


def test_a_point_that_rests_on_too_little_is_hollow():
    dots = list(tree(timeline("t", [Line("a", [Point(0, 1.0), Point(DAY_US, 2.0, sure=False)])])).iter("circle"))
    assert ["hollow" in dot.get("class") for dot in dots] == [False, True]


def test_a_point_tells_its_numbers_when_pointed_at():
    drawn = timeline("t", [Line("canary", [Point(at_us(2013, 4, 1), 0.71, 0.7, 0.72)])])
    assert "canary, 2013-04-01 00:00: 0.71 [0.7, 0.72]" in drawn


def test_an_interval_that_is_known_is_drawn_as_a_band():
    known = [Point(0, 1.0, 0.5, 1.5), Point(DAY_US, 1.0, 0.5, 1.5)]
    unknown = [Point(0, 1.0), Point(DAY_US, 1.0)]
    assert 'class="band' in timeline("t", [Line("a", known)])
    assert 'class="band' not in timeline("t", [Line("a", unknown)])


def test_nothing_to_draw_is_said_in_words():
    assert "nothing to draw" in timeline("AUC", [Line("a", [Point(0, None)])])
    assert "nothing to draw" in calibration("calibration", [], 0)


@pytest.mark.parametrize(
    "drawn",
    [
        timeline(HOSTILE, [Line(HOSTILE, [Point(0, 1.0)])], [(HOSTILE, 1.0)]),
        distribution(HOSTILE, [HOSTILE], Bars(HOSTILE, [1.0]), [Bars(HOSTILE, [1.0])]),
        calibration(HOSTILE, [CalibrationPoint(0.5, 0.5, 0.4, 0.6, 10)], 0),
        f"<div>{legend([(HOSTILE, 0)], reference=HOSTILE)}</div>",
        meter(0.1, 0.4, HOSTILE),
    ],
)
def test_names_from_outside_never_become_markup(drawn):
    assert "<script" not in drawn
    assert not list(tree(drawn).iter("script"))


def test_bars_are_as_tall_as_their_shares():
    drawn = distribution("d", ["a", "b"], None, [Bars("current", [0.25, 0.75])])
    heights = [float(bar.get("height")) for bar in tree(drawn).iter("rect")]
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.01)


def test_the_reference_is_an_outline_over_the_bars():
    drawn = distribution("d", ["a", "b"], Bars("reference", [0.5, 0.5]), [Bars("current", [0.4, 0.6])])
    assert [path.get("class") for path in tree(drawn).iter("path")] == ["reference"]


@given(st.lists(st.floats(0, 1), max_size=60))
def test_a_distribution_of_any_shares_is_well_formed(shares):
    slots = [f"slot {i}" for i in range(len(shares))]
    tree(distribution("d", slots, Bars("reference", shares), [Bars("current", shares)]))


def test_calibration_puts_a_perfect_bin_on_the_diagonal():
    drawn = tree(calibration("c", [CalibrationPoint(0.3, 0.3, 0.2, 0.4, 50)], 0))
    dot = next(drawn.iter("circle"))
    (x0, y0), (x1, y1) = (
        tuple(float(number) for number in corner.split(","))
        for corner in next(drawn.iter("path")).get("d").removeprefix("M").split("L")
    )
    assert float(dot.get("cx")) == pytest.approx(x0 + 0.3 * (x1 - x0), abs=0.2)
    assert float(dot.get("cy")) == pytest.approx(y0 + 0.3 * (y1 - y0), abs=0.2)


def test_a_meter_is_full_at_its_full_value_and_never_beyond():
    widths = [float(list(tree(meter(v, 0.4, "ok")).iter("rect"))[1].get("width")) for v in (None, 0.0, 0.2, 0.4, 9.0)]
    assert widths == [0.0, 0.0, 60.0, 120.0, 120.0]


def test_a_whisker_without_a_value_is_empty_and_without_an_interval_is_a_dot():
    assert whisker(None, None, None, (0.0, 1.0), 0) == ""
    assert "<line" not in whisker(0.5, None, None, (0.0, 1.0), 0)
    tree(whisker(0.5, 0.5, 0.5, (0.5, 0.5), 0))


@given(low=finite, span=st.floats(1e-6, 1e12), about=st.integers(2, 8))
def test_ticks_are_round_rising_and_inside(low, span, about):
    high = low + span
    if not low + span / 100 > low:
        return
    found = ticks(low, high, about)
    slack = span * 1e-6 + abs(low) * 1e-9
    assert all(low - slack <= tick <= high + slack for tick in found)
    assert found == sorted(set(found))
    assert len(found) <= about + 2


@given(st.integers(0, at_us(2200, 1, 1)), st.integers(1, at_us(2150, 1, 1)))
def test_time_ticks_are_few_rising_and_inside(low, span):
    found = time_ticks(low, low + span)
    assert found == sorted(set(found))
    assert all(low <= tick <= low + span for tick in found)
    assert len(found) <= 10


def test_time_ticks_over_months_are_month_starts():
    found = time_ticks(at_us(2013, 3, 15), at_us(2013, 8, 20))
    assert found == [at_us(2013, month, 1) for month in (4, 5, 6, 7, 8)]
