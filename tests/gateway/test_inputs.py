"""How a request is fitted to the versions behind a plan: each takes its own, and says what it lacks."""

import re

import numpy as np
import pytest

from contracts.errors import InvalidInput, ModelRejected
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import Fitted, Missing, check_names, fit, gather, union_of
from gateway.models.intake import feature_names, intake_of
from gateway.protocol.request import InferRequest
from gateway.protocol.tensors import TENSOR_OF
from tests.gateway.recorded import features_of_batch


def spec(name, datatype="FP32", shape=(-1, 1), **more):
    return TensorSpec(name=name, datatype=datatype, shape=tuple(shape), **more)


def signature(*inputs, outputs=("p",)):
    return Signature(inputs=inputs, outputs=tuple(spec(name) for name in outputs))


def tensor(name, data, datatype="FP32", shape=None):
    return TENSOR_OF[datatype](name=name, shape=shape or [len(data), 1], data=data)


def request(*tensors, **more):
    nulls = any(None in sent.data for sent in tensors)
    rows = tensors[0].shape[0]
    return InferRequest(rows=rows, inputs={sent.name: sent for sent in tensors}, nulls=nulls, **more)


def features(sent, version):
    fitted = fit(sent, version)
    assert isinstance(fitted, Fitted), fitted
    (record,) = features_of_batch(gather([fitted], version), [fitted], version)
    return record


def misfit(sent, version):
    missing = fit(sent, version)
    assert isinstance(missing, Missing), missing
    return missing.message("version 2")


DISTANCE = spec("distance")
ORIGIN = spec("origin", "BYTES")
TEMP = spec("temp", nullable=True)
OLD = signature(DISTANCE, ORIGIN)
NEW = signature(DISTANCE, ORIGIN, TEMP, outputs=("p", "label"))


def test_each_version_takes_its_own_inputs_and_notes_the_rest():
    sent = request(tensor("temp", [39.5]), tensor("origin", ["EWR"], "BYTES"), tensor("distance", [1400.0]))

    old, new = fit(sent, OLD), fit(sent, NEW)

    assert old.extra == ["temp"]
    assert new.extra == []
    assert set(gather([old], OLD)) == {"distance", "origin"}
    assert set(gather([new], NEW)) == {"distance", "origin", "temp"}


def test_a_name_that_no_version_knows_is_an_error_with_the_closest_known_one():
    sent = request(tensor("distance", [1.0]), tensor("orgin", ["EWR"], "BYTES"))

    with pytest.raises(InvalidInput) as refused:
        check_names(sent, union_of([OLD, NEW]))

    assert str(refused.value) == (
        "inputs[1] 'orgin': no version takes it; did you mean 'origin'?; known are 'distance', 'origin', 'temp'"
    )


def test_a_name_that_only_one_version_knows_is_no_error():
    check_names(request(tensor("temp", [1.0]), outputs=("label",)), union_of([OLD, NEW]))


def test_an_output_that_no_version_gives_is_an_error():
    with pytest.raises(InvalidInput) as refused:
        check_names(request(tensor("temp", [1.0]), outputs=("p", "odds")), union_of([OLD, NEW]))

    assert str(refused.value) == "outputs[1] 'odds': no version gives it; known are 'label', 'p'"


def test_long_lists_of_known_names_are_cut_short_in_messages():
    wide = signature(*(spec(f"x{i:03}") for i in range(500)))

    with pytest.raises(InvalidInput, match=r"and 480 more$") as refused:
        check_names(request(tensor("y" * 10_000, [1.0])), union_of([wide]))

    assert len(str(refused.value)) < 500


def test_everything_that_a_version_lacks_is_said_at_once_and_nothing_is_raised():
    sent = request(tensor("distance", [5], "INT64"), outputs=("label",))

    assert misfit(sent, OLD) == (
        "version 2: input 'origin' missing; input 'distance' is INT64 and must be FP32; it has no output 'label'; it gives 'p'"
    )
    assert fit(sent, OLD).inputs == ("origin",)
    assert fit(request(tensor("other", [1.0])), NEW).message("version 3") == (
        "version 3: inputs 'distance', 'origin', 'temp' missing"
    )


def test_many_reasons_are_cut_short():
    wide = signature(*(spec(f"x{i:03}", "INT64") for i in range(500)))
    sent = request(*(tensor(f"x{i:03}", [1.0]) for i in range(500)))

    assert misfit(sent, wide).endswith("input 'x009' is FP32 and must be INT64; and 490 more")


def test_a_null_is_refused_by_an_input_that_is_not_nullable():
    sent = request(tensor("distance", [1.0, None]), tensor("origin", ["EWR", "JFK"], "BYTES"))

    assert misfit(sent, OLD) == "version 2: input 'distance': data[1] is null, and null is no FP32: send a value"


@pytest.mark.parametrize("datatype", ["INT64", "BOOL", "BYTES", "FP64"])
def test_null_is_no_value_of_any_datatype(datatype):
    sent = request(tensor("x", [None], datatype))

    assert f"null is no {datatype}" in misfit(sent, signature(spec("x", datatype)))


def test_a_null_in_an_input_that_the_version_does_not_take_does_not_matter():
    sent = request(tensor("distance", [1.0]), tensor("origin", ["EWR"], "BYTES"), tensor("temp", [None]))

    assert fit(sent, OLD).extra == ["temp"]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_a_null_reaches_the_model_as_nan_and_the_record_as_null(datatype):
    version = signature(spec("x", datatype, nullable=True))
    sent = request(tensor("x", [1.5, None, 2.5], datatype))
    fitted = fit(sent, version)

    feeds = gather([fitted], version)

    assert np.array_equal(feeds["x"].ravel(), np.array([1.5, np.nan, 2.5]), equal_nan=True)
    assert features_of_batch(feeds, [fitted], version) == [{"x": [1.5, None, 2.5]}]


def test_a_null_string_reaches_the_model_as_its_null_value_and_the_record_as_null():
    version = signature(spec("x", "BYTES", nullable=True, null_value="?"))
    sent = request(tensor("x", ["a", None], "BYTES"))
    fitted = fit(sent, version)

    feeds = gather([fitted], version)

    assert feeds["x"].ravel().tolist() == ["a", "?"]
    assert features_of_batch(feeds, [fitted], version) == [{"x": ["a", None]}]
    assert gather([fitted], version)["x"].ravel().tolist() == ["a", "?"], "a second run sees the same"
    assert sent.inputs["x"].data == ["a", None], "another version sees what was sent"


def test_a_null_in_a_wide_tensor_is_null_in_its_own_column_and_row():
    version = signature(spec("x", shape=(-1, 2), nullable=True, features=("a", "b")))
    sent = request(tensor("x", [1.0, 2.0, None, 4.0], shape=[2, 2]))

    assert features(sent, version) == {"a": [1.0, None], "b": [2.0, 4.0]}


def test_one_value_a_row_may_be_written_with_or_without_the_second_dimension():
    for written in ([2], [2, 1]):
        for wanted in ((-1,), (-1, 1)):
            version = signature(spec("x", shape=wanted))
            fitted = fit(request(tensor("x", [1.0, 2.0], shape=written)), version)
            assert gather([fitted], version)["x"].shape == tuple(2 if size == -1 else size for size in wanted)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ([2, 1, 1], (-1, 1)),
        ([2, 1], (-1, 1, 1)),
        ([2, 3], (-1, 2)),
        ([6], (-1, 3)),
        ([2], (-1, -1)),
        ([2, 3, 1], (-1, -1)),
    ],
)
def test_any_other_shape_is_held_strictly(written, wanted):
    sent = request(tensor("x", [0.0] * int(np.prod(written)), shape=written))

    assert misfit(sent, signature(spec("x", shape=wanted))) == (
        f"version 2: input 'x' has shape {written} and must have {list(wanted)}"
    )


def test_a_version_with_a_fixed_batch_takes_that_many_rows_only():
    version = signature(spec("x", shape=(1, 1)))

    assert isinstance(fit(request(tensor("x", [1.0])), version), Fitted)
    assert misfit(request(tensor("x", [1.0, 2.0])), version) == "version 2: the request has 2 rows and must have 1"


def test_free_dimensions_are_the_requests_and_tell_which_requests_share_a_batch():
    version = signature(spec("ids", "INT64", (-1, -1)), spec("mask", "BOOL", (-1, 2, -1)), spec("x"))

    def sent(length):
        return request(
            tensor("x", [0.5]),
            tensor("mask", [True] * 2 * length, "BOOL", [1, 2, length]),
            tensor("ids", list(range(length)), "INT64", [1, length]),
        )

    short, long = fit(sent(2), version), fit(sent(5), version)
    feeds = gather([short, short], version)

    assert short.tails != long.tails
    assert short.tails == fit(sent(2), version).tails
    assert {name: array.shape for name, array in feeds.items()} == {"ids": (2, 2), "mask": (2, 2, 2), "x": (2, 1)}
    assert features_of_batch(feeds, [short, short], version)[1] == {
        "ids": [[0, 1]],
        "mask": [[[True, True], [True, True]]],
        "x": [0.5],
    }
    with pytest.raises(AssertionError):
        gather([short, long], version)


def test_a_record_holds_what_the_model_saw_after_the_cast():
    version = signature(spec("half", "FP16"), spec("single", "FP32"), spec("double", "FP64"), spec("whole", "INT8"))
    sent = request(
        tensor("half", [0.1], "FP16"),
        tensor("single", [0.1]),
        tensor("double", [0.1], "FP64"),
        tensor("whole", [-7], "INT8"),
    )

    assert features(sent, version) == {
        "half": [float(np.float16(0.1))],
        "single": [float(np.float32(0.1))],
        "double": [0.1],
        "whole": [-7],
    }


def test_columns_of_a_wide_tensor_are_features_of_their_own():
    version = signature(spec("x", shape=(-1, 3)), spec("named", "INT64", (-1, 2), features=("a", "b")))
    sent = request(
        tensor("x", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], shape=[2, 3]), tensor("named", [1, 2, 3, 4], "INT64", [2, 2])
    )

    assert features(sent, version) == {
        "x[0]": [1.0, 4.0],
        "x[1]": [2.0, 5.0],
        "x[2]": [3.0, 6.0],
        "a": [1, 3],
        "b": [2, 4],
    }


def test_tensors_of_high_rank_or_great_width_are_one_nested_value_a_row():
    assert feature_names(spec("image", shape=(-1, 2, 2))) == ()
    assert feature_names(spec("embedding", shape=(-1, 257))) == ()
    version = signature(spec("image", shape=(-1, 2, 2)))

    assert features(request(tensor("image", [1.0, 2.0, 3.0, 4.0], shape=[1, 2, 2])), version) == {
        "image": [[[1.0, 2.0], [3.0, 4.0]]]
    }


def test_arrays_have_the_datatype_that_the_graph_wants():
    kinds = ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"]
    version = signature(*(spec(kind, kind) for kind in kinds), spec("BYTES", "BYTES"))
    sent = request(
        *(tensor(kind, [1 if "INT" in kind else True], kind) for kind in kinds), tensor("BYTES", ["a"], "BYTES")
    )

    feeds = gather([fit(sent, version)], version)

    names = {"BYTES": "object", "BOOL": "bool"}
    assert {kind: str(array.dtype) for kind, array in feeds.items()} == {
        kind: names.get(kind, kind.lower().replace("fp", "float")) for kind in [*kinds, "BYTES"]
    }
    assert all(array.flags.c_contiguous for array in feeds.values())


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([spec("x", shape=())], "input 'x' is a scalar: the first dimension must be the batch"),
        ([spec("x", "BF16")], "input 'x' has datatype 'BF16'; known are"),
        ([spec("x", "INT64", nullable=True)], "input 'x' (INT64) cannot be nullable"),
        ([spec("x", "BYTES", nullable=True)], "input 'x' (BYTES) cannot be nullable"),
        ([spec("x", shape=(-1, 2, 2), nullable=True)], "input 'x' of shape [-1, 2, 2] cannot be nullable"),
        ([spec("x", shape=(-1, 2), features=("a",))], "input 'x' of shape [-1, 2] cannot have 1 feature names"),
        ([spec("x", shape=(-1, -1), features=("a",))], "input 'x' of shape [-1, -1] cannot have 1 feature names"),
        ([spec("x", shape=(-1, 2), features=("a", "y")), spec("y")], "feature names y stand twice"),
        ([spec("x"), spec("x")], "input names x stand twice"),
        ([spec("x", shape=(1, 1)), spec("y", shape=(2, 1))], "the inputs are fixed to [1, 2] rows"),
    ],
)
def test_a_signature_that_no_request_could_fit_is_rejected_when_it_is_laid_out(inputs, reason):
    with pytest.raises(ModelRejected, match=f"^{re.escape(reason)}"):
        intake_of(signature(*inputs))
