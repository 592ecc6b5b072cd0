"""A table of training data -> the arrays that a version takes and the columns that its records will hold.

Enters: a CSV or Parquet file, and the version's signature. Leaves: columns cast as the gateway casts requests, or
`InvalidInput` naming column and row. In CSV an empty cell, `nan` and `NaN` are missing; `NA` is text, for it names airlines
and countries.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.datatypes import FLOATS, NUMPY_OF
from contracts.errors import InvalidInput
from contracts.signature import Signature, TensorSpec
from contracts.task import Task
from gateway.models.intake import feature_names

Array = np.ndarray[Any, Any]

MISSING: Final = ("", "NaN", "nan")


class Table(NamedTuple):
    """A data frame of the file's rows, and the file's name for messages."""

    frame: Any
    name: str

    def column(self, name: str) -> list[Any]:
        """One column as plain Python values, missing ones as None; `InvalidInput` where there is none."""
        if name not in self.frame.columns:
            raise InvalidInput(f"{self.name} has no column {name!r}; it has {', '.join(map(str, self.frame.columns))}")
        values = self.frame[name]
        return [None if missing else value for value, missing in zip(values.tolist(), values.isna(), strict=True)]


class Prepared(NamedTuple):
    """`columns` as records hold them: a plain value a row, missing ones None; `feeds` as the graph takes them: [n, ...]."""

    columns: dict[str, list[Any]]
    feeds: dict[str, Array]
    rows: int


def text_columns(signature: Signature, task: Task | None, label: str | None) -> frozenset[str]:
    """The columns that hold text even where a CSV file looks as if it held numbers, such as the codes 007 and 501."""
    features = {name for spec in signature.inputs if spec.datatype == "BYTES" for name in feature_names(spec)}
    textual = task is not None and bool(task.classes) and all(isinstance(name, str) for name in task.classes)
    return frozenset(features | ({label} if label is not None and textual else set()))


def read_table(path: Path, text: frozenset[str]) -> Table:
    """The file's rows; `text` names the columns of text. `InvalidInput` where it cannot be read."""
    pandas = _pandas()
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            types = dict.fromkeys(text, str)
            frame = pandas.read_csv(path, dtype=types, keep_default_na=False, na_values=list(MISSING), low_memory=False)
        elif suffix in {".parquet", ".pq"}:
            frame = pandas.read_parquet(path)
        else:
            raise InvalidInput(f"{path}: the name must end in .csv, .parquet or .pq, it says how to read the file")
    except (ValueError, OSError, ImportError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    if not len(frame):
        raise InvalidInput(f"{path} has no rows")
    return Table(frame, str(path))


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    """Rows that were written by hand, as a table of this name."""
    return Table(_pandas().DataFrame(rows, dtype=object), name)


def prepare(table: Table, signature: Signature) -> Prepared:
    """Every input of the version, taken from the columns that bear its features' names."""
    columns: dict[str, list[Any]] = {}
    feeds = {}
    for spec in signature.inputs:
        names = feature_names(spec)
        if not names:
            raise InvalidInput(f"input {spec.name!r} has shape {list(spec.shape)}: rows of a table cannot hold it")
        values = {name: table.column(name) for name in names}
        arrays = [_cast(table.name, name, column, spec) for name, column in values.items()]
        for (name, column), array in zip(values.items(), arrays, strict=True):
            columns[name] = [None if raw is None else seen for raw, seen in zip(column, array.tolist(), strict=True)]
        feeds[spec.name] = np.stack(arrays, axis=1) if len(spec.shape) == 2 else arrays[0]
    return Prepared(columns, feeds, len(table.frame))


def batches(prepared: Prepared, rows: int) -> Iterator[dict[str, Array]]:
    """The feeds, so many rows at a time."""
    for start in range(0, prepared.rows, rows):
        yield {name: array[start : start + rows] for name, array in prepared.feeds.items()}


def scores_of(task: Task, outputs: Mapping[str, Array]) -> Array:
    """The prediction out of a run's outputs: [n] (binary: of the positive class; regression) or [n, k] (multiclass)."""
    output = outputs[task.output].astype(np.float64)
    flat = output.reshape(len(output), -1)
    if task.kind == "multiclass":
        return flat
    return flat[:, task.positive] if task.kind == "binary" and flat.shape[1] > 1 else flat[:, 0]


def numbers_in(table: Table, name: str) -> Array:
    """A column of numbers as float64, missing ones NaN: [n]."""
    spec = TensorSpec(name=name, datatype="FP64", shape=(-1,))
    return _cast(table.name, name, table.column(name), spec)


def _pandas() -> Any:
    try:
        return import_module("pandas")
    except ModuleNotFoundError:
        raise InvalidInput("reading training data needs pandas: install pointsman[tables]") from None


def _accepts(spec: TensorSpec) -> Callable[[Any], bool]:
    """Which values an input takes; what a request may leave out, a row may too, and NaN wherever the input has one."""
    optional = spec.datatype in FLOATS or spec.null_value is not None
    if spec.datatype == "BOOL":
        return lambda value: isinstance(value, bool)
    if spec.datatype == "BYTES":
        return lambda value: isinstance(value, str) or (value is None and optional)
    if spec.datatype in FLOATS:
        return lambda value: value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    bounds: Any = np.iinfo(NUMPY_OF[spec.datatype].name)
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and bounds.min <= value <= bounds.max
        and value == int(value)
    )


def _wanted(spec: TensorSpec) -> str:
    if spec.datatype in FLOATS:
        return f"numbers ({spec.datatype})"
    kind = {"BOOL": "true and false", "BYTES": "text"}.get(spec.datatype, "whole numbers")
    return f"{kind} ({spec.datatype}{', never missing' if spec.null_value is None else ''})"


def _cast(file: str, name: str, values: list[Any], spec: TensorSpec) -> Array:
    """The values as the input's datatype, strictly: 1.9 is no INT64, "1" is no number, 1 is no text."""
    accepts = _accepts(spec)
    for row, value in enumerate(values, start=1):
        if not accepts(value):
            shown = "is missing" if value is None else f"holds {value!r}"
            raise InvalidInput(f"{file}: column {name!r} {shown} in row {row}, and the model takes {_wanted(spec)}")
    if spec.datatype in FLOATS:
        filled: list[Any] = [np.nan if value is None else value for value in values]
    else:
        filled = [spec.null_value if value is None else value for value in values]
    with np.errstate(over="ignore"):  # beyond the datatype is infinite, as it is for a request
        return np.array(filled, NUMPY_OF[spec.datatype])
