"""Laws of batches: whatever requests share a run, each gets its own rows back, and its record says what the model saw."""

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.datatypes import NUMPY_OF
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import Fitted, fit, gather
from gateway.protocol.request import InferRequest
from gateway.protocol.tensors import TENSOR_OF
from tests.gateway.recorded import features_of_batch, split_outputs

SPECS = (
    TensorSpec(name="a", datatype="FP32", shape=(-1, 1), nullable=True),
    TensorSpec(name="b", datatype="BYTES", shape=(-1,), nullable=True, null_value="?"),
    TensorSpec(name="c", datatype="FP32", shape=(-1, 1)),
    TensorSpec(name="d", datatype="INT64", shape=(-1, 3)),
    TensorSpec(name="e", datatype="FP16", shape=(-1, 2), features=("left", "right"), nullable=True),
    TensorSpec(name="f", datatype="BOOL", shape=(-1, 2, 2)),
    TensorSpec(name="g", datatype="UINT64", shape=(-1, 1)),
    TensorSpec(name="h", datatype="FP32", shape=(-1, 3)),
)
VALUES = {
    "FP32": st.floats(allow_nan=False, allow_infinity=False, min_value=-3e38, max_value=3e38),
    "FP16": st.floats(allow_nan=False, allow_infinity=False, min_value=-6e4, max_value=6e4),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT64": st.integers(0, 2**64 - 1),
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=3),
}
FEATURES = ["a", "b", "c", "d[0]", "d[1]", "d[2]", "left", "right", "f", "g", "h[0]", "h[1]", "h[2]"]


@st.composite
def requests(draw, specs):
    rows = draw(st.integers(1, 4))
    inputs = {}
    for spec in specs:
        size = rows * int(np.prod(spec.shape[1:]))
        values = VALUES[spec.datatype]
        data = draw(st.lists(st.none() | values if spec.nullable else values, min_size=size, max_size=size))
        inputs[spec.name] = TENSOR_OF[spec.datatype](name=spec.name, shape=[rows, *spec.shape[1:]], data=data)
    nulls = any(None in tensor.data for tensor in inputs.values())
    names = draw(st.permutations(list(inputs)))
    return InferRequest(rows=rows, inputs={name: inputs[name] for name in names}, nulls=nulls)


def batches():
    specs = st.lists(st.sampled_from(SPECS), min_size=1, max_size=len(SPECS), unique_by=lambda spec: spec.name)
    return specs.flatmap(
        lambda chosen: st.tuples(st.just(tuple(chosen)), st.lists(requests(chosen), min_size=1, max_size=5))
    )


def as_the_model_sees(spec, values):
    """One request's array, made alone and in the plainest way."""
    filled = [(spec.null_value if spec.datatype == "BYTES" else np.nan) if value is None else value for value in values]
    return np.array(filled, NUMPY_OF[spec.datatype]).reshape(-1, *spec.shape[1:])


def as_recorded(spec, values):
    """The nested values of one request: cast, with None where null was sent."""
    array = as_the_model_sees(spec, values).astype(object)
    array.reshape(-1)[[value is None for value in values]] = None
    return array


@settings(max_examples=60)
@given(batch=batches())
def test_each_request_stands_in_the_batch_as_it_would_alone(batch):
    specs, sent = batch
    version = Signature(inputs=specs, outputs=())
    fitted = [fit(request, version) for request in sent]

    feeds = gather(fitted, version)

    start = 0
    for request in sent:
        for spec in specs:
            part = feeds[spec.name][start : start + request.rows]
            alone = as_the_model_sees(spec, request.inputs[spec.name].data)
            assert part.dtype == alone.dtype
            assert np.array_equal(part, alone, equal_nan=part.dtype.kind == "f")
        start += request.rows


@settings(max_examples=60)
@given(batch=batches())
def test_a_record_is_the_same_alone_and_in_any_company(batch):
    specs, sent = batch
    version = Signature(inputs=specs, outputs=())
    fitted = [fit(request, version) for request in sent]

    together = features_of_batch(gather(fitted, version), fitted, version)

    for request, one, record in zip(sent, fitted, together, strict=True):
        assert features_of_batch(gather([one], version), [one], version) == [record]
        assert all(len(values) == request.rows for values in record.values())
        for spec in specs:
            columns = as_recorded(spec, request.inputs[spec.name].data)
            names = [name for name in FEATURES if name.split("[")[0] == spec.name] or list(spec.features)
            wide = columns.reshape(request.rows, -1).T if len(names) > 1 else [columns.reshape(request.rows, -1).T[0]]
            expected = [list(column) for column in wide] if spec.name != "f" else [columns.tolist()]
            assert [record[name] for name in names] == expected


@settings(max_examples=60)
@given(batch=batches())
def test_no_reply_is_mixed_up_with_another(batch):
    specs, sent = batch
    specs = tuple(spec for spec in specs if not spec.nullable)
    version = Signature(inputs=specs, outputs=specs)
    fitted = [fit(request, version) for request in sent]
    assert all(isinstance(one, Fitted) for one in fitted)

    feeds = gather(fitted, version)
    echoed = [feeds[spec.name] for spec in specs]
    parts = split_outputs(specs, echoed, [request.rows for request in sent], "version 1")

    for request, part in zip(sent, parts, strict=True):
        for spec in specs:
            alone = as_the_model_sees(spec, request.inputs[spec.name].data)
            assert part[spec.name].shape == list(alone.shape)
            assert part[spec.name].data == alone.reshape(-1).tolist()


@pytest.mark.parametrize("datatype", sorted(NUMPY_OF))
def test_onnxruntime_reads_the_views_of_a_block_as_the_values_that_were_sent(graphs, datatype):
    names = ["x0", "x1", "x2"]
    graph = graphs.model(
        [graphs.node("Identity", [name], [f"{name}_out"]) for name in names],
        [graphs.value(name, ["n", 1], datatype) for name in names],
        [graphs.value(f"{name}_out", ["n", 1], datatype) for name in names],
    )
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    version = Signature(
        inputs=tuple(TensorSpec(name=name, datatype=datatype, shape=(-1, 1)) for name in names), outputs=()
    )
    values = {"BOOL": [True, False, True], "BYTES": ["a", "", "é"]}.get(datatype, [1, 0, 2])
    sent = [
        InferRequest(
            rows=1,
            nulls=False,
            inputs={
                name: TENSOR_OF[datatype](name=name, shape=[1, 1], data=[values[(shift + place) % 3]])
                for place, name in enumerate(names)
            },
        )
        for shift in range(3)
    ]

    answers = session.run(None, gather([fit(request, version) for request in sent], version))

    assert [answer.ravel().tolist() for answer in answers] == [
        [values[(shift + place) % 3] for shift in range(3)] for place in range(3)
    ]
