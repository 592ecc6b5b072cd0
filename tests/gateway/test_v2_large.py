"""Large requests become arrays, and mean exactly what the ordinary way says they mean."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.datatypes import FLOATS, NUMPY_OF
from contracts.errors import InvalidInput
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import fit, gather
from gateway.protocol import v2
from gateway.protocol.tensors import INTEGER_BOUNDS
from gateway.protocol.v2 import decode_infer
from gateway.protocol.v2_large import LARGE_BYTES
from tests.gateway.recorded import features_of_batch

NUMERIC = sorted([*FLOATS, *INTEGER_BOUNDS])
PADDING = " " * LARGE_BYTES


def body(data, datatype="FP32", shape=None, padding=PADDING, **members):
    tensor = {"name": "x", "shape": shape or [len(data), 1], "datatype": datatype, "data": data}
    return (json.dumps({"inputs": [tensor], **members}) + padding).encode()


def values(request):
    return list(np.asarray(request.inputs["x"].data).tolist())


def elements(datatype):
    if datatype in INTEGER_BOUNDS:
        return st.integers(*INTEGER_BOUNDS[datatype])
    return st.floats(width={"FP16": 16, "FP32": 32, "FP64": 64}[datatype], allow_nan=False, allow_infinity=False)


@settings(max_examples=150)
@given(st.sampled_from(NUMERIC).flatmap(lambda kind: st.tuples(st.just(kind), st.lists(elements(kind), min_size=1))))
def test_arrays_hold_what_lists_hold(drawn):
    datatype, data = drawn

    large, small = decode_infer(body(data, datatype)), decode_infer(body(data, datatype, padding=""))

    assert (large.arrays, small.arrays) == (True, False)
    array = large.inputs["x"].data
    assert array.dtype == NUMPY_OF[datatype]
    assert np.array_equal(array, np.array(small.inputs["x"].data, NUMPY_OF[datatype]))
    assert (large.rows, large.nulls, large.outputs, large.id) == (small.rows, False, small.outputs, small.id)


@pytest.mark.parametrize("datatype", NUMERIC)
def test_numbers_on_and_beyond_the_bounds_are_taken_and_refused_as_ever(datatype):
    if datatype in INTEGER_BOUNDS:
        low, high = INTEGER_BOUNDS[datatype]
        good, bad = [low, high], [low - 1, high + 1, 2**70, 1.0, 1.5]
    else:
        good, bad = [1, -1, 0.5, 2**15, -0.0, 1e-400], ["1.5", True, [1.0]]
        bad += {"FP16": [65520.0, 1e5], "FP32": [3.5e38], "FP64": []}[datatype]
    assert values(decode_infer(body(good, datatype))) == np.array(good, NUMPY_OF[datatype]).tolist()
    for value in bad:
        said = []
        for padding in (PADDING, ""):
            with pytest.raises(InvalidInput) as refused:
                decode_infer(body([good[0], value], datatype, padding=padding))
            said.append(str(refused.value))
        assert said[0] == said[1]


@pytest.mark.parametrize(
    ("data", "shape", "arrays"),
    [([1.0, None], None, False), ([[1.0], [2.0]], [2, 1], False), ([1.0, 2.0], [2, 1], True), ([1.0] * 3, [3], True)],
    ids=["a null", "nested", "flat", "one dimension"],
)
def test_what_is_not_plain_goes_the_ordinary_way(data, shape, arrays):
    request = decode_infer(body(data, shape=shape))

    assert request.arrays is arrays
    assert request.rows == len(data)


@pytest.mark.parametrize(
    "wrong",
    [
        body([1.0, 2.0], shape=[3, 1]),
        body([], shape=[1, 1]),
        body([1.0], outputs=[{"name": "p"}, {"name": "p"}]),
        body([1.0]).replace(b'"shape"', b'"shape": [1, 1], "shape"'),
        body([1.0]).replace(b"1.0", b"01.0"),
        body([1.0]).replace(b"1.0", b"NaN"),
        body([1.0]).replace(b"1.0", b"1.0,"),
        body([1.0])[: -LARGE_BYTES - 1] + PADDING.encode(),
    ],
)
def test_what_is_wrong_is_refused_with_the_same_words(wrong):
    said = []
    for text in (wrong, wrong.rstrip()):
        with pytest.raises(InvalidInput) as refused:
            decode_infer(text)
        said.append(str(refused.value))
    assert said[0] == said[1]


def test_parameters_ids_and_outputs_are_read_beside_arrays():
    request = decode_infer(
        body([1.0], id="null", parameters={"routing_key": "a:b", "timeout": 5}, outputs=[{"name": "p"}])
    )

    assert (request.arrays, request.nulls) == (True, False)
    assert (request.id, request.routing_key, request.timeout_us, request.outputs) == ("null", "a:b", 5, ("p",))


def test_arrays_and_lists_share_a_batch_and_a_record():
    version = Signature(inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 2)),), outputs=())
    sent = [decode_infer(body([0.1, 2.0], shape=[1, 2], padding=padding)) for padding in (PADDING, "")]
    batch = [fit(request, version) for request in sent]

    feeds = gather(batch, version)

    assert feeds["x"].tolist() == [[np.float32(0.1).item(), 2.0]] * 2
    first, second = features_of_batch(feeds, batch, version)
    assert first == second


def test_the_large_way_is_the_one_that_is_taken(monkeypatch):
    monkeypatch.setattr(v2, "_decoder", None)

    assert decode_infer(body([1.0] * 10_000, shape=[10_000, 1])).rows == 10_000
