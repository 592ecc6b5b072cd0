"""A sheet of compact records -> the arrays that `monitor.counts.gather` makes of the same records as JSON, value for value.

Enters: columns of records of one version in one variant. Leaves: numbers, category cells, slices and predictions, one value
a row. Only text, and numbers that are counted as categories, are looked at value by value. Never raises on a record.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.datatypes import FLOATS
from monitor.counts.arrays import Gathered, Masks, Tally
from monitor.counts.columns import Column, Floats, Ints, bin_values, parse_numbers
from monitor.counts.generation import Generation
from monitor.counts.layout import STATUSES
from monitor.counts.outputs import predicted_of_table
from monitor.counts.sheets import Sheet
from prediction_log.columns import Columns, Section
from prediction_log.compact import FeatureBlock, Shape
from prediction_log.expansion import named, nested

_OK: Final = STATUSES.index("ok")


class _Place(NamedTuple):
    """Where a feature stands: its section, and its place in a row of it."""

    block: FeatureBlock
    shape: Shape
    section: Section
    place: int


def gather_sheet(generation: Generation, sheet: Sheet, tally: Tally) -> Gathered:
    """These records as arrays; what is odd about them goes into `tally`."""
    logs, seqs, columns, _, _ = sheet
    fixed = columns.fixed
    rows, answered = fixed["rows"].tolist(), fixed["answered"].astype(np.bool_).tolist()
    events, received = sheet.times()
    ids = fixed["prediction_id"].tobytes().decode("ascii")
    found = _Features(columns, sum(rows))
    return Gathered(
        [ids[start : start + 36] for start in range(0, len(ids), 36)],
        logs,
        seqs,
        events,
        received,
        [_OK] * len(rows),
        answered,
        _stood_in(columns, answered),
        rows,
        found.numbers(generation, tally),
        found.categories(generation, tally),
        found.masks(generation),
        _values(generation, columns, rows, tally),
    )


def _stood_in(columns: Columns, answered: Sequence[bool]) -> list[bool]:
    if columns.odds is None:
        return [False] * len(answered)
    return [odd.fallback_from is not None and was for odd, was in zip(columns.odds, answered, strict=True)]


class _Features:
    """The features of a sheet's rows, by name."""

    def __init__(self, columns: Columns, rows: int) -> None:
        self._rows = rows
        sections = zip(columns.form.layout.features, columns.form.shapes, columns.sections, strict=False)
        self._places = {
            name: _Place(block, shape, section, place)
            for block, shape, section in sections
            for place, name in enumerate(block.names)
        }

    def numbers(self, generation: Generation, tally: Tally) -> Floats:
        """The numeric features as numbers: [numeric, rows]; NaN is missing."""
        features = generation.features
        table = np.full((len(features.numeric), self._rows), np.nan)
        at_once: dict[int, tuple[_Place, list[int], list[int]]] = {}
        for number, name in enumerate(features.names[: len(features.numeric)]):
            found = self._places.get(name)
            if found is None:
                tally["feature_absent", name] += self._rows
            elif isinstance(found.section, list) or found.block.tail:
                table[number], wrong_types = parse_numbers(self._values(found))
                if wrong_types:
                    tally["feature_wrong_type", name] += wrong_types
            else:
                _, numbers, places = at_once.setdefault(id(found.section), (found, [], []))
                numbers.append(number)
                places.append(found.place)
        for found, numbers, places in at_once.values():
            assert not isinstance(found.section, list), "text is not taken at once"
            table[numbers] = found.section.reshape(self._rows, len(found.block.names))[:, places].T
        return table

    def categories(self, generation: Generation, tally: Tally) -> Ints:
        """The cells of the categorical features: [categorical, rows]."""
        features = generation.features
        cells = np.empty((len(features.categorical), self._rows), np.int64)
        for number, column in enumerate(features.categorical):
            name = features.names[len(features.numeric) + number]
            if name not in self._places:
                tally["feature_absent", name] += self._rows
            cells[number], wrong_types = self._binned(column, name)
            if wrong_types:
                tally["feature_wrong_type", name] += wrong_types
        return cells

    def masks(self, generation: Generation) -> Masks:
        """The slices that each row is in."""
        masks = np.zeros(self._rows, np.uint64)
        for cut in generation.cuts:
            masks |= cut.bits[self._binned(cut.column, generation.features.names[cut.place])[0]]
        return masks

    def _binned(self, column: Column, name: str) -> tuple[Ints, int]:
        found = self._places.get(name)
        return bin_values(column, [None] * self._rows if found is None else self._values(found))

    def _values(self, found: _Place) -> list[Any]:
        """One feature's value a row; only within lists a value that is not finite is written as in JSON."""
        block, shape, section, place = found
        width = len(block.names)
        if not block.tail:
            values: list[Any] = section[place::width] if isinstance(section, list) else section[place::width].tolist()
            return values
        flat: list[Any] = section if isinstance(section, list) else section.tolist()
        if shape.datatype in FLOATS:
            flat = named(flat, None)
        return nested(flat, (self._rows, width, *block.tail), place)


def _values(generation: Generation, columns: Columns, rows: Sequence[int], tally: Tally) -> Floats:
    task = generation.task
    total = sum(rows)
    if task is None:
        return np.full((total, generation.values), np.nan)
    values, width = None, 0
    layout, first = columns.form.layout, len(columns.form.layout.features)
    sections = zip(layout.outputs, columns.form.shapes[first:], columns.sections[first:], strict=True)
    for output, shape, section in sections:
        if output.name == task.output:
            values, width = section, shape.values
    predicted = predicted_of_table(task, values, total, width)
    if predicted.unusable:
        tally["prediction_unusable", ""] += predicted.unusable
    return predicted.values
