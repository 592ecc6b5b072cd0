"""The reference of a version from training or validation data, read, run through the model, summed up and put away.

Enters: a version of a registry folder, a CSV or Parquet file, which columns are what. Leaves: `reference.json` in the
version's folder, whole or not at all. The rule of what a reference is stands in the monitor.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from contracts.errors import InvalidInput, RegistryUnavailable
from contracts.reference import NumericBins, Reference
from contracts.task import Slice, Task
from contracts.wire import encode
from gateway.models.sessions import Session, load_session
from monitor.references.reference_building import Sample, build_reference, frequent_slices
from pointsman.reference_table import (
    Array,
    Prepared,
    Table,
    numbers_in,
    prepare,
    read_table,
    text_columns,
)
from pointsman.scoring import scored
from registry_client.folder import REFERENCE, FolderRegistry
from registry_client.registry import FetchedVersion

SHOWN: Final = ("auc", "accuracy", "log_loss", "ece", "mae", "rmse", "r2")


class Wanted(NamedTuple):
    """What the command line asks for."""

    label: str | None
    score: str | None
    slices: Sequence[str]
    categorical: Sequence[str]


def make_reference(root: Path, model: str, version: str, data: Path, wanted: Wanted) -> tuple[Path, str]:
    """Build the reference of a version and put it into its folder; its path, and the figures in words.

    Raises `InvalidInput` where data and version do not fit, and what the registry and the session raise.
    """
    with tempfile.TemporaryDirectory(prefix="pointsman-") as cache:
        session = asyncio.run(_load(root, Path(cache), model, version))
        reference = reference_of(session, data, wanted)
    return write_reference(root / model / version, reference), _said(reference)


def reference_of(session: Session, data: Path, wanted: Wanted) -> Reference:
    """The reference of a loaded version over this file; `InvalidInput` names what does not fit."""
    fetched: FetchedVersion = session.fetched
    task = fetched.metadata.task
    if task is None and (wanted.label or wanted.score):
        raise InvalidInput(
            f"{fetched.model} {fetched.version}: model.json declares no task, so labels and scores mean nothing"
        )
    table = read_table(data, text_columns(session.signature, task, wanted.label))
    prepared = prepare(table, session.signature)
    scores = None if task is None else _scores(session, task, table, prepared, wanted.score)
    labels = None if wanted.label is None else table.column(wanted.label)
    slices = _slices(prepared, wanted.slices) or fetched.metadata.slices
    sample = Sample(prepared.columns, scores, labels)
    return build_reference(fetched.model, fetched.version, sample, task, slices, wanted.categorical)


def write_reference(folder: Path, reference: Reference) -> Path:
    """Put `reference.json` into the version's folder, whole: a reader sees the old one or the new one."""
    path, draft = folder / REFERENCE, folder / f".{REFERENCE}.{os.getpid()}"
    try:
        draft.write_bytes(encode(reference))
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise RegistryUnavailable(f"{path} cannot be written: {error.strerror}") from None
    return path


async def _load(root: Path, cache: Path, model: str, version: str) -> Session:
    return await load_session(await FolderRegistry(root, cache).fetch(model, version))


def _scores(session: Session, task: Task, table: Table, prepared: Prepared, column: str | None) -> Array:
    if column is None:
        return scored(session, task, prepared, "rows")
    if task.kind == "multiclass":
        raise InvalidInput("--score is one column, and a multiclass model has one score a class: leave it out")
    return numbers_in(table, column)


def _slices(prepared: Prepared, features: Iterable[str]) -> tuple[Slice, ...]:
    unknown = [name for name in features if name not in prepared.columns]
    if unknown:
        raise InvalidInput(f"--slice {unknown[0]}: no such feature; there are {', '.join(prepared.columns)}")
    return tuple(frequent_slices(name, prepared.columns[name]) for name in features)


def _said(reference: Reference) -> str:
    numeric = sum(isinstance(feature.bins, NumericBins) for feature in reference.features)
    kinds = f"{numeric} numeric and {len(reference.features) - numeric} categorical features"
    slices = len(reference.slice_counts)
    figures: list[Any] = [
        f"{name} {reference.performance[name]:.4f}" for name in SHOWN if name in reference.performance
    ]
    lines = [f"{reference.rows:,} rows, {kinds}, {slices} slices, {reference.labelled:,} labels"]
    return "\n".join([*lines, *([", ".join(figures)] if figures else []), f"hash {reference.hash}"])
