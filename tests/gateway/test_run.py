"""A batch's output goes back to the requests that sent its rows, and to nobody else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import ModelFailed
from contracts.signature import TensorSpec
from tests.gateway.recorded import split_outputs

PROBABILITIES = TensorSpec(name="p", datatype="FP32", shape=(-1, 2))
NAMES = TensorSpec(name="s", datatype="BYTES", shape=(-1,))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_every_request_gets_its_own_rows_in_order(rows):
    total = sum(rows)
    array = np.arange(total * 2, dtype=np.float32).reshape(total, 2)
    names = np.array([f"row {i}" for i in range(total)], object)

    parts = split_outputs([PROBABILITIES, NAMES], [array, names], rows, "v")

    assert [part["p"].shape for part in parts] == [[count, 2] for count in rows]
    assert [value for part in parts for value in part["p"].data] == array.ravel().tolist()
    assert [value for part in parts for value in part["s"].data] == names.tolist()


@pytest.mark.parametrize(("value", "name"), [(np.nan, "NaN"), (np.inf, "Infinity"), (-np.inf, "-Infinity")])
def test_only_the_request_whose_rows_are_not_finite_fails(value, name):
    array = np.zeros((4, 2), np.float32)
    array[2, 1] = value

    first, second, third = split_outputs([PROBABILITIES], [array], [1, 2, 1], "version 2 of 'm'")

    assert isinstance(second, ModelFailed)
    assert str(second) == f"version 2 of 'm': output 'p' holds {name} at row 1: JSON cannot carry it"
    assert first["p"].data == third["p"].data == [0.0, 0.0]


def test_an_output_whose_rows_do_not_add_up_is_a_failure_of_the_model():
    with pytest.raises(ModelFailed, match=r"output 'p' has shape \[3, 2\] for 4 rows"):
        split_outputs([PROBABILITIES], [np.zeros((3, 2), np.float32)], [2, 2], "v")


def test_an_output_of_no_columns_is_empty_for_everyone():
    spec = TensorSpec(name="e", datatype="FP32", shape=(-1, 0))

    parts = split_outputs([spec], [np.zeros((3, 0), np.float32)], [1, 2], "v")

    assert [(part["e"].shape, part["e"].data) for part in parts] == [([1, 0], []), ([2, 0], [])]
