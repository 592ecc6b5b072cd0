"""What the plots show: every count in exactly one slot, and the same slots on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts.reference import CategoricalBins, NumericBins
from contracts.task import Task
from monitor.counts.counting import count_labelled
from monitor.counts.layout import cells_of, layout_of
from monitor.pages.distributions import CALIBRATION_POINTS, CATEGORIES_DRAWN, calibration_of, distribution_of

counts = hnp.arrays(np.int64, 17, elements=st.integers(0, 10_000))


def numeric(baseline):
    edges = tuple(float(i) for i in range(13))
    return NumericBins(edges=edges, display=(0, 4, 8, 12), counts=tuple(baseline), mean=None, std=None)


def categorical(values, baseline):
    return CategoricalBins(values=tuple(values), tail=(), counts=tuple(baseline))


@given(baseline=counts, current=counts)
def test_shares_of_a_numeric_feature_add_up_and_empty_slots_are_left_out(baseline, current):
    drawn = distribution_of(numeric(baseline.tolist()), current)
    assert drawn.n == current.sum()
    for shares, side in ((drawn.reference, baseline), (drawn.current, current)):
        assert (sum(shares) == pytest.approx(1)) if side.sum() else (shares == ())
        assert len(shares) in {0, len(drawn.slots)}


def test_numeric_slots_are_display_bins_named_by_their_upper_edge():
    cells = np.ones(17, np.int64)
    drawn = distribution_of(numeric(cells.tolist()), cells)
    assert drawn.slots == ("below", "≤ 4", "≤ 8", "≤ 12", "above", "missing", "-inf", "+inf")
    assert drawn.current == pytest.approx([c / 17 for c in (1, 4, 4, 4, 1, 1, 1, 1)])


def test_a_feature_without_edges_still_has_its_special_slots():
    bins = NumericBins(edges=(), display=(), counts=(0, 5, 0, 0), mean=None, std=None)
    drawn = distribution_of(bins, np.array([3, 7, 0, 0]))
    assert drawn.slots == ("any value", "missing")
    assert drawn.current == pytest.approx((0.3, 0.7))


@given(st.integers(1, 60), st.randoms(use_true_random=False))
def test_of_many_categories_the_frequent_are_drawn_and_no_count_is_lost(known, random):
    values = [f"v{i}" for i in range(known)]
    baseline = [random.randrange(100) for _ in range(known + 3)]
    current = np.array([random.randrange(100) for _ in range(known + 3)])
    drawn = distribution_of(categorical(values, baseline), current)
    assert len(drawn.slots) <= CATEGORIES_DRAWN + 4
    assert sum(drawn.current) == pytest.approx(1) or not current.sum()


def test_an_unseen_category_is_a_slot_of_its_own():
    drawn = distribution_of(categorical(["a", "b"], [5, 5, 0, 0, 0]), np.array([4, 4, 0, 2, 0]))
    assert drawn.slots == ("a", "b", "unseen")
    assert drawn.reference == pytest.approx((0.5, 0.5, 0.0))
    assert drawn.current == pytest.approx((0.4, 0.4, 0.2))


def test_counts_of_another_layout_are_a_broken_invariant():
    bins = numeric([0] * 17)
    with pytest.raises(AssertionError, match="cells"):
        distribution_of(bins, np.zeros(cells_of(bins) + 1, np.int64))


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200))
def test_calibration_points_are_the_means_of_their_rows(rows):
    layout = layout_of(None, Task(kind="binary", output="p"))
    p, y = np.array([p for p, _ in rows]), np.array([float(hit) for _, hit in rows])
    points = calibration_of(layout, count_labelled(layout, p, y))
    assert sum(point.n for point in points) == len(rows)
    bins = np.clip((p * 60).astype(int), 0, 59) // (60 // CALIBRATION_POINTS)
    assert sum(point.predicted * point.n for point in points) == pytest.approx(p.sum(), abs=len(rows) / 2**20)
    observed = [y[bins == b].mean() for b in sorted(set(bins.tolist()))]
    assert [point.observed for point in points] == pytest.approx(observed)
    assert all(point.low <= point.observed <= point.high for point in points)


def test_regression_and_a_version_without_a_task_have_no_calibration():
    for task in (None, Task(kind="regression", output="y")):
        layout = layout_of(None, task)
        assert calibration_of(layout, layout.zeros()) == []
