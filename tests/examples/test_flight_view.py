"""The view shows what is known and degrades to lines; it never needs a terminal."""

from io import StringIO

import pytest
from rich.console import Console

from contracts.statistic import Statistic
from examples.flights.picture import Seen, line, picture
from examples.flights.view import PlainView, TerminalView

APRIL_US, DAY_US = 1_364_774_400_000_000, 86_400 * 10**6


def row(variant, version, statistic, value, low=None, high=None, *, feature="", status="ok"):
    return Statistic(
        model="flight-delay",
        version=version,
        variant=variant,
        slice="",
        from_="",
        to="",
        feature=feature,
        statistic=statistic,
        value=value,
        low=low,
        high=high,
        n=100,
        status=status,
    )


ROWS = [
    row("champion", "1", "predictions", 90.0),
    row("champion", "1", "auc", 0.63, 0.58, 0.68),
    row("champion", "1", "label_coverage", 0.97),
    row("shadow-3", "3", "predictions", 100.0),
    row("champion", "1", "psi", 0.01, feature="dest"),
    row("shadow-3", "3", "psi", 2.5, feature="temp", status="alarm"),
]


def seen(event_us=APRIL_US, rows=ROWS, **changed):
    values = {
        "from_us": APRIL_US,
        "event_us": event_us,
        "to_us": APRIL_US + 270 * DAY_US,
        "predictions": 90,
        "per_second": 1234.5,
        "labels": 80,
        "shares": {("champion", "1"): 0.9, ("canary-2", "2"): 0.1},
        "rows": rows,
        "story": ["2013-04-01 canary 2 10%"],
        "problem": "",
    }
    return Seen(**(values | changed))


def shown(what):
    console = Console(file=StringIO(), width=160)
    console.print(what)
    return console.file.getvalue()


def test_the_picture_has_rates_shares_performance_drift_and_story():
    text = shown(picture(seen()))
    wanted = ["2013-04-01", "1,234/s", "champion (version 1)", "90%", "0.6300 [0.5800, 0.6800]", "97.0%"]
    wanted += ["temp", "2.5000", "beside every answer", "canary 2 10%"]
    assert all(part in text for part in wanted), text


def test_before_the_monitor_knows_anything_there_is_a_picture_too():
    text = shown(picture(seen(rows=[], problem="the monitor: starting")))
    assert "canary-2 (version 2)" in text
    assert "the monitor: starting" in text


def test_the_line_says_the_same_in_short():
    text = line(seen())
    assert text.startswith("2013-04-01  90 predictions (1,234/s), 80 labels")
    assert "champion (v1) 90%" in text
    assert "AUC champion (v1) 0.6300 [0.5800, 0.6800]" in text


def test_the_plain_view_writes_one_line_a_month():
    console = Console(file=StringIO(), width=80)
    with PlainView(console).replay() as show:
        for day in range(61):
            show(seen(APRIL_US + day * DAY_US))
    lines = console.file.getvalue().splitlines()
    assert [text[:7] for text in lines] == ["2013-04", "2013-05"]


@pytest.mark.parametrize("make", [PlainView, TerminalView])
def test_what_is_being_done_is_said_with_its_time(make):
    console = Console(file=StringIO(), width=80)
    with make(console).working("training version 1"):
        pass
    assert "training version 1" in console.file.getvalue()
    assert " s" in console.file.getvalue()


def test_the_terminal_view_leaves_the_last_picture():
    console = Console(file=StringIO(), width=160, force_terminal=True)
    with TerminalView(console).replay() as show:
        show(seen())
    assert "champion (version 1)" in console.file.getvalue()
