"""Fits one request to the versions behind a plan, and joins what fits into the arrays of a batch.

Enters: a request and signatures. Leaves: for each version the data of its own inputs, or what it lacks; for a batch the
arrays to run on. A name that no version knows is an error; one that only another version knows is left out and noted.
Never routes, runs or waits.

Shapes are held strictly, with one kindness: [n] and [n, 1] stand for each other, since both are one value a row.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.errors import InvalidInput
from contracts.signature import Signature
from gateway.models.intake import FREE, Block, Column, Intake, intake_of
from gateway.protocol.request import InferRequest
from gateway.protocol.wording import did_you_mean, listed, shown

REASONS_SHOWN_MAX: Final = 10

Array = np.ndarray[Any, Any]
Tails = tuple[tuple[int, ...], ...]
Nulls = tuple[tuple[int, tuple[int, ...]], ...]


class Union(NamedTuple):
    """The names that any version behind a plan knows."""

    inputs: frozenset[str]
    outputs: frozenset[str]


class Fitted(NamedTuple):
    """A request as one version takes it: `columns` are flat lists in the intake's order, or arrays where `arrays`. `tails`
    are the shapes, without the batch, of the inputs of free size: only requests of equal tails can share a batch. `nulls`
    are the positions of nulls by column index. `extra` are inputs that this version does not take.
    """

    rows: int
    columns: list[list[Any]]
    tails: Tails
    nulls: Nulls
    extra: list[str]
    arrays: bool = False


class Missing(NamedTuple):
    """Why a version cannot take a request: the inputs that are not there, and whatever else does not fit."""

    inputs: tuple[str, ...]
    reasons: tuple[str, ...]

    def message(self, label: str) -> str:
        """The reasons in one sentence; `label` names the version."""
        rest = len(self.reasons) - REASONS_SHOWN_MAX
        more = f"; and {rest} more" if rest > 0 else ""
        return f"{label}: {'; '.join(self.reasons[:REASONS_SHOWN_MAX])}{more}"


class Feeds(dict[str, Array]):
    """The arrays of a batch by input name. They are views of `blocks`, one a block of the intake: [inputs, rows, ...]."""

    __slots__ = ("blocks",)

    def __init__(self, blocks: list[Array]) -> None:
        super().__init__()
        self.blocks = blocks


def union_of(signatures: Iterable[Signature]) -> Union:
    """All names that these versions know."""
    known = list(signatures)
    return Union(
        frozenset(spec.name for signature in known for spec in signature.inputs),
        frozenset(spec.name for signature in known for spec in signature.outputs),
    )


def check_names(request: InferRequest, union: Union) -> None:
    """Refuse a request that names an input or an output which no version knows; `InvalidInput` names it."""
    if not union.inputs.issuperset(request.inputs):
        for index, name in enumerate(request.inputs):
            if name not in union.inputs:
                raise InvalidInput(f"inputs[{index}] {_unknown(name, 'takes', union.inputs)}")
    if request.outputs is not None:
        for index, name in enumerate(request.outputs):
            if name not in union.outputs:
                raise InvalidInput(f"outputs[{index}] {_unknown(name, 'gives', union.outputs)}")


def check_rows(request: InferRequest, rows_max: int) -> None:
    """Refuse more rows at once than a batch may have."""
    if request.rows > rows_max:
        raise InvalidInput(
            f"the request has {request.rows} rows; at most {rows_max} at once (batch_rows_max): split it"
        )


def fit(request: InferRequest, signature: Signature) -> Fitted | Missing:
    """The request as the version with this signature takes it, or why it cannot; never raises for a request."""
    intake = intake_of(signature)
    inputs = request.inputs
    columns: list[list[Any]] = []
    for name, datatype, shape in intake.one_row if request.rows == 1 else intake.takes(request.rows):
        tensor = inputs.get(name)
        if tensor is None or tensor.datatype != datatype or tensor.shape != shape:
            return _fit_unusual(request, intake)
        columns.append(tensor.data)
    if intake.rows is not None or (request.outputs is not None and not intake.outputs.issuperset(request.outputs)):
        return _fit_unusual(request, intake)
    return _fitted(request, intake, columns, ())


def gather(batch: Sequence[Fitted], signature: Signature) -> Feeds:
    """The arrays of a batch: the rows of each request, one request after the other. All must have equal `tails`."""
    intake = intake_of(signature)
    tails = batch[0].tails
    assert len(batch) == 1 or all(fitted.tails == tails for fitted in batch), (
        "only requests of equal shape share a batch"
    )
    rows = sum([fitted.rows for fitted in batch])
    has_arrays = True in [fitted.arrays for fitted in batch]
    free = iter(tails)
    feeds = Feeds([])
    for block in intake.blocks:
        tail = next(free) if block.tail is None else block.tail
        values = _joined(batch, block) if has_arrays else _values(batch, block.start, block.stop)
        array = np.array(values, dtype=block.dtype).reshape(len(block.names), rows, *tail)
        feeds.blocks.append(array)
        feeds.update(zip(block.names, array, strict=False))  # strict would ask the array for one view too many: 1 us
    return feeds


def _values(batch: Sequence[Fitted], start: int, stop: int) -> list[Any]:
    """The values of some columns: column after column, each with the rows of all requests."""
    if len(batch) == 1:
        return list(chain.from_iterable(batch[0].columns[start:stop]))
    by_column = zip(*[fitted.columns[start:stop] for fitted in batch], strict=True)
    return list(chain.from_iterable(chain.from_iterable(by_column)))


def _joined(batch: Sequence[Fitted], block: Block) -> list[Array]:
    """The same where some requests hold arrays: one array a column."""
    return [
        np.concatenate([np.asarray(fitted.columns[index], block.dtype) for fitted in batch])
        for index in range(block.start, block.stop)
    ]


def _fitted(request: InferRequest, intake: Intake, columns: list[list[Any]], tails: Tails) -> Fitted | Missing:
    """What fits but for nulls, which only some inputs take."""
    nulls: Nulls = ()
    if request.nulls:
        refused = _refused_nulls(intake.columns, columns)
        if refused:
            return Missing((), refused)
        nulls = _take_out_nulls(intake.columns, columns)
    extra = [] if len(request.inputs) == len(columns) else _extra(request, intake)
    return Fitted(request.rows, columns, tails, nulls, extra, request.arrays)


def _fit_unusual(request: InferRequest, intake: Intake) -> Fitted | Missing:
    """The same for a request with shapes that need a closer look, and for one that does not fit."""
    missing = tuple([name for name in intake.names if name not in request.inputs])
    reasons = list(_reasons(request, intake))
    if missing:
        reasons.insert(0, f"{'inputs' if missing[1:] else 'input'} {listed(missing)} missing")
    if reasons:
        return Missing(missing, tuple(reasons))
    tensors = [request.inputs[column.name] for column in intake.columns]
    tails = [tuple(tensor.shape[1:]) for tensor, column in zip(tensors, intake.columns, strict=True) if column.free]
    return _fitted(request, intake, [tensor.data for tensor in tensors], tuple(tails))


def _reasons(request: InferRequest, intake: Intake) -> Iterable[str]:
    """Everything but missing inputs and nulls that keeps a version from taking a request."""
    if intake.rows is not None and request.rows != intake.rows:
        yield f"the request has {request.rows} rows and must have {intake.rows}"
    for column in intake.columns:
        tensor = request.inputs.get(column.name)
        if tensor is None:
            continue
        if tensor.datatype != column.datatype:
            yield f"input {shown(column.name)} is {tensor.datatype} and must be {column.datatype}"
        elif not _shape_fits(tensor.shape[1:], column.tail):
            yield f"input {shown(column.name)} has shape {tensor.shape} and must have {[FREE, *column.tail]}"
    for name in request.outputs or ():
        if name not in intake.outputs:
            yield f"it has no output {shown(name)}; it gives {listed(sorted(intake.outputs))}"


def _shape_fits(tail: list[int], wanted: tuple[int, ...]) -> bool:
    if len(tail) != len(wanted):
        return prod(tail) == 1 == prod(wanted) and len(tail) + len(wanted) == 1
    return all(want in (size, FREE) for size, want in zip(tail, wanted, strict=True))


def _refused_nulls(columns: Sequence[Column], data: Sequence[list[Any]]) -> tuple[str, ...]:
    return tuple(
        [
            f"input {shown(column.name)}: data[{values.index(None)}] is null, and null is no {column.datatype}: send a value"
            for column, values in zip(columns, data, strict=True)
            if not column.nullable and None in values
        ]
    )


def _take_out_nulls(columns: Sequence[Column], data: list[list[Any]]) -> Nulls:
    """Where the nulls are; those of strings are replaced, in a copy, by what the model takes for them."""
    nulls = []
    for index, column in enumerate(columns):
        values = data[index]
        if None in values:
            nulls.append((index, tuple([place for place, value in enumerate(values) if value is None])))
            if column.datatype == "BYTES":
                data[index] = [column.null_value if value is None else value for value in values]
    return tuple(nulls)


def _extra(request: InferRequest, intake: Intake) -> list[str]:
    own = set(intake.names)
    return [name for name in request.inputs if name not in own]


def _unknown(name: str, verb: str, known: frozenset[str]) -> str:
    names = sorted(known)
    return f"{shown(name)}: no version {verb} it{did_you_mean(name, names)}; known are {listed(names)}"
