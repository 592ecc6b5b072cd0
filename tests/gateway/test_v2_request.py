"""What a V2 JSON request may look like, and what it then asks."""

import json

import pytest

from contracts.errors import InvalidInput
from gateway.protocol.v2 import decode_infer


def tensor(name="x", datatype="FP32", shape=(1, 1), data=(1.5,), **more):
    return {"name": name, "shape": list(shape), "datatype": datatype, "data": list(data), **more}


def body(*inputs, **top):
    return json.dumps({"inputs": list(inputs) or [tensor()], **top}).encode()


def reason(content):
    with pytest.raises(InvalidInput) as refused:
        decode_infer(content)
    return str(refused.value)


def test_every_datatype_keeps_exactly_the_values_that_were_sent():
    sent = {
        "BOOL": [True, False],
        "UINT8": [0, 255],
        "UINT16": [0, 65535],
        "UINT32": [0, 2**32 - 1],
        "UINT64": [0, 2**64 - 1],
        "INT8": [-128, 127],
        "INT16": [-(2**15), 2**15 - 1],
        "INT32": [-(2**31), 2**31 - 1],
        "INT64": [-(2**63), 2**63 - 1],
        "FP16": [-65504.0, 0.1],
        "FP32": [-3.4028234663852886e38, 0.1],
        "FP64": [-1.7976931348623157e308, 0.1],
        "BYTES": ["", "Zürich 東京 \u0000 \U0001f6eb"],
    }

    request = decode_infer(body(*(tensor(kind, kind, [2, 1], values) for kind, values in sent.items())))

    assert {name: tensor.data for name, tensor in request.inputs.items()} == sent
    assert {name: tensor.datatype for name, tensor in request.inputs.items()} == {kind: kind for kind in sent}
    assert {name: [type(value) for value in tensor.data] for name, tensor in request.inputs.items()} == {
        kind: [type(value) for value in values] for kind, values in sent.items()
    }
    assert request.rows == 2


def test_a_request_without_parameters_asks_for_nothing_special():
    request = decode_infer(body())

    assert (request.id, request.outputs, request.routing_key) == (None, None, None)
    assert (request.variant, request.event_us, request.timeout_us) == (None, None, None)
    assert request.nulls is False


def test_inputs_keep_their_order():
    names = [f"x{i}" for i in (3, 1, 2)]

    assert list(decode_infer(body(*(tensor(name) for name in names))).inputs) == names


def test_nested_data_means_the_same_as_flat_data():
    flat = decode_infer(body(tensor(shape=[2, 3], data=[1, 2.5, 3, 4, None, 6])))

    assert decode_infer(body(tensor(shape=[2, 3], data=[[1, 2.5, 3], [4, None, 6]]))) == flat
    assert decode_infer(body(tensor(shape=[2, 1, 3], data=[[[1, 2, 3]], [[4, 5, 6]]]))).inputs["x"].data == [
        1,
        2,
        3,
        4,
        5,
        6,
    ]


def test_numbers_for_a_floating_datatype_become_floats_however_they_are_nested():
    for data in ([1, -0], [[1], [-0]]):
        values = decode_infer(body(tensor(shape=[2, 1], data=data))).inputs["x"].data
        assert values == [1.0, 0.0]
        assert [type(value) for value in values] == [float, float]


def test_a_null_is_let_through_for_the_model_to_judge():
    request = decode_infer(
        body(tensor("a", data=[None]), tensor("b", "INT64", data=[None]), tensor("c", "BYTES", data=[None]))
    )

    assert [tensor.data for tensor in request.inputs.values()] == [[None], [None], [None]]
    assert request.nulls is True


def test_white_space_key_order_and_escapes_do_not_matter():
    usual = decode_infer(body(tensor(name="é:\\", datatype="BYTES", data=["a:b"]), id="i:d"))

    unusual = rb"""
        { "id" : "i\u003ad" ,
          "inputs" : [ { "d\u0061ta" : [ "a\u003Ab" ] , "datatype" : "BYTES" , "shape" : [ 1 , 1 ] , "name" : "\u00e9:\\" } ] }
    """
    assert decode_infer(unusual) == usual


def test_absent_null_and_empty_optional_members_mean_the_same():
    absent = decode_infer(body())

    for nothing in (None, [], {}):
        outputs = decode_infer(body(outputs=nothing)) if nothing != {} else absent
        parameters = decode_infer(body(parameters=nothing)) if nothing != [] else absent
        assert (outputs.outputs, parameters.routing_key) == (None, None)
    assert decode_infer(body(id=None)).id is None
    assert decode_infer(body(id="")).id is None


def test_an_unknown_member_at_the_top_is_tolerated_as_the_protocol_does():
    request = decode_infer(body(model_name="m", model_version="1", raw_input_contents={"a": [{"b": 1}]}))

    assert request == decode_infer(body())


@pytest.mark.parametrize(
    ("member", "known"),
    [
        ("parameter", "parameters"),
        ("Parameters", "parameters"),
        ("input", "inputs"),
        ("output", "outputs"),
        ("ID", "id"),
    ],
)
def test_a_misspelt_member_at_the_top_is_not_lost_in_silence(member, known):
    assert reason(body(**{member: {"routing_key": "u"}})) == f"unknown member '{member}'; did you mean '{known}'?"


def test_what_a_request_asks_stands_in_its_fields():
    request = decode_infer(
        body(
            id="r-1",
            outputs=[{"name": "p"}, {"name": "label", "parameters": {"binary_data": False}}],
            parameters={
                "routing_key": "N14228",
                "variant": "rival",
                "event_time": "2013-04-01T14:00:00.000001+02:00",
                "timeout": 250_000,
                "priority": 1,
                "binary_data_output": False,
                "sequence_id": 0,
                "sequence_start": False,
                "team": "blue",
            },
        )
    )

    assert request.id == "r-1"
    assert request.outputs == ("p", "label")
    assert request.routing_key == "N14228"
    assert request.variant == "rival"
    assert request.event_us == 1_364_817_600_000_001
    assert request.timeout_us == 250_000


def test_an_integer_routing_key_is_its_decimal_text():
    assert decode_infer(body(parameters={"routing_key": 42})).routing_key == "42"
    assert decode_infer(body(parameters={"routing_key": -(2**70)})).routing_key == str(-(2**70))


def test_harmless_parameters_of_an_input_are_kept():
    sent = body(
        tensor(parameters={"content_type": "np", "note": "a:b"}),
        tensor("y", parameters={}),
        tensor("z", parameters=None),
    )

    assert decode_infer(sent).inputs["x"].parameters == {"content_type": "np", "note": "a:b"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"routing_key": True}, "parameters.routing_key = true must be a string or an integer"),
        ({"routing_key": 1.0}, "parameters.routing_key = 1.0 must be a string or an integer"),
        ({"routing_key": ""}, "parameters.routing_key = '' must be a non-empty string"),
        (
            {"routing_key": "é" * 129},
            f"parameters.routing_key = {'é' * 77 + '...'!r} has 258 bytes; at most 256",
        ),
        ({"variant": 2}, "parameters.variant = 2 must be a non-empty string"),
        ({"variant": None}, "parameter 'variant' = null must be a string, a number or a boolean"),
        ({"variant": ["a"]}, "parameter 'variant' = a list must be a string, a number or a boolean"),
        (
            {"event_time": 1364817600},
            "parameters.event_time = 1364817600 must be a string; write it like 2013-04-01T12:00:00Z",
        ),
        (
            {"event_time": "2013-04-01T12:00:00"},
            "parameters.event_time: '2013-04-01T12:00:00' names no moment with an offset; write it like 2013-04-01T12:00:00Z",
        ),
        (
            {"event_time": "yesterday"},
            "parameters.event_time: 'yesterday' is not RFC 3339; write it like 2013-04-01T12:00:00Z",
        ),
        (
            {"event_time": "1969-12-31T23:59:59Z"},
            "parameters.event_time = '1969-12-31T23:59:59Z' must lie between the years 1970 and 2255",
        ),
        (
            {"event_time": "9999-01-01T00:00:00Z"},
            "parameters.event_time = '9999-01-01T00:00:00Z' must lie between the years 1970 and 2255",
        ),
        (
            {"binary_data_output": True},
            "parameters.binary_data_output = true: replies are JSON only; send false or leave it out",
        ),
        ({"sequence_id": 7}, "parameters.sequence_id = 7: sequences are not served; every request stands for itself"),
        (
            {"sequence_start": True},
            "parameters.sequence_start = true: sequences are not served; every request stands for itself",
        ),
    ],
)
def test_a_parameter_that_cannot_be_honoured_is_named(parameters, message):
    assert reason(body(parameters=parameters)) == message


def test_parameters_are_an_object_of_bounded_size():
    assert reason(body(parameters=[1])) == "'parameters' must be an object, not a list"
    assert reason(body(parameters={f"p{i}": i for i in range(65)})) == "65 parameters; at most 64"


@pytest.mark.parametrize("name", ["shared_memory_region", "shared_memory_byte_size", "shared_memory_offset"])
def test_shared_memory_is_refused_by_name(name):
    message = f"parameters.{name}: shared memory is not spoken here; send JSON"

    assert reason(body(tensor(), tensor("y", parameters={name: "a"}))) == f"inputs[1] 'y': {message}"
    assert reason(body(outputs=[{"name": "p", "parameters": {name: 1}}])) == f"outputs[0] 'p': {message}"


def test_binary_tensors_and_classification_are_refused_by_name():
    binary = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"binary_data_size": 4}}

    assert reason(body(binary)) == (
        "inputs[0] 'x': parameters.binary_data_size: binary tensors are not spoken here; send 'data' as JSON"
    )
    assert reason(body(outputs=[{"name": "p", "parameters": {"binary_data": True}}])) == (
        "outputs[0] 'p': parameters.binary_data = true: replies are JSON only; send false or leave it out"
    )
    assert reason(body(outputs=[{"name": "p", "parameters": {"classification": 3}}])) == (
        "outputs[0] 'p': parameters.classification: not spoken here; the reply holds all values"
    )
