"""Every way from a graph to a file beside it is found, and none leads out of the version's folder."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, TensorProto, helper

from contracts.errors import ModelRejected
from registry_client.external_data import check_external_data, external_tensors

FILES = {"model.onnx": 500, "w.bin": 64, "deep/w.bin": 64}


def outside(location: str, **entries: str) -> TensorProto:
    tensor = TensorProto(name=f"at {location}", data_type=TensorProto.FLOAT, dims=[4, 4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def rejection(model: ModelProto | bytes) -> str:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(ModelRejected) as caught:
        check_external_data(content, FILES)
    return str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "w.bin"},
        {"location": "./w.bin"},
        {"location": "deep/w.bin"},
        {"location": "w.bin", "offset": "0", "length": "64"},
        {"location": "w.bin", "offset": "63", "length": "1", "checksum": "abc"},
        {"location": "w.bin", "offset": "64", "length": "0"},
    ],
)
def test_data_inside_the_folder_are_accepted(graphs, entries):
    check_external_data(graphs.external(**entries).SerializeToString(), FILES)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../w.bin", "takes its data from '../w.bin', outside the version's folder"),
        ("deep/../w.bin", "outside the version's folder"),
        ("deep/../../w.bin", "outside the version's folder"),
        ("/etc/passwd", "takes its data from '/etc/passwd', outside the version's folder"),
        ("/dev/zero", "outside the version's folder"),
        ("..\\w.bin", "outside the version's folder"),
        ("C:\\w.bin", "outside the version's folder"),
        ("w.bin\0", "outside the version's folder"),
        ("*/_ORT_MEM_ADDR_/*", "takes its data from an address in memory ('*/_ORT_MEM_ADDR_/*')"),
        ("", "takes its data from '', which is not a file of the version"),
        (".", "which is not a file of the version"),
        ("deep", "which is not a file of the version"),
        (".hidden", "which is not a file of the version"),
        ("other.bin", "takes its data from 'other.bin', which is not a file of the version"),
        ("W.BIN", "which is not a file of the version"),
    ],
)
def test_data_elsewhere_are_refused_with_the_tensor_and_the_place(graphs, location, reason):
    message = rejection(graphs.external(location=location))

    assert message.startswith("tensor 'W' of model.onnx ")
    assert message.endswith(reason)


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"offset": "65"}, "takes bytes 65 to 65 of 'w.bin', which has 64"),
        ({"offset": "1", "length": "64"}, "takes bytes 1 to 65 of 'w.bin', which has 64"),
        ({"length": str(2**60)}, f"takes bytes 0 to {2**60} of 'w.bin', which has 64"),
        ({"offset": "-5"}, "has external data with offset '-5': must be a count of bytes"),
        ({"length": "-1"}, "has external data with length '-1': must be a count of bytes"),
        ({"offset": "0x10"}, "has external data with offset '0x10': must be a count of bytes"),
        ({"offset": ""}, "has external data with offset '': must be a count of bytes"),
        ({"length": "9" * 5000}, "has a name of 5000 bytes beside external data"),
        ({"length": "9" * 21}, "must be a count of bytes"),
        ({"length": "\N{ARABIC-INDIC DIGIT ONE}"}, "must be a count of bytes"),
    ],
)
def test_stretches_outside_the_file_are_refused(graphs, entries, reason):
    assert rejection(graphs.external(location="w.bin", **entries)).endswith(reason)


def test_a_place_that_is_said_twice_is_refused(graphs):
    model = graphs.external(location="w.bin")
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    assert rejection(model) == "tensor 'W' of model.onnx says 'location' of its external data twice"


def delimited(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def test_an_entry_with_two_values_is_refused(graphs):
    """Parsers take the last of two values; one that takes the first would look at the wrong one."""
    entry = delimited(1, b"location") + delimited(2, b"w.bin") + delimited(2, b"/etc/passwd")
    tensor = delimited(7, delimited(5, delimited(13, entry)))
    content = graphs.identity().SerializeToString() + tensor

    assert rejection(content) == "model.onnx has an entry of external data with more than one key and value"


def every_hiding_place(graphs) -> dict[str, ModelProto]:
    """A model for each way from a model to a tensor."""
    plain = graphs.identity()

    def with_attribute(**attribute: object) -> ModelProto:
        model = ModelProto()
        model.CopyFrom(plain)
        node = model.graph.node.add(op_type="Constant", output=["c"])
        node.attribute.add(name="a", **attribute)
        return model

    def changed(change) -> ModelProto:
        model = ModelProto()
        model.CopyFrom(plain)
        change(model)
        return model

    graph = helper.make_graph([], "inner", [], [], [outside("/x")])
    sparse = helper.make_sparse_tensor(outside("/x"), helper.make_tensor("i", TensorProto.INT64, [1], [0]), [4])
    sparse_indices = helper.make_sparse_tensor(helper.make_tensor("v", TensorProto.FLOAT, [1], [0]), outside("/x"), [4])
    function = helper.make_function("acme", "F", ["x"], ["y"], [], [helper.make_opsetid("", 21)])
    function_node = function.node.add(op_type="Constant", output=["y"])
    function_node.attribute.add(name="value", type=AttributeProto.TENSOR, t=outside("/x"))
    function_default = helper.make_function("acme", "G", ["x"], ["y"], [], [helper.make_opsetid("", 21)])
    function_default.attribute_proto.add(name="value", type=AttributeProto.TENSOR, t=outside("/x"))
    return {
        "initializer": changed(lambda m: m.graph.initializer.append(outside("/x"))),
        "sparse values": changed(lambda m: m.graph.sparse_initializer.append(sparse)),
        "sparse indices": changed(lambda m: m.graph.sparse_initializer.append(sparse_indices)),
        "attribute": with_attribute(type=AttributeProto.TENSOR, t=outside("/x")),
        "attributes": with_attribute(type=AttributeProto.TENSORS, tensors=[outside("w.bin"), outside("/x")]),
        "subgraph": with_attribute(type=AttributeProto.GRAPH, g=graph),
        "subgraphs": with_attribute(type=AttributeProto.GRAPHS, graphs=[graph]),
        "sparse attribute": with_attribute(type=AttributeProto.SPARSE_TENSOR, sparse_tensor=sparse),
        "sparse attributes": with_attribute(type=AttributeProto.SPARSE_TENSORS, sparse_tensors=[sparse]),
        "function": changed(lambda m: m.functions.append(function)),
        "function default": changed(lambda m: m.functions.append(function_default)),
        "training": changed(lambda m: m.training_info.add().initialization.CopyFrom(graph)),
        "training algorithm": changed(lambda m: m.training_info.add().algorithm.CopyFrom(graph)),
        "other type": with_attribute(type=AttributeProto.INT, t=outside("/x")),
        "not marked external": changed(
            lambda m: (m.graph.initializer.append(outside("/x")), m.graph.initializer[0].ClearField("data_location"))
        ),
    }


def test_there_is_no_hiding_place(graphs):
    for place, model in every_hiding_place(graphs).items():
        assert (
            rejection(model) == "tensor 'at /x' of model.onnx takes its data from '/x', outside the version's folder"
        ), place


def test_every_message_type_that_onnx_has_between_model_and_tensor_is_walked():
    """A new field of a later ONNX release that leads to a tensor must fail here, not slip through."""
    from registry_client.external_data import CHILDREN

    leads_to_tensor = {"TensorProto"}
    from onnx import onnx_ml_pb2

    types = {message.name: message for message in onnx_ml_pb2.DESCRIPTOR.message_types_by_name.values()}
    for _ in types:
        for name, message in types.items():
            if any(field.message_type and field.message_type.name in leads_to_tensor for field in message.fields):
                leads_to_tensor.add(name)
    for name in leads_to_tensor:
        expected = {
            field.number: field.message_type.name
            for field in types[name].fields
            if field.message_type and field.message_type.name in leads_to_tensor
        }
        assert dict(CHILDREN[name]) == expected, name


def test_a_place_deep_inside_branches_is_found(graphs):
    for depth in (1, 10, 30):
        message = rejection(graphs.nested_ifs(depth, outside("../x")))
        assert message == "tensor 'at ../x' of model.onnx takes its data from '../x', outside the version's folder"


def test_deeper_nesting_than_protobuf_reads_is_refused(graphs):
    assert rejection(graphs.nested_ifs(40, outside("../x"))) == "model.onnx is nested more than 100 messages deep"


def test_a_graph_in_two_pieces_is_read_whole(graphs):
    """Protobuf merges a message field that comes twice."""
    pieces = graphs.identity().SerializeToString() + graphs.external(location="/x").SerializeToString()
    assert rejection(pieces).endswith("takes its data from '/x', outside the version's folder")


def test_a_tag_that_wraps_around_in_32_bits_is_refused(graphs):
    """Protobuf reads the tag of five bytes below as field 7; a parser of unbounded integers would pass over it."""
    hidden = graphs.external(location="/x").graph.SerializeToString()
    tag = (7 << 3 | 2) + 2**32
    varint = b""
    while tag > 0x7F:
        varint += bytes([tag & 0x7F | 0x80])
        tag >>= 7
    size = len(hidden)
    content = graphs.identity().SerializeToString() + varint + bytes([tag, size & 0x7F | 0x80, size >> 7]) + hidden
    assert "no protobuf field at byte" in rejection(content)


def test_a_graph_without_external_data_has_none(graphs):
    content = graphs.mlp().SerializeToString()
    assert list(external_tensors(content)) == []


def test_the_word_location_in_other_places_is_no_place(graphs):
    model = graphs.mlp()
    model.doc_string = "location"
    model.metadata_props.add(key="location", value="/etc/passwd")
    model.graph.node[0].name = "location"
    check_external_data(model.SerializeToString(), FILES)


@settings(deadline=None, max_examples=300)
@given(junk=st.binary(max_size=400))
def test_any_bytes_are_either_read_or_refused(junk):
    for content in (junk, junk + b"location"):
        try:
            check_external_data(content, FILES)
        except ModelRejected:
            continue


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_damage_is_never_an_error_of_another_kind(graphs, data):
    content = bytearray(graphs.external(location="../x").SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    try:
        check_external_data(bytes(content[:cut]), FILES)
    except ModelRejected:
        return


def test_too_many_fields_end_the_reading(graphs, monkeypatch):
    monkeypatch.setattr("registry_client.external_data.FIELDS_MAX", 10)
    assert rejection(graphs.external(location="w.bin")).startswith("model.onnx has more than 10 fields")
