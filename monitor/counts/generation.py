"""One version under one reference: how its records are counted. A new reference of the same version is a new generation.

Enters: the version's reference and metadata, as the registry has them. Leaves: a generation with its layout, its columns
and its slices, and the definition from which the same generation can be made again after the registry forgot it. Never
reads a registry itself.
"""

from collections.abc import Callable, Sequence
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from contracts.metadata import ModelMetadata
from contracts.reference import CategoricalBins, Reference
from contracts.task import Slice, Task
from contracts.wire import Contract, decode, encode_canonical
from monitor.counts.binning import category_of
from monitor.counts.columns import CategoricalColumn, Column, Ints, NumericColumn, bin_numbers, column_of
from monitor.counts.layout import Layout, layout_of
from monitor.counts.panes import ALL, SLICES_MAX
from monitor.counts.record_type import field_of
from monitor.counts.truth import TruthTable, truth_table


class Definition(Contract, frozen=True, kw_only=True):
    """Everything that says how a version is counted."""

    reference: Reference | None = None
    task: Task | None = None
    slices: tuple[Slice, ...] = ()


class Features(NamedTuple):
    """What is read of a record's features: `names`, of which the first `len(numeric)` are counted as numbers, then
    `len(categorical)` as categories; the rest only slice. `starts` is where each counted feature's cells begin. `fields`
    are the names as attributes of a record's features; `take` takes all of them at once, null where there are fewer than
    two, for then it gives no tuple.
    """

    names: tuple[str, ...]
    starts: Ints
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    fields: tuple[str, ...]
    take: Callable[[Any], tuple[Any, ...]] | None


class Cut(NamedTuple):
    """A feature by which traffic is sliced, by its place among the names: bits[cell] is the slice's bit, 0 where the
    value is in none.
    """

    place: int
    column: CategoricalColumn
    bits: npt.NDArray[np.uint64]


class Generation(NamedTuple):
    """How one version is counted. `slices` are names, `all` first; `fingerprint` is the sha256 of the definition;
    `prediction` counts the score, the value or the class; `class_cells` are the cells of a multiclass task's classes and,
    last, of no class; `values` is how many numbers a row's prediction has: 1, k classes, or 0 without a task.
    """

    model: str
    version: str
    digest: str
    definition: Definition
    fingerprint: str
    layout: Layout
    slices: tuple[str, ...]
    features: Features
    cuts: tuple[Cut, ...]
    prediction: Column | None
    class_cells: Ints | None
    truths: TruthTable
    values: int

    @property
    def task(self) -> Task | None:
        """What the version predicts; null where nobody said."""
        return self.layout.task


def definition_of(reference: Reference | None, metadata: ModelMetadata | None) -> Definition:
    """What the registry says of a version; the reference's word counts before the metadata's.

    A multiclass task without classes says nothing that could be counted and is left out.
    """
    if reference is not None and not _countable(reference.task):
        reference = msgspec.structs.replace(reference, task=None)
    task = reference.task if reference is not None else None
    slices: Sequence[Slice] = reference.slices if reference is not None else ()
    if metadata is not None:
        task = task or (metadata.task if _countable(metadata.task) else None)
        slices = slices or metadata.slices
    return Definition(reference=reference, task=task, slices=tuple(slices))


def generation_of(model: str, version: str, digest: str, definition: Definition) -> Generation:
    """The generation that this definition makes."""
    layout = layout_of(definition.reference, definition.task)
    task = layout.task
    named = _named_slices(definition.slices)
    features = _features(definition.reference, layout, [feature for feature, _ in named])
    return Generation(
        model,
        version,
        digest,
        definition,
        sha256(encode_canonical(definition)).hexdigest(),
        layout,
        (ALL, *(f"{feature}={value}" for feature, value in named)),
        features,
        _cuts(features.names, named),
        column_of(layout.prediction) if layout.prediction is not None else None,
        _class_cells(layout),
        truth_table(task),
        0 if task is None else len(task.classes) if task.kind == "multiclass" else 1,
    )


def encode_definition(generation: Generation) -> bytes:
    """The bytes to keep."""
    return encode_canonical(generation.definition)


def decode_generation(model: str, version: str, digest: str, definition: bytes) -> Generation:
    """The same generation again; `InvalidRecord` where the bytes are none."""
    return generation_of(model, version, digest, decode(Definition, definition))


def _countable(task: Task | None) -> bool:
    return task is None or task.kind != "multiclass" or bool(task.classes)


def _features(reference: Reference | None, layout: Layout, sliced: Sequence[str]) -> Features:
    columns = {feature.name: column_of(feature.bins) for feature in (reference.features if reference else ())}
    numeric = {name: column for name, column in columns.items() if isinstance(column, NumericColumn)}
    categorical = {name: column for name, column in columns.items() if isinstance(column, CategoricalColumn)}
    counted = (*numeric, *categorical)
    names = tuple(dict.fromkeys((*counted, *sliced)))
    starts = np.array([layout.sections[f"feature:{name}"].start for name in counted], np.int64)
    fields = tuple(map(field_of, names))
    take: Any = attrgetter(*fields) if len(names) > 1 else None
    return Features(names, starts, tuple(numeric.values()), tuple(categorical.values()), fields, take)


def _named_slices(slices: Sequence[Slice]) -> list[tuple[str, str]]:
    named = dict.fromkeys((cut.feature, str(category_of(value))) for cut in slices for value in cut.values)
    return list(named)[:SLICES_MAX]


def _cuts(names: Sequence[str], named: list[tuple[str, str]]) -> tuple[Cut, ...]:
    features = dict.fromkeys(feature for feature, _ in named)
    return tuple(_cut(names.index(feature), feature, named) for feature in features)


def _cut(place: int, feature: str, named: list[tuple[str, str]]) -> Cut:
    own = [(value, number) for number, (name, value) in enumerate(named) if name == feature]
    values = tuple(value for value, _ in own)
    column = column_of(CategoricalBins(values=values, tail=(), counts=(0,) * (len(values) + 3)))
    assert isinstance(column, CategoricalColumn)
    bits = [1 << number for _, number in own] + [0, 0, 0]
    return Cut(place, column, np.array(bits, np.uint64))


def _class_cells(layout: Layout) -> Ints | None:
    if layout.task is None or layout.task.kind != "multiclass" or layout.prediction is None:
        return None
    column = column_of(layout.prediction)
    if not isinstance(column, CategoricalColumn):
        return bin_numbers(column, np.array([*range(len(layout.task.classes)), np.nan], np.float64))
    names = [category_of(value) for value in layout.task.classes]
    return np.array([column.cells.get(name, column.unseen) for name in (*names, None)], np.int64)
