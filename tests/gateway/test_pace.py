"""How long a version's runs take just now: the trial's line, times what is seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.models.pace import FACTOR_MAX, Pace


@pytest.mark.parametrize(
    ("rows", "rows_max", "expected_us"),
    [(0, 8, 0.0), (1, 8, 100.0), (8, 8, 100.0 + 7 * 10.0), (9, 8, 2 * 100.0 + 7 * 10.0), (16, 1, 1600.0)],
)
def test_before_any_run_it_is_what_the_trial_saw(rows, rows_max, expected_us):
    assert Pace(100.0, 10.0).wait_us(rows, rows_max) == pytest.approx(expected_us)


def test_a_changed_load_is_followed_within_ten_runs_and_forgotten_as_fast():
    pace = Pace(100.0, 10.0)
    for _ in range(15):
        pace.seen(8, 3 * 170.0)
    assert pace.wait_us(8, 8) == pytest.approx(3 * 170.0, rel=0.05)
    for _ in range(15):
        pace.seen(8, 170.0)
    assert pace.wait_us(8, 8) == pytest.approx(170.0, rel=0.1)


def test_one_interrupted_run_moves_it_little():
    pace = Pace(100.0, 10.0)
    pace.seen(1, 1e9)
    assert pace.wait_us(1, 8) <= 100.0 * (1 + 0.2 * FACTOR_MAX)
    for _ in range(25):
        pace.seen(1, 100.0)
    assert pace.wait_us(1, 8) == pytest.approx(100.0, rel=0.1)


@pytest.mark.parametrize(
    ("run_us", "row_us", "rows_max", "rows"),
    [(110.0, 10.0, 1000, 90), (110.0, 10.0, 64, 64), (100.0, 100.0, 64, 1), (1000.0, 0.0, 64, 64)],
    ids=["nine tenths grow with the rows", "at most rows_max", "batches save nothing", "rows cost nothing"],
)
def test_a_run_as_large_as_is_of_use(run_us, row_us, rows_max, rows):
    pace = Pace(run_us, row_us)
    assert pace.large_run_us(rows_max) == pytest.approx(pace.wait_us(rows, rows_max))


@given(st.integers(1, 500), st.integers(1, 64), st.floats(1, 1e4), st.floats(0, 1e3))
def test_more_rows_never_take_less(rows, rows_max, run_us, row_us):
    pace = Pace(run_us, min(row_us, run_us))
    assert pace.wait_us(rows + 1, rows_max) >= pace.wait_us(rows, rows_max) - 1e-6
