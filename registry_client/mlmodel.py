"""Reads an `MLmodel` file, with which MLflow describes the files beside it.

Enters: its bytes, and the inputs of the graph. Leaves: which file is the graph and which the example, and what it says of
the inputs; or ModelRejected with the reason. Pure. Believes it about names and nulls only: types and shapes are the graph's.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import yaml

from contracts.errors import ModelRejected
from contracts.metadata import InputMetadata, ModelMetadata
from registry_client.graph_inputs import GraphInput
from registry_client.names import plain_name
from registry_client.vetting import MLMODEL, MLMODEL_BYTES_MAX

NODES_MAX: Final = 10_000
DEPTH_MAX: Final = 32
OWN_KEY: Final = "pointsman"
"""Under this key of the `metadata` given to `log_model` may stand what else `model.json` says."""
PLAIN_TYPES: Final = frozenset({"boolean", "integer", "long", "float", "double", "string"})
NULLABLE_TYPES: Final = frozenset({"float", "double"})


class Column(msgspec.Struct, frozen=True):
    """One column of the signature. `nullable` where it may be missing and is a floating-point number, `text` where it is one
    of strings.
    """

    name: str
    nullable: bool
    text: bool = False


class Packaging(msgspec.Struct, frozen=True, kw_only=True):
    """What an MLmodel says. `graph` and `example` are names of files beside it; `replaced` is MLflow's own form of the
    example. `columns` is empty where the signature is of tensors, or missing; `metadata` None where it holds none of ours.
    """

    graph: str
    example: str | None
    replaced: str | None
    columns: tuple[Column, ...]
    metadata: ModelMetadata | None


def decode_mlmodel(content: bytes) -> Packaging:
    """What the file says; ModelRejected where it is none, or describes no ONNX model."""
    document = _loaded(content)
    flavors = _object(document, "flavors")
    onnx = flavors.get("onnx")
    if not isinstance(onnx, dict):
        raise ModelRejected(f"no onnx flavor: has {', '.join(sorted(map(str, flavors))) or 'none'}")
    graph = onnx.get("data")
    if not isinstance(graph, str) or not graph:
        raise ModelRejected(f"{MLMODEL}: flavors.onnx.data names no file")
    saved = _object(document, "saved_input_example_info")
    return Packaging(
        graph=graph,
        example=_text(saved, "serving_input_path"),
        replaced=_text(saved, "artifact_path"),
        columns=_columns(_object(document, "signature").get("inputs")),
        metadata=_own(_object(document, "metadata").get(OWN_KEY)),
    )


def metadata_of(packaging: Packaging, inputs: Sequence[GraphInput]) -> ModelMetadata:
    """What an MLmodel says of a graph with these inputs: names of features, and which may be null."""
    own = packaging.metadata or ModelMetadata()
    if own.inputs or not packaging.columns:
        return own
    return msgspec.structs.replace(own, inputs=_described(packaging.columns, inputs))


def _described(columns: Sequence[Column], inputs: Sequence[GraphInput]) -> tuple[InputMetadata, ...]:
    names = [one.name for one in inputs]
    if len(inputs) == 1 and not (len(columns) == 1 and _column_of(columns, names[0]) is not None):
        if len({column.text for column in columns}) > 1:
            raise ModelRejected(
                f"{MLMODEL}: columns of strings and of numbers are to share the only input {names[0]!r}: "
                "export the graph with an input for each column"
            )
        nullable = inputs[0].floating and any(column.nullable for column in columns)
        features = tuple(column.name for column in columns)
        return (InputMetadata(name=names[0], features=features, nullable=nullable),)
    found = [(one, _column_of(columns, one.name)) for one in inputs]
    return tuple(
        InputMetadata(name=one.name, nullable=True)
        for one, column in found
        if column is not None and column.nullable and one.floating
    )


def _column_of(columns: Sequence[Column], name: str) -> Column | None:
    """The column that an input stands for: of its very name, else of the name that exporters make into it."""
    meant = [column for column in columns if column.name == name]
    meant = meant or [column for column in columns if plain_name(column.name) == name]
    if len(meant) > 1:
        listed = " and ".join(repr(column.name) for column in meant)
        raise ModelRejected(f"{MLMODEL}: the columns {listed} both stand for the input {name!r}: rename one of them")
    return meant[0] if meant else None


def _columns(inputs: Any) -> tuple[Column, ...]:
    """The columns of a signature whose inputs are plain, named columns; else none."""
    if not isinstance(inputs, str):
        return ()
    try:
        specs = msgspec.json.decode(inputs)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ModelRejected(f"{MLMODEL}: signature.inputs is no JSON: {error}") from None
    if not isinstance(specs, list) or not all(_is_column(spec) for spec in specs):
        return ()
    columns = [
        Column(spec["name"], spec.get("required") is False and spec["type"] in NULLABLE_TYPES, spec["type"] == "string")
        for spec in specs
    ]
    return tuple(columns) if len({column.name for column in columns}) == len(columns) else ()


def _is_column(spec: Any) -> bool:
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str):
        return False
    return isinstance(spec.get("type"), str) and spec["type"] in PLAIN_TYPES


def _own(said: Any) -> ModelMetadata | None:
    if said is None:
        return None
    try:
        return msgspec.convert(said, ModelMetadata)
    except msgspec.ValidationError as error:
        raise ModelRejected(f"{MLMODEL}: metadata.{OWN_KEY} is not what model.json may hold: {error}") from None


def _loaded(content: bytes) -> dict[str, Any]:
    if len(content) > MLMODEL_BYTES_MAX:
        raise ModelRejected(f"{MLMODEL} has {len(content)} bytes; at most {MLMODEL_BYTES_MAX} are accepted")
    try:
        document = yaml.load(content, _Loader)  # noqa: S506  a SafeLoader that can even less
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ModelRejected(f"{MLMODEL} is no YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(document, dict):
        raise ModelRejected(f"{MLMODEL} is no YAML object")
    return document


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ModelRejected(f"{MLMODEL}: {key} is no object")
    return value


def _text(document: dict[str, Any], key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) and value else None


class _Loader(yaml.SafeLoader):
    """Reads no more than a description needs: what is deep, long, or merges what merges others would take for ever."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """The next node, within bounds."""
        self._nodes += 1
        self._depth += 1
        if self._depth > DEPTH_MAX or self._nodes > NODES_MAX:
            raise yaml.YAMLError(f"it holds more than {NODES_MAX} values, or is nested more than {DEPTH_MAX} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a mapping that merges another."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.YAMLError("it merges mappings ('<<')")
