"""A file of labels -> rows as `POST /v2/labels` takes them, one after the other.

Enters: CSV, JSON Lines or Parquet with the columns `prediction_id`, `label`, and maybe `observed_at`, `label_version`,
`op`. Leaves: dicts of plain JSON values; `InvalidInput` names the line and the column. Never holds the whole file.

CSV knows only text, so a CSV label is read as JSON writes it (`1`, `0.5`, `true`, `"1"`), and as text where it is no JSON
(`late`); an empty cell is a missing value.
"""

import csv
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.errors import InvalidInput

REQUIRED: Final = ("prediction_id",)
COLUMNS: Final = ("prediction_id", "label", "observed_at", "label_version", "op")
BATCH_ROWS: Final = 10_000
"""Rows of a Parquet file in memory at a time."""

Row = dict[str, Any]


def read_labels(path: Path) -> Iterator[Row]:
    """The labels of a file in its order; `InvalidInput` where the file or one of its rows cannot be read."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _checked(path, _csv(path))
    if suffix in {".jsonl", ".ndjson"}:
        return _checked(path, _json_lines(path))
    if suffix in {".parquet", ".pq"}:
        return _checked(path, _parquet(path))
    raise InvalidInput(
        f"{path}: the name must end in .csv, .jsonl, .ndjson, .parquet or .pq, it says how to read the file"
    )


def count_rows(path: Path) -> int:
    """About how many rows the file has, for a progress bar: lines, or what a Parquet file says of itself."""
    if path.suffix.lower() in {".parquet", ".pq"}:
        return int(_parquet_reader().read_metadata(path).num_rows)
    with path.open("rb") as file:
        lines = sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))
    return max(lines - 1, 0) if path.suffix.lower() == ".csv" else lines


def _checked(path: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[Row]:
    for line, row in _readable(path, rows):
        unknown = [name for name in row if name not in COLUMNS]
        if unknown:
            raise InvalidInput(f"{path}:{line}: column {unknown[0]!r} is unknown; there are {', '.join(COLUMNS)}")
        missing = [name for name in REQUIRED if not row.get(name)]
        if missing:
            raise InvalidInput(f"{path}:{line}: column {missing[0]!r} is missing or empty")
        yield {name: value for name, value in row.items() if value is not None or name == "label"}


def _readable(path: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    try:
        yield from rows
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not UTF-8: {error}") from None


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, strict=True, restkey="", restval="")
        header = list(reader.fieldnames or ())
        if len(set(header)) < len(header):
            raise InvalidInput(f"{path}:1: the header names a column twice: {', '.join(header)}")
        for cells in _sound(path, reader):
            if "" in cells:
                raise InvalidInput(f"{path}:{reader.line_num}: more cells than the header has columns")
            row: Row = {name: text or None for name, text in cells.items()}
            for name in ("label", "label_version"):
                if row.get(name) is not None:
                    row[name] = _plain(row[name])
            yield reader.line_num, row


def _sound(path: Path, reader: "csv.DictReader[str]") -> Iterator[dict[str | Any, str | Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise InvalidInput(f"{path}:{reader.line_num}: not CSV: {error}") from None


def _plain(text: str) -> object:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return text if isinstance(value, dict | list) else value


def _json_lines(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = msgspec.json.decode(text)
            except msgspec.DecodeError as error:
                raise InvalidInput(f"{path}:{line}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise InvalidInput(f"{path}:{line}: one JSON object a line, not {text.strip()[:40]}")
            yield line, row


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    line, reader = 0, _parquet_reader()
    try:
        opened = reader.ParquetFile(path)
    except (ValueError, OSError) as error:
        raise InvalidInput(f"{path}: not Parquet: {error}") from None
    with opened as file:
        for batch in file.iter_batches(BATCH_ROWS):
            for row in batch.to_pylist():
                line += 1
                yield line, {name: _time(path, line, value) for name, value in row.items()}


def _parquet_reader() -> Any:
    """pyarrow, not pandas: its rows keep integers beside missing values integers, where a pandas column turns 1 into 1.0."""
    try:
        return import_module("pyarrow.parquet")
    except ModuleNotFoundError:
        raise InvalidInput(
            "reading Parquet needs pyarrow: install pointsman[tables], or send CSV or JSON Lines"
        ) from None


def _time(path: Path, line: int, value: object) -> object:
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is None:
        raise InvalidInput(f"{path}:{line}: the time {value} names no time zone: store the column as UTC")
    return value.isoformat()
