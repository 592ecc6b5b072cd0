"""The trial of a version before it may answer anyone: does it run, answer what it declares, and treat rows as its own?

Enters: a way to run it, its signature, and the rows to try. Leaves: its full signature and how long it takes, or
ModelRejected with the reason. Also warms it up: first runs allocate. Knows no onnxruntime and reads no disk.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, Final, NamedTuple

import numpy as np

from contracts.datatypes import FLOATS, NUMPY_OF
from contracts.errors import ModelFailed, ModelRejected
from contracts.signature import Signature, TensorSpec
from gateway.models.graph_signature import FREE, batch_max_of, with_ranks
from gateway.models.input_example import repeated
from gateway.models.inputs import Array

Run = Callable[[Mapping[str, Array]], Sequence[Array]]

WARM_RUNS_MAX: Final = 20
WARM_NS_MAX: Final = 500_000_000
"""A slow version is warm after fewer runs; each size still runs at least twice."""
RELATIVE_TOLERANCE: Final = 1e-2
ABSOLUTE_TOLERANCE: Final = 1e-3
"""Far above what another order of summing does to 16-bit floats, far below what a neighbour's row does."""


class Trial(NamedTuple):
    """`run_us` is the median time of a run of one row, `row_us` what each further row adds; microseconds."""

    signature: Signature
    run_us: float
    row_us: float


def try_out(
    run: Run,
    signature: Signature,
    feeds: Mapping[str, Array],
    *,
    what: str,
    finite: bool,
    rows: int,
    clock: Callable[[], int],
) -> Trial:
    """Try `feeds`, called `what` in messages, then as a batch of `rows`; `clock` gives nanoseconds.

    `finite` says that the answer to `feeds` must not hold NaN or infinities. Where the batch is fixed to one row, no
    larger one is tried.
    """
    outputs = _answer(run, feeds, what)
    ranks = [output.ndim for output in outputs]
    for spec, output in zip(signature.outputs, outputs, strict=True):
        _check_output(spec, output, _rows_of(feeds), what)
        if finite and spec.datatype in FLOATS and not np.isfinite(output).all():
            raise ModelRejected(f"answers {what} with NaN or an infinity in output {spec.name!r}")
    known = with_ranks(signature, ranks)
    alone = repeated(feeds, 1)
    run_ns = _warm(run, alone, clock)
    if batch_max_of(signature) == 1 or rows == 1:
        return Trial(known, run_ns / 1000, run_ns / 1000)
    together = repeated(feeds, rows)
    _check_batch(run, known, alone, together)
    batch_ns = _warm(run, together, clock)
    return Trial(known, run_ns / 1000, max(0.0, batch_ns - run_ns) / (rows - 1) / 1000)


def _answer(run: Run, feeds: Mapping[str, Array], what: str) -> Sequence[Array]:
    try:
        return run(feeds)
    except ModelFailed as error:
        raise ModelRejected(f"fails on {what}: {error}") from None


def _check_output(spec: TensorSpec, output: Any, rows: int, what: str) -> None:
    declared = NUMPY_OF[spec.datatype]
    if not isinstance(output, np.ndarray) or output.dtype != declared:
        kind = output.dtype if isinstance(output, np.ndarray) else type(output).__name__
        raise ModelRejected(f"answers {what} with {kind} in output {spec.name!r}, which is declared {spec.datatype}")
    if output.shape[:1] != (rows,):
        raise ModelRejected(
            f"answers {what} with shape {list(output.shape)} in output {spec.name!r} for {rows} rows: "
            "the first dimension must be that of the inputs"
        )
    tail = zip(spec.shape[1:], output.shape[1:], strict=False)
    if spec.shape and (len(spec.shape) != output.ndim or any(size not in {FREE, seen} for size, seen in tail)):
        raise ModelRejected(
            f"answers {what} with shape {list(output.shape)} in output {spec.name!r}, which is declared {list(spec.shape)}"
        )


def _check_batch(run: Run, signature: Signature, alone: Mapping[str, Array], together: Mapping[str, Array]) -> None:
    """Requests of different callers share a run, so a row's answer must not depend on its neighbours."""
    rows = _rows_of(together)
    what = f"a batch of {rows} rows"
    first = _answer(run, alone, "a single row")
    batch = _answer(run, together, what)
    for spec, output in zip(signature.outputs, batch, strict=True):
        _check_output(spec, output, rows, what)
    differing = _differing(signature.outputs, first, batch)
    if differing and not _differing(signature.outputs, first, _answer(run, alone, "a single row")):
        raise ModelRejected(
            f"answers a row otherwise when it is alone than in {what} (output {differing!r}): its rows influence each "
            "other; make them independent, or fix the first dimension of the inputs to 1"
        )


def _differing(specs: Sequence[TensorSpec], first: Sequence[Array], other: Sequence[Array]) -> str | None:
    """The first floating output whose first row is not the same in both; labels may flip where scores tie."""
    for spec, one, two in zip(specs, first, other, strict=True):
        if spec.datatype in FLOATS and not (
            one[0].shape == two[0].shape
            and np.allclose(one[0], two[0], rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE, equal_nan=True)
        ):
            return spec.name
    return None


def _warm(run: Run, feeds: Mapping[str, Array], clock: Callable[[], int]) -> float:
    """The median time of a warm run in nanoseconds. The first run is not warm, so no more than that: where the machine
    stood still in the only warm run, the version would pass for one that takes so long.
    """
    cold = clock()
    _answer(run, feeds, f"{_rows_of(feeds)} rows")
    begun = before = clock()
    spent: list[int] = []
    while not spent or (len(spent) < WARM_RUNS_MAX and before - begun < WARM_NS_MAX):
        _answer(run, feeds, f"{_rows_of(feeds)} rows")
        now = clock()
        spent.append(now - before)
        before = now
    return min(median(spent), begun - cold)


def _rows_of(feeds: Mapping[str, Array]) -> int:
    return len(next(iter(feeds.values())))
