"""The documents of a folder, model.json, aliases.json and reference.json, are read strictly: what is wrong is named."""

import asyncio
import hashlib
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import ModelRejected


def test_a_bad_version_that_was_repaired_is_fetched(registry, write, rewrite):
    source = write("m", "1", model={"owner": 1})
    with pytest.raises(ModelRejected):
        asyncio.run(registry.fetch("m", "1"))
    rewrite(source / "model.json", b'{"owner": "one"}')
    assert asyncio.run(registry.fetch("m", "1")).metadata.owner == "one"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ({"owner": 3}, "model.json is not a ModelMetadata: Expected `str`, got `int` - at `$.owner`"),
        ({"ownr": "x"}, "model.json is not a ModelMetadata: Object contains unknown field `ownr`"),
        ([], "model.json is not a ModelMetadata: Expected `object`, got `array`"),
        (
            {"limits": "x" * 20_001},
            "model.json is not a ModelMetadata: Expected `str` of length <= 20000 - at `$.limits`",
        ),
        (
            {"params": {"depth": 6}},
            "model.json is not a ModelMetadata: Expected `str`, got `int` - at `$.params[...]`",
        ),
        ({"inputs": [{"name": "x"}, {"name": "x"}]}, "model.json names an input twice: ['x', 'x']"),
        (
            {"task": {"kind": "magic", "output": "p"}},
            "model.json is not a ModelMetadata: Invalid enum value 'magic' - at `$.task.kind`",
        ),
    ],
)
def test_metadata_are_read_strictly(registry, write, model, reason):
    write("m", "1", model=model)
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(registry.fetch("m", "1"))
    assert str(caught.value) == f"m version 1: {reason}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "aliases.json does not map aliases to versions: Input data was truncated"),
        (b"[]", "aliases.json does not map aliases to versions: Expected `object`, got `array`"),
        (b'{"champion": 1}', "aliases.json does not map aliases to versions: Expected `str`, got `int` - at `$[...]`"),
        (b'{"champion": "1", "champion": "2"}', "aliases.json has an alias twice: ['champion', 'champion']"),
        (b'{"1": "2"}', "aliases.json has the alias '1': must be a name and not a number"),
        (b'{"../x": "2"}', "aliases.json has the alias '../x': must be a name and not a number"),
        (b'{"champion": "../2"}', "aliases.json points 'champion' at '../2', which cannot name a version"),
        (
            b"\xff\xfe{\x00",
            "aliases.json does not map aliases to versions: JSON is malformed: invalid character (byte 0)",
        ),
    ],
)
def test_aliases_are_read_strictly(registry, root, write, content, reason):
    write("m", "1")
    (root / "m" / "aliases.json").write_bytes(content)
    with pytest.raises(ModelRejected) as caught:
        asyncio.run(registry.pointers("m"))
    assert str(caught.value) == f"m: {reason}"


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_aliases_are_either_a_map_of_names_or_refused(content):
    from registry_client.documents import decode_aliases

    try:
        aliases = decode_aliases(content)
    except ModelRejected:
        return
    assert aliases == json.loads(content)


def test_a_reference_is_read_and_read_again_when_it_changes(registry, write, reference):
    source = write("m", "1")
    assert asyncio.run(registry.reference("m", "1")) is None
    (source / "reference.json").write_bytes(reference("m", "1", rows=5))
    assert asyncio.run(registry.reference("m", "1")).rows == 5
    (source / "reference.json").write_bytes(reference("m", "1", rows=6))
    assert asyncio.run(registry.reference("m", "1")).rows == 6
    (source / "reference.json").unlink()
    assert asyncio.run(registry.reference("m", "1")) is None


def test_a_reference_from_before_a_field_was_added_is_still_whole(registry, write, reference):
    source = write("m", "1")
    older = msgspec.json.decode(reference("m", "1"))
    del older["slice_performance"]
    older["hash"] = hashlib.sha256(msgspec.json.encode(older | {"hash": ""}, order="sorted")).hexdigest()
    (source / "reference.json").write_bytes(msgspec.json.encode(older))

    assert asyncio.run(registry.reference("m", "1")).rows == 1


def test_a_reference_of_another_version_or_with_another_hash_is_refused(registry, write, reference):
    source = write("m", "1")
    (source / "reference.json").write_bytes(reference("m", "2"))
    with pytest.raises(ModelRejected, match=r"m version 1: reference\.json is that of m version 2"):
        asyncio.run(registry.reference("m", "1"))
    (source / "reference.json").write_bytes(reference("m", "1").replace(b'"rows":1', b'"rows":2'))
    with pytest.raises(
        ModelRejected, match=r"m version 1: reference\.json has the hash '.*', its content '.*': build it again"
    ):
        asyncio.run(registry.reference("m", "1"))
    (source / "reference.json").write_bytes(b"{}")
    with pytest.raises(ModelRejected, match=r"m version 1: reference\.json is not a Reference: .*`model`"):
        asyncio.run(registry.reference("m", "1"))
