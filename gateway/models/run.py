"""One run of a session, as each of its requests finds its own part: what went in, what came out, how long it took.

Enters: the arrays of a whole batch. Leaves: one part a request: the record's sections and the reply's values, cut out of
what was made once for the whole batch, so that a request costs slices and no arithmetic; or `ModelFailed` where the part
holds NaN or an infinity: JSON cannot carry those, and a model that answers them has failed. Never passes a row to another
request than the one that sent it.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.datatypes import FLOATS
from contracts.errors import ModelFailed
from contracts.prediction import Output
from contracts.signature import Signature, TensorSpec
from gateway.models.inputs import Array, Feeds, Fitted, Nulls
from gateway.models.intake import Intake, intake_of
from prediction_log.compact import FeatureBlock, OutputLayout, text_section

FORMS_MAX: Final = 256
"""Shapes of runs that are remembered; the least recently used one is described again."""


class Form(NamedTuple):
    """How features and outputs lie in the records of a run."""

    features: tuple[FeatureBlock, ...]
    outputs: tuple[OutputLayout, ...]


class Strip(NamedTuple):
    """One array of a batch, row after row: its bytes, or its values where it has strings. A row takes `width` of them."""

    content: bytes | list[Any]
    width: int


class Run(NamedTuple):
    """`sections` are the strips of the form's features and outputs, `values` the outputs as numbers, bools and strings.
    `run_us` is the time of the whole batch in microseconds.
    """

    signature: Signature
    form: Form
    sections: list[Strip]
    values: list[Strip]
    rows: int
    run_us: int


class Ran(NamedTuple):
    """What one request got out of a run: rows [start, stop) of the batch. `queue_us` it had waited, in microseconds."""

    run: Run
    start: int
    stop: int
    queue_us: int
    nulls: Nulls

    def sections(self) -> list[bytes]:
        """What went in and what came out, as a compact record holds it."""
        run, start, stop, _, nulls = self
        return [
            content[start * width : stop * width]
            if isinstance(content, bytes)
            else text_section(_with_nulls(content[start * width : stop * width], run.signature, number, width, nulls))
            for number, (content, width) in enumerate(run.sections)
        ]

    @property
    def outputs(self) -> dict[str, Output]:
        """The outputs by name, in the signature's order."""
        run, start, stop, _, _ = self
        rows = stop - start
        return {
            layout.name: Output(
                datatype=layout.datatype,
                shape=[rows, *layout.tail],
                data=content[start * width : stop * width],  # type: ignore[arg-type]  # values are lists
            )
            for layout, (content, width) in zip(run.form.outputs, run.values, strict=True)
        }


def parts_of(
    signature: Signature,
    feeds: Feeds,
    arrays: Sequence[Array],
    batch: Sequence[Fitted],
    waited_us: Sequence[int],
    run_us: int,
    label: str,
) -> list[Ran | ModelFailed]:
    """Each request's part of a run that took `feeds` and gave `arrays`.

    Raises ModelFailed where an output does not have the batch's rows.
    """
    total = sum([fitted.rows for fitted in batch])
    suspects = []
    for spec, array in zip(signature.outputs, arrays, strict=True):
        if array.ndim == 0 or array.shape[0] != total:
            raise ModelFailed(f"{label}: output {spec.name!r} has shape {list(array.shape)} for {total} rows")
        # a search for a zero byte: `all` is five times as dear for the few numbers of a usual batch
        if spec.datatype in FLOATS and b"\0" in np.isfinite(array).tobytes():
            suspects.append((spec, array))
    run = _run_of(signature, feeds, arrays, total, run_us)
    parts: list[Ran | ModelFailed] = []
    start = 0
    for fitted, queue_us in zip(batch, waited_us, strict=True):
        stop = start + fitted.rows
        refused = _refusal(suspects, start, stop, label) if suspects else None
        parts.append(refused or Ran(run, start, stop, queue_us, fitted.nulls))
        start = stop
    return parts


def _run_of(signature: Signature, feeds: Feeds, arrays: Sequence[Array], rows: int, run_us: int) -> Run:
    intake = intake_of(signature)
    by_row = [array.swapaxes(0, 1) for array in feeds.blocks]
    tails = tuple([array.shape[2:] for array in feeds.blocks])
    form = _form_of(signature, tails, tuple([array.shape[1:] for array in arrays]))
    sections = [_strip(array, rows) for array in by_row]
    values = [Strip(array.ravel().tolist(), array.size // rows if rows else 0) for array in arrays]
    sections += [
        value if array.dtype == object else _strip(array, rows) for value, array in zip(values, arrays, strict=True)
    ]
    assert len(sections) == len(intake.blocks) + len(arrays), "a strip a block and an output"
    return Run(signature, form, sections, values, rows, run_us)


def _strip(array: Array, rows: int) -> Strip:
    if array.dtype == object:
        return Strip(array.ravel().tolist(), array.size // rows if rows else 0)
    return Strip(array.tobytes(), array.nbytes // rows if rows else 0)


@lru_cache(maxsize=FORMS_MAX)
def _form_of(
    signature: Signature, tails: tuple[tuple[int, ...], ...], output_tails: tuple[tuple[int, ...], ...]
) -> Form:
    blocks = intake_of(signature).blocks
    return Form(
        tuple(
            FeatureBlock(names=block.features, datatype=block.datatype, tail=tail if block.lists else ())
            for block, tail in zip(blocks, tails, strict=True)
        ),
        tuple(
            OutputLayout(name=spec.name, datatype=spec.datatype, tail=tail)
            for spec, tail in zip(signature.outputs, output_tails, strict=True)
        ),
    )


def _refusal(suspects: Sequence[tuple[TensorSpec, Array]], start: int, stop: int, label: str) -> ModelFailed | None:
    """Why the rows [start, stop) cannot be answered, if they cannot."""
    for spec, array in suspects:
        own = array[start:stop].reshape(stop - start, -1)
        for row, value in _not_finite(own):
            name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
            return ModelFailed(f"{label}: output {spec.name!r} holds {name} at row {row}: JSON cannot carry it")
    return None


def _not_finite(table: Array) -> Iterator[tuple[int, float]]:
    for row, place in np.argwhere(~np.isfinite(table)):
        yield int(row), float(table[row, place])


def _with_nulls(values: list[Any], signature: Signature, number: int, width: int, nulls: Nulls) -> list[Any]:
    """The strings of section `number` with null where the request had null and the model saw a stand-in."""
    intake: Intake = intake_of(signature)
    if not nulls or number >= len(intake.blocks):
        return values
    block = intake.blocks[number]
    offset = 0
    for index in range(block.start, block.stop):
        size = max(1, len(intake.columns[index].features))
        for column, positions in nulls:
            for position in positions if column == index else ():
                row, place = divmod(position, size)
                values[row * width + offset + place] = None
        offset += size
    return values
