"""Rows scored one by one for their own panes add up to the counts that `monitor.counts.counting` takes of them together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.counts.counting import count_labelled
from monitor.counts.generation import definition_of, generation_of
from monitor.counts.scoring import score

scores = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, 1 / 60, np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@settings(max_examples=60)
@given(data=st.data())
def test_rows_add_up_to_the_counts_of_all(world, kind, data):
    generation = generation_of("m", "1", "d", definition_of(world.make_reference(kind), None))
    width = generation.values
    rows = data.draw(st.integers(0, 12))
    numbers = st.floats(-1e9, 1e9) | st.just(np.nan) if kind == "regression" else scores
    values = data.draw(st.lists(numbers, min_size=rows * width, max_size=rows * width))
    predicted = np.array(values, np.float64).reshape(rows, width)
    truth = st.floats(-1e9, 1e9) if kind == "regression" else st.integers(0, 1 if kind == "binary" else 2)
    truths = np.array(data.draw(st.lists(truth, min_size=rows, max_size=rows)), np.float64)

    cells, weights = score(generation, predicted, truths)

    vector = generation.layout.zeros()
    np.add.at(vector, cells, weights)
    expected = count_labelled(generation.layout, predicted if kind == "multiclass" else predicted[:, 0], truths)
    assert np.array_equal(vector, expected)


def test_a_sum_beyond_all_bounds_is_clipped_and_counted(world):
    generation = generation_of(
        "m", "1", "d", definition_of(world.make_reference("regression", target_std=1e-300), None)
    )

    cells, weights = score(generation, np.array([[1e308]]), np.array([-1e308]))

    error = generation.layout.sections["error"]
    vector = generation.layout.zeros()
    np.add.at(vector, cells, weights)
    assert vector[error.cells].tolist() == [
        10**4 * 2**20,
        10**4 * 2**20,
        10**8 * 2**20,
        -(10**4) * 2**20,
        10**8 * 2**20,
        1,
    ]
