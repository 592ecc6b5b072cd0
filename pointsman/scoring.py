"""Runs a version over the rows of a table, in batches, with a progress bar.

Enters: a loaded version, its task, prepared rows. Leaves: its predictions. Never judges them.
"""

from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from contracts.task import Task
from gateway.models.graph_signature import batch_max_of
from gateway.models.sessions import Session
from pointsman.reference_table import Array, Prepared, batches, scores_of

BATCH_ROWS: Final = 1_024


def progress_bar() -> Progress:
    """A bar on stderr that leaves no trace when it is done; none where nobody looks at a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def scored(session: Session, task: Task, prepared: Prepared, said: str) -> Array:
    """The predictions for all rows, [n] or [n, k] float64; `said` stands beside the bar. `ModelFailed` where a run fails."""
    names = [spec.name for spec in session.signature.outputs]
    rows = batch_max_of(session.signature) or BATCH_ROWS
    parts: list[Array] = []
    with progress_bar() as progress:
        shown = progress.add_task(said, total=prepared.rows)
        for feeds in batches(prepared, rows):
            parts.append(scores_of(task, dict(zip(names, session.run(feeds), strict=True))))
            progress.advance(shown, len(parts[-1]))
    return np.concatenate(parts)
