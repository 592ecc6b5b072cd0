"""Records of one version in one variant -> arrays: numbers, category cells, slices and predictions, one value a row.

Enters: decoded records, a few at a time. Leaves: arrays; the records are no longer needed, so that they are forgotten while
the processor's cache still holds them, and the arrays of many are counted together. Never raises on a record: where a
feature is absent or has another number of values than the record has rows, its values are null, and tallied.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, Final, NamedTuple

import numpy as np
from msgspec.structs import astuple

from monitor.counts.arrays import Gathered, Masks, Tally
from monitor.counts.batches import NOTHING, Batch
from monitor.counts.columns import Floats, Ints, bin_values, parse_numbers
from monitor.counts.gather_sheet import gather_sheet
from monitor.counts.generation import Features, Generation
from monitor.counts.layout import STATUSES
from monitor.counts.outputs import predicted_of
from monitor.counts.record_type import SingleFeatures, field_of
from monitor.counts.sheets import Sheet

_STATUS_CELL: Final = {name: cell for cell, name in enumerate(STATUSES)}


class Parted(NamedTuple):
    """The records that are scored, and those that have only a status."""

    scored: Gathered
    failed: Gathered


def gather(generation: Generation, batch: Batch | Sheet, tally: Tally) -> Parted:
    """These records as arrays; what is odd about scored ones goes into `tally`."""
    if isinstance(batch, Sheet):
        return Parted(gather_sheet(generation, batch, tally), _gathered(generation, NOTHING, tally))
    if batch.statuses.count("ok") == len(batch.statuses):
        return Parted(_gathered(generation, batch, tally), _gathered(generation, NOTHING, tally))
    failed = [status != "ok" for status in batch.statuses]
    scored = [not status for status in failed]
    return Parted(
        _gathered(generation, batch.where(scored), tally), _gathered(generation, batch.where(failed), Counter())
    )


def _gathered(generation: Generation, batch: Batch, tally: Tally) -> Gathered:
    total = sum(batch.rows)
    columns = _columns(generation.features, batch, tally)
    return Gathered(
        batch.ids,
        batch.logs,
        batch.seqs,
        batch.events,
        batch.received,
        [_STATUS_CELL[status] for status in batch.statuses],
        batch.answered,
        _stood_in(batch),
        batch.rows,
        _numbers(generation.features, columns, total, tally),
        _categories(generation.features, columns, total, tally),
        _masks(generation, columns, total),
        _values(generation, batch, tally),
    )


def _stood_in(batch: Batch) -> Sequence[bool]:
    if batch.fallbacks.count(None) == len(batch.fallbacks):
        return [False] * len(batch.fallbacks)
    told = zip(batch.fallbacks, batch.answered, batch.statuses, strict=True)
    return [fallback is not None and was and status == "ok" for fallback, was, status in told]


def _columns(features: Features, batch: Batch, tally: Tally) -> list[list[Any]]:
    """One column a name, one value a row."""
    given, rows = batch.features, batch.rows
    if given and features.take is not None and rows.count(1) == len(rows) and isinstance(given[0], SingleFeatures):
        read = astuple if given[0].__struct_fields__ == features.fields else features.take
        try:
            values = list(chain.from_iterable(chain.from_iterable(map(read, given))))
        except TypeError:
            pass  # some feature is absent: look at each
        else:
            return [values[place :: len(features.names)] for place in range(len(features.names))]
    return [_column(given, rows, name, tally) for name in features.names]


def _column(features: Sequence[Any], rows: Sequence[int], name: str, tally: Tally) -> list[Any]:
    column: list[Any] = []
    field = field_of(name)
    for given, count in zip(features, rows, strict=True):
        values = getattr(given, field)
        if values is None:
            tally["feature_absent", name] += count
        elif len(values) != count:
            tally["feature_ragged", name] += count
        column.extend(values if values is not None and len(values) == count else repeat(None, count))
    return column


def _numbers(features: Features, columns: Sequence[list[Any]], rows: int, tally: Tally) -> Floats:
    table = np.empty((len(features.numeric), rows), np.float64)
    for place in range(len(features.numeric)):
        table[place], wrong_types = parse_numbers(columns[place])
        if wrong_types:
            tally["feature_wrong_type", features.names[place]] += wrong_types
    return table


def _categories(features: Features, columns: Sequence[list[Any]], rows: int, tally: Tally) -> Ints:
    cells = np.empty((len(features.categorical), rows), np.int64)
    for number, column in enumerate(features.categorical):
        place = len(features.numeric) + number
        cells[number], wrong_types = bin_values(column, columns[place])
        if wrong_types:
            tally["feature_wrong_type", features.names[place]] += wrong_types
    return cells


def _masks(generation: Generation, columns: Sequence[list[Any]], rows: int) -> Masks:
    masks = np.zeros(rows, np.uint64)
    for cut in generation.cuts:
        masks |= cut.bits[bin_values(cut.column, columns[cut.place]).cells]
    return masks


def _values(generation: Generation, batch: Batch, tally: Tally) -> Floats:
    task = generation.task
    if task is None or not batch.rows:
        return np.full((sum(batch.rows), generation.values), np.nan)
    predicted = predicted_of(task, [given.get(task.output) for given in batch.outputs], batch.rows)
    if predicted.unusable:
        tally["prediction_unusable", ""] += predicted.unusable
    return predicted.values
