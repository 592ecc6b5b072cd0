"""What the load generators print becomes the right figures, and the figures keep how wide they lie."""

import math
import xml.etree.ElementTree as ET

import pytest

from benchmarks.closed_loop import Load, seen
from benchmarks.constant_rate import percentile, step
from benchmarks.peers.pairs import Outcome, Turn, probabilities
from benchmarks.peers.report import cpu_ratio, keep, ratio, row
from benchmarks.pictures import Bar, Line, Point, bars, lines
from benchmarks.sheets import Sheet
from benchmarks.spread import Spread, ratios, spread

WRK = """Running 1s test @ http://127.0.0.1:1/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     6.21ms    1.44ms  27.11ms   93.75%
    Req/Sec    10.39k   616.57    10.98k    90.00%
  Latency Distribution
     50%    5.98ms
     75%    6.38ms
     90%    6.92ms
     99%    1.02s
  10360 requests in 1.01s, 2.89MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 7
Requests/sec:  10279.13
"""
OHA = """request-start,DNS,DNS+dialup,Response-delay,request-duration,bytes,status
0.5,0,0.0002,0.004,0.005,120,200
1.001,0,0.0002,0.004,0.005,120,200
1.002,0,0.0002,0.004,0.060,120,200
1.003,0,0.0002,0.004,0.010,120,503
"""


def turns(rates):
    return [Turn(Load(rate, 1, 2, 0), 1e6 / rate if rate else 0) for rate in rates]


def outcome(ours, theirs):
    return Outcome("other", "1.0", "none", turns(ours), turns(theirs), 10.0)


def test_wrk_is_read_with_its_units_and_all_its_failures():
    assert seen(WRK) == Load(10279.13, 5.98, 1020.0, 10)


def test_wrk_that_says_something_else_is_refused():
    with pytest.raises(ValueError, match="printed no rate"):
        seen("unable to connect to 127.0.0.1:1 Connection refused")


def test_what_was_due_and_not_answered_well_counts_as_never_and_the_first_second_not_at_all():
    found = step(OHA, per_s=4, seconds=2, load_cpu=0.5)

    assert (found.due_per_s, found.answered_per_s, found.good_per_s) == (4, 1, 0.5)
    assert (found.p50_ms, found.p90_ms, found.unanswered) == (math.inf, math.inf, 5)


def test_what_is_cut_off_at_the_end_of_a_run_is_not_lost():
    answered = "".join(f"1.{number:02},0,0,0,0.001,1,200\n" for number in range(97))

    assert step(OHA.splitlines()[0] + "\n" + answered, per_s=100, seconds=1, load_cpu=0).unanswered == 0


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_measured(percent, value):
    assert percentile([1, 2, 3, 4], percent) == value


def test_a_spread_is_the_quartiles_and_of_one_value_that_value():
    assert spread([1, 2, 3, 4, 5]) == Spread(2, 3, 4)
    assert spread([7]) == Spread(7, 7, 7)
    assert Spread(1234.4, 2345.6, 3456).shown(0) == "2,346 (1,234-3,456)"


def test_ratios_are_of_neighbours_and_a_turn_without_theirs_has_none():
    assert ratios([10, 20, 30], [5, 0, 10]) == [2, 3]


def test_pointsman_is_compared_turn_by_turn():
    found = ratio(outcome([100, 300, 400], [50, 100, 100]))

    assert found == Spread(2.5, 3, 3.5)
    assert cpu_ratio(outcome([100, 200], [100, 100])) == Spread(1.25, 1.5, 1.75)


def test_a_peer_without_figures_keeps_its_row_with_the_reason():
    assert row(Outcome("other", "1.0", reason="did not start: no port"))[:2] == [
        "other 1.0",
        "(did not start: no port)",
    ]


def test_a_turn_without_an_answer_is_told_and_has_no_ratio():
    found = outcome([100, 100, 100], [0, 50, 50])

    assert ratio(found) == cpu_ratio(found) == Spread(2, 2, 2)
    assert row(found)[7] == "0, 1 turns without an answer"


def test_everything_is_kept_as_files(tmp_path):
    machine = {"cpu": "c", "cores": 2, "memory_gb": 1, "python": "3", "python_pgo": False, "packages": {}}
    about = {"machine": machine | {"commit": "abc", "at": "now", "load": 0}, "turns": 2, "seconds": 1}
    results = {"mlp": [outcome([100, 200], [10, 20]), Outcome("gone", reason="did not install: a|b")]}

    written = keep(tmp_path / "new", results, about, 64)

    assert sorted(path.name for path in written) == ["peers-mlp.svg", "peers.json", "peers.md"]
    assert "did not install: a\\|b" in (tmp_path / "new" / "peers.md").read_text()
    ET.fromstring((tmp_path / "new" / "peers-mlp.svg").read_text())


def test_a_sheet_is_markdown_with_a_row_for_each_row():
    shown = Sheet("t", ("", "n"), [["a", "1"], ["b", "2"]], ("note",)).markdown()

    assert shown.splitlines()[2:6] == ["|  | n |", "| --- | ---: |", "| a | 1 |", "| b | 2 |"]


@pytest.mark.parametrize(
    "rows", [[], [Bar("<&>", None, "<gone>")], [Bar("a", Spread(1, 1, 1)), Bar("b", Spread(9, 10, 2e4))]]
)
def test_bars_are_well_formed_for_any_figures(rows):
    ET.fromstring(bars("<title>", "u", rows))


@pytest.mark.parametrize(
    "rows", [[], [Line("<a>", [])], [Line("a", [Point(10, 1), Point(20, 0)]), Line("b", [Point(9, 3e3)])]]
)
def test_lines_are_well_formed_for_any_figures(rows):
    ET.fromstring(lines("<title>", "x", "y", rows))


def test_probabilities_are_found_in_a_v2_reply_and_in_lists():
    reply = {"outputs": [{"name": "label", "data": [1]}, {"name": "probabilities", "data": [[0.25, 0.75]]}]}

    assert probabilities(reply) == probabilities([[0.25, 0.75]]) == [0.25, 0.75]
