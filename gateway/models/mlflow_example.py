"""The request that MLflow saves as the example of a model -> values by the names of a graph's inputs. Pure.

Enters: the decoded `serving_input_example.json`, and the version's signature. Leaves: lists of values by input name, None
where the document has another form, or InvalidInput where no input is meant by it. MLflow names columns as the training data
did; a graph has an input a column, named so or as exporters write it, or one input of all columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.errors import InvalidInput
from contracts.signature import Signature
from gateway.protocol.wording import listed
from registry_client.names import plain_name

SPLIT: Final = "dataframe_split"
INPUTS: Final = "inputs"


def named_values(root: Mapping[str, Any], signature: Signature) -> dict[str, Any] | None:
    """The values of each input."""
    names = [spec.name for spec in signature.inputs]
    if len(root) != 1 or not root.keys().isdisjoint(names):
        return None
    if isinstance(split := root.get(SPLIT), dict):
        return _from_table(split.get("columns"), split.get("data"), names)
    tensors = root.get(INPUTS)
    if isinstance(tensors, dict):
        return {_input_named(name, names) or name: values for name, values in tensors.items()}
    if isinstance(tensors, list) and len(names) == 1 and not (tensors and isinstance(tensors[0], dict)):
        return {names[0]: tensors}
    return None


def _from_table(told: Any, rows: Any, names: Sequence[str]) -> dict[str, Any]:
    if not _is_table(told, rows):
        raise InvalidInput(f"{SPLIT} must hold columns, and data with a value a column in each row")
    columns = [str(column) for column in told]
    inputs = [_input_named(column, names) for column in columns]
    if None not in inputs:
        if len(set(inputs)) != len(inputs):
            raise InvalidInput(f"several of the columns {listed(list(columns))} stand for one input")
        return {name: [[row[index]] for row in rows] for index, name in enumerate(inputs) if name is not None}
    if len(names) == 1:
        return {names[0]: [list(row) for row in rows]}
    unknown = [column for column, name in zip(columns, inputs, strict=True) if name is None]
    raise InvalidInput(f"the graph has no inputs for the columns {listed(unknown)}; it has {listed(list(names))}")


def _input_named(column: str, names: Sequence[str]) -> str | None:
    if column in names:
        return column
    plain = plain_name(column)
    return plain if plain in names else None


def _is_table(columns: Any, rows: Any) -> bool:
    if not isinstance(columns, list) or not isinstance(rows, list):
        return False
    return all(isinstance(row, list) and len(row) == len(columns) for row in rows)
