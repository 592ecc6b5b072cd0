"""What V2 JSON replies and metadata look like to the clients that read them."""

import json

import numpy as np

from contracts.errors import ModelFailed
from contracts.prediction import Output
from contracts.signature import Signature, TensorSpec
from gateway.protocol.metadata import model_metadata, model_ready, server_metadata
from gateway.protocol.v2 import encode_infer
from tests.gateway.recorded import split_outputs

PROBABILITY = Output(datatype="FP32", shape=[2, 1], data=[0.25, 0.75])
LABEL = Output(datatype="BYTES", shape=[2], data=["late", 'on "time"'])


def test_a_reply_holds_what_clients_of_the_protocol_read():
    reply = json.loads(encode_infer("delay", "3", "r-1", {"p": PROBABILITY, "label": LABEL}, {"variant": "champion"}))

    assert reply == {
        "model_name": "delay",
        "model_version": "3",
        "id": "r-1",
        "parameters": {"variant": "champion"},
        "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [2, 1], "data": [0.25, 0.75]},
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["late", 'on "time"']},
        ],
    }


def test_an_id_that_was_not_sent_is_not_echoed():
    assert "id" not in json.loads(encode_infer("m", "1", None, {}, {}))


def test_numbers_come_back_as_the_model_gave_them():
    values = {
        "BOOL": [True, False],
        "UINT64": [2**64 - 1, 0],
        "INT64": [-(2**63), 2**63 - 1],
        "FP16": [np.float16(0.1).item(), -0.0],
        "FP32": [np.float32(0.1).item(), np.finfo(np.float32).tiny.item()],
        "FP64": [0.1, 5e-324],
    }
    outputs = {kind: Output(datatype=kind, shape=[2], data=data) for kind, data in values.items()}

    reply = json.loads(encode_infer("m", "1", None, outputs, {}))

    assert {output["name"]: output["data"] for output in reply["outputs"]} == values


def test_31_an_output_that_json_cannot_carry_fails_its_own_request_only():
    spec = TensorSpec(name="p", datatype="FP32", shape=(-1, 1))
    array = np.array([[0.5], [np.nan], [0.25]], np.float32)

    good, failed, last = split_outputs([spec], [array], [1, 1, 1], "version 2 of 'm'")

    assert isinstance(failed, ModelFailed)
    assert str(failed) == "version 2 of 'm': output 'p' holds NaN at row 0: JSON cannot carry it"
    assert [part["p"].data for part in (good, last)] == [[0.5], [0.25]]


def test_metadata_says_what_is_spoken_and_what_a_model_takes():
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(-1, 4), features=("a", "b", "c", "d")),),
        outputs=(TensorSpec(name="p", datatype="FP64", shape=(-1,)),),
    )

    assert server_metadata("0.1.0") == {"name": "pointsman", "version": "0.1.0", "extensions": ["parameters"]}
    assert model_metadata("m", ["1", "3"], signature) == {
        "name": "m",
        "versions": ["1", "3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "p", "datatype": "FP64", "shape": [-1]}],
    }
    assert model_ready("m", ready=True) == {"name": "m", "ready": True}
