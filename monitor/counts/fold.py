"""Arrays of one version in one variant -> counts, and the rows that wait for their labels.

Enters: gathered records, all of one generation. Leaves: summaries of features, predictions and statuses in every pane and
slice; join records. Never raises on a value: what a bin cannot take has a cell of its own. Records that are not `ok` count
in `statuses` only.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, Final, NamedTuple

import numpy as np

from monitor.counts.arrays import Gathered, Masks
from monitor.counts.columns import Floats, Ints, bin_numbers, bin_numeric, usable_rows
from monitor.counts.gather import Parted
from monitor.counts.generation import Generation
from monitor.counts.join_record import HEAD_TYPE, JoinRecord, id_keys, row_type
from monitor.counts.layout import STATUSES
from monitor.counts.panes import PANE_US
from monitor.counts.summary import Marks, Summaries, empty, update

_MAKE_RECORD: Final[Callable[[Iterable[Any]], JoinRecord]] = partial(tuple.__new__, JoinRecord)


class Observed(NamedTuple):
    """What some records of one group add: marks of their rows and of themselves, and join records."""

    rows: Marks
    statuses: Marks
    join: list[JoinRecord]


def observe(generation: Generation, group: int, records: Parted) -> Observed:
    """What these records add; all of them belong to `group`."""
    scored, failed = records
    panes = _panes(scored) if _is_single(scored) else np.repeat(_panes(scored), scored.rows)
    rows = Marks(_cells(generation, scored), None, panes, scored.masks)
    statuses = _joined([_statuses(generation, scored), _statuses(generation, failed)])
    return Observed(rows, statuses, joinable(group, records))


def joinable(group: int, records: Parted) -> list[JoinRecord]:
    """What these records leave behind for their labels. Answers that failed: known to have been asked for, with nothing to
    score.
    """
    scored, failed = records
    answered = [
        record for record, was in zip(_join_records(group, failed, repeat(b"")), failed.answered, strict=True) if was
    ]
    return _join_records(group, scored, _packed(scored)) + answered


def count(generation: Generation, group: int, observed: Sequence[Observed]) -> Summaries:
    """The summaries of everything observed of one group."""
    summaries, size = empty(), generation.layout.size
    for marks in ([part.rows for part in observed], [part.statuses for part in observed]):
        summaries = update(summaries, group, size, _joined(marks))
    return summaries


def _panes(records: Gathered) -> Ints:
    panes: Ints = np.array(records.events, np.int64) // PANE_US
    return panes


def _cells(generation: Generation, records: Gathered) -> Ints:
    """The cells that every row touches: [1 + features + (1 where predictions are counted), rows]."""
    layout, features = generation.layout, generation.features
    counted, kinds = len(features.starts), len(features.numeric)
    cells = np.empty((1 + counted + (generation.prediction is not None), len(records.values)), np.int64)
    cells[0] = layout.sections["rows"].start
    bin_numeric(features.numeric, records.numbers, cells[1 : 1 + kinds])
    cells[1 + kinds : 1 + counted] = records.categories
    cells[1 : 1 + counted] += features.starts[:, None]
    if generation.prediction is not None:
        np.add(_prediction_cells(generation, records.values), layout.sections["prediction"].start, out=cells[-1])
    return cells


def _prediction_cells(generation: Generation, values: Floats) -> Ints:
    assert generation.prediction is not None
    if generation.class_cells is None:
        scores = values[:, 0] if values.shape[1] else np.full(len(values), np.nan)
        return bin_numbers(generation.prediction, scores)
    known = usable_rows(values)
    top = np.where(known, np.where(known[:, None], values, 0.0).argmax(axis=1), values.shape[1])
    cells: Ints = generation.class_cells[top]
    return cells


def _statuses(generation: Generation, records: Gathered) -> Marks:
    """Records by status, each once in every slice that one of its rows is in."""
    start, panes = generation.layout.sections["statuses"].start, _panes(records)
    masks = records.masks if _is_single(records) else _by_record(records.rows, records.masks)
    stood_in = np.flatnonzero(np.array(records.stood_in, np.bool_))
    cells = np.concatenate([np.array(records.statuses, np.int64), np.full(len(stood_in), STATUSES.index("fallback"))])
    panes, masks = np.concatenate([panes, panes[stood_in]]), np.concatenate([masks, masks[stood_in]])
    return Marks(cells[None, :] + start, None, panes, masks)


def _is_single(records: Gathered) -> bool:
    return set(records.rows) <= {1}


def _by_record(rows: Sequence[int], masks: Masks) -> Masks:
    owned = np.zeros(len(rows), np.uint64)
    np.bitwise_or.at(owned, np.repeat(np.arange(len(rows)), rows), masks)
    return owned


def _packed(records: Gathered) -> list[bytes]:
    """The rows of every record as `row_type`s."""
    table = np.empty(len(records.masks), row_type(records.values.shape[1]))
    table["mask"], table["values"] = records.masks, records.values
    packed = table.tobytes()
    ends = (np.cumsum(records.rows, dtype=np.int64) * table.itemsize).tolist()
    return [packed[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _join_records(group: int, records: Gathered, rows: Iterable[bytes]) -> list[JoinRecord]:
    heads = np.empty(len(records.ids), HEAD_TYPE)
    heads["group"], heads["event_us"], heads["received_us"] = group, records.events, records.received
    packed, size = heads.tobytes(), heads.itemsize
    bodies = [packed[at : at + size] + own for at, own in zip(range(0, len(packed), size), rows, strict=False)]
    return list(map(_MAKE_RECORD, zip(id_keys(records.ids), records.logs, records.seqs, bodies, strict=True)))


def _joined(marks: Sequence[Marks]) -> Marks:
    return Marks(
        np.concatenate([part.cells for part in marks], axis=1),
        None,
        np.concatenate([part.panes for part in marks]),
        np.concatenate([part.masks for part in marks]),
    )
