"""What one version takes, laid out for speed: its inputs in blocks of equal datatype and size.

Enters: a signature. Leaves: its columns in block order. A block becomes one array for a whole batch, so that thirteen
inputs of three datatypes cost three array constructions and not thirteen. Never sees a request.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.datatypes import FLOATS, NUMPY_OF
from contracts.errors import ModelRejected
from contracts.signature import Signature, TensorSpec

FREE: Final = -1
FEATURES_MAX: Final = 256
"""Columns of one tensor that get a feature name each; a wider one without names is one feature, a list a row."""
INTAKES_MAX: Final = 256
"""Signatures whose layout is remembered; the least recently used one is laid out again."""


class Column(NamedTuple):
    """One input. `tail` is its shape without the batch dimension; `features` name the record's columns of it, or are
    empty where the record holds one nested list a row.
    """

    name: str
    datatype: str
    tail: tuple[int, ...]
    features: tuple[str, ...]
    nullable: bool
    null_value: str | None

    @property
    def free(self) -> bool:
        """Whether a dimension beside the batch is left to the request."""
        return FREE in self.tail


class Block(NamedTuple):
    """A run of columns, [start, stop) of the intake's, that share one array. `tail` is None where it is the request's.
    `features` are the record's names for a row of the block, column by column: of each value, or, where `lists`, of each
    column, whose value a row is then a list.
    """

    start: int
    stop: int
    names: tuple[str, ...]
    datatype: str
    tail: tuple[int, ...] | None
    features: tuple[str, ...]
    lists: bool

    @property
    def dtype(self) -> "np.dtype[Any]":
        """The type of the array."""
        return NUMPY_OF[self.datatype]


Take = tuple[str, str, list[int]]
"""Name, datatype and shape of an input."""


class Intake(NamedTuple):
    """One version. `names` are in the graph's order, `columns` in block order. `rows` is the only number of rows it takes,
    None for any number; `one_row` is `takes(1)`.
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]
    one_row: tuple[Take, ...]
    blocks: tuple[Block, ...]
    rows: int | None
    outputs: frozenset[str]

    def takes(self, rows: int) -> tuple[Take, ...]:
        """What an input must be, column by column, in a request of so many rows."""
        return _takes(self.columns, rows)


@lru_cache(maxsize=INTAKES_MAX)
def intake_of(signature: Signature) -> Intake:
    """The layout of a version's inputs.

    Raises:
        ModelRejected: an input has no batch dimension, or its metadata names features or nulls that it cannot have.
    """
    columns = sorted((_column(spec) for spec in signature.inputs), key=_block_key)
    _check_names([column.name for column in columns], "input names")
    _check_names([feature for column in columns for feature in column.features], "feature names")
    return Intake(
        names=tuple(spec.name for spec in signature.inputs),
        columns=tuple(columns),
        one_row=_takes(columns, 1),
        blocks=tuple(_blocks(columns)),
        rows=_fixed_rows(signature.inputs),
        outputs=frozenset(spec.name for spec in signature.outputs),
    )


def feature_names(spec: TensorSpec) -> tuple[str, ...]:
    """The names under which a record holds the columns of an input: its own name for [n] and [n, 1], the declared names or
    `name[0]`, `name[1]`, ... for [n, k]; none for a tensor of higher rank, of free or of great width.
    """
    tail = spec.shape[1:]
    if spec.features:
        return spec.features
    if FREE in tail or len(tail) > 1 or prod(tail) > FEATURES_MAX:
        return ()
    return (spec.name,) if prod(tail) == 1 else tuple(f"{spec.name}[{i}]" for i in range(prod(tail)))


def _column(spec: TensorSpec) -> Column:
    tail = spec.shape[1:]
    if not spec.shape:
        raise ModelRejected(f"input {spec.name!r} is a scalar: the first dimension must be the batch")
    if spec.datatype not in NUMPY_OF:
        raise ModelRejected(f"input {spec.name!r} has datatype {spec.datatype!r}; known are {', '.join(NUMPY_OF)}")
    if spec.features and (FREE in tail or len(tail) > 1 or len(spec.features) != prod(tail)):
        raise ModelRejected(
            f"input {spec.name!r} of shape {list(spec.shape)} cannot have {len(spec.features)} feature names: "
            "a [n, k] tensor has k"
        )
    if spec.nullable and (FREE in tail or len(tail) > 1):
        raise ModelRejected(
            f"input {spec.name!r} of shape {list(spec.shape)} cannot be nullable: only [n] and [n, k] can"
        )
    if spec.nullable and spec.datatype not in FLOATS and (spec.datatype != "BYTES" or spec.null_value is None):
        raise ModelRejected(
            f"input {spec.name!r} ({spec.datatype}) cannot be nullable: floating datatypes can, and BYTES with a null_value"
        )
    return Column(spec.name, spec.datatype, tail, feature_names(spec), spec.nullable, spec.null_value)


def _takes(columns: Sequence[Column], rows: int) -> tuple[Take, ...]:
    return tuple([(column.name, column.datatype, [rows, *column.tail]) for column in columns])


def _block_key(column: Column) -> tuple[str, bool, bool, tuple[int, ...], str]:
    """Sorts columns that can share an array next to each other; one of free size shares with nobody."""
    return (column.datatype, column.free, not column.features, column.tail, column.name if column.free else "")


def _blocks(columns: Sequence[Column]) -> list[Block]:
    blocks: list[Block] = []
    start = 0
    for _, run in groupby(columns, key=_block_key):
        members = list(run)
        tail = None if members[0].free else members[0].tail
        names = tuple(column.name for column in members)
        lists = not members[0].features
        features = names if lists else tuple(name for column in members for name in column.features)
        stop = start + len(members)
        blocks.append(Block(start, stop, names, members[0].datatype, tail, features, lists))
        start = stop
    return blocks


def _fixed_rows(specs: Sequence[TensorSpec]) -> int | None:
    fixed = {spec.shape[0] for spec in specs} - {FREE}
    if len(fixed) > 1:
        raise ModelRejected(f"the inputs are fixed to {sorted(fixed)} rows: no request can fit them all")
    return fixed.pop() if fixed else None


def _check_names(names: Sequence[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ModelRejected(f"{what} {', '.join(twice)} stand twice: the record could not tell them apart")
