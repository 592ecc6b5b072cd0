"""Gathers concurrent requests for one version into one run, with no timer.

Enters: fitted inputs of one request and its deadline. Leaves: a future of its outputs. A batch is whatever arrived while
the last run was busy. A version whose rows are short runs on the event loop, at the end of the tick that its requests
arrived in, as many rows at once as fit into `inline_us_max`; any other runs in a thread. Never waits for company, never
mixes shapes, and never lets one bad request fail its neighbours: a batch that fails is run again one by one.

Bounds: `rows_max` rows a run, `queue_max` requests waiting (one more is `Overloaded`).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from contracts.errors import ModelFailed, PointsmanError
from contracts.prediction import Output
from gateway.admission import check_queue, expired
from gateway.clock import Clock
from gateway.models.inputs import Fitted, features_of_batch, gather
from gateway.models.outputs import split_outputs
from gateway.models.sessions import Session, Stop

INLINE_OVERRUN_MAX = 25
INLINE_OVERRUNS_MAX = 3
"""A version that in this many runs on end holds up the event loop so many times longer than it may, runs in a thread from
then on. One long run alone proves nothing: the kernel may have given the core to somebody else.
"""


class Ran(NamedTuple):
    """What one request got out of a run. Times are in microseconds; `batch_rows` counts the rows of the whole run."""

    outputs: dict[str, Output]
    features: dict[str, list[Any]]
    queue_us: int
    run_us: int
    batch_rows: int


class _Waiting(NamedTuple):
    fitted: Fitted
    future: "asyncio.Future[Ran]"
    since_ns: int
    deadline_ns: int


_Settled = list[Ran | PointsmanError]


class Batcher:
    """The queue in front of one version's session."""

    def __init__(
        self,
        session: Session,
        executor: Executor,
        clock: Clock,
        *,
        rows_max: int,
        queue_max: int,
        inline_us_max: float,
    ) -> None:
        self._session = session
        self._executor = executor
        self._mono_ns = clock.mono_ns
        self._inline_us_max = inline_us_max
        self.inline = session.run_us <= inline_us_max
        room = int((inline_us_max - session.run_us) / max(session.row_us, 0.01)) + 1 if self.inline else rows_max
        self._rows_max = min(rows_max, session.batch_max or rows_max, room)
        self._queue_max = queue_max
        self._label = f"version {session.fetched.version} of {session.fetched.model!r}"
        self._waiting: deque[_Waiting] = deque()
        self._busy = False
        self._overruns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for the next run."""
        return len(self._waiting)

    def run(self, fitted: Fitted, deadline_ns: int) -> "asyncio.Future[Ran]":
        """Queue one request; `Overloaded` at once where the queue is full.

        The future raises `DeadlineExceeded` where the time ran out in the queue, `ModelFailed` where the model did.
        """
        check_queue(len(self._waiting), self._queue_max, self._label)
        loop = self._loop
        if loop is None:
            # asked once: before Python 3.12 each asking costs a system call
            loop = self._loop = asyncio.get_running_loop()
        future: asyncio.Future[Ran] = loop.create_future()
        self._waiting.append(_Waiting(fitted, future, self._mono_ns(), deadline_ns))
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start)
        return future

    def _start(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
            return
        if self.inline:
            started_ns = self._mono_ns()
            self._settle(batch, self._run(batch))
            self._watch((self._mono_ns() - started_ns) / 1000)
            self._next()
        else:
            self._start_in_thread(batch)

    def _start_in_thread(self, batch: list[_Waiting]) -> None:
        """Run in a thread, and end the run when nobody can use its answer any more."""
        assert self._loop is not None, "known since the first request"
        stop = Stop()
        seconds = (max(work.deadline_ns for work in batch) - self._mono_ns()) / 1e9
        timer = self._loop.call_later(max(0.0, seconds), stop.set)
        running = self._loop.run_in_executor(self._executor, self._run, batch, stop)
        running.add_done_callback(lambda _: timer.cancel())
        running.add_done_callback(lambda done: self._finished(batch, done))

    def _watch(self, spent_us: float) -> None:
        if spent_us <= INLINE_OVERRUN_MAX * self._inline_us_max:
            self._overruns = 0
            return
        self._overruns += 1
        if self._overruns >= INLINE_OVERRUNS_MAX:
            self.inline = False
            logging.getLogger("pointsman.gateway").warning(
                "%s held up the event loop for %.0f ms; it runs in a thread from now on", self._label, spent_us / 1000
            )

    def _finished(self, batch: list[_Waiting], done: "asyncio.Future[_Settled]") -> None:
        if done.cancelled():
            for work in batch:
                work.future.cancel()
        elif (failure := done.exception()) is not None:
            for work in batch:
                if not work.future.done():
                    work.future.set_exception(failure)
        else:
            self._settle(batch, done.result())
        self._next()

    def _next(self) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._start)
        else:
            self._busy = False

    def _take(self) -> list[_Waiting]:
        now_ns = self._mono_ns()
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            work = self._waiting[0]
            if batch and (rows + work.fitted.rows > self._rows_max or work.fitted.tails != batch[0].fitted.tails):
                break
            self._waiting.popleft()
            if work.future.done():
                continue
            if work.deadline_ns <= now_ns:
                work.future.set_exception(expired(self._label, (now_ns - work.since_ns) // 1000))
                continue
            batch.append(work)
            rows += work.fitted.rows
        return batch

    def _run(self, batch: list[_Waiting], stop: Stop | None = None) -> _Settled:
        try:
            return self._run_together(batch, stop)
        except ModelFailed as failure:
            return [failure] if len(batch) == 1 else [self._run_alone(work, stop) for work in batch]

    def _run_alone(self, work: _Waiting, stop: Stop | None) -> Ran | PointsmanError:
        try:
            return self._run_together([work], stop)[0]
        except ModelFailed as failure:
            return failure

    def _run_together(self, batch: Sequence[_Waiting], stop: Stop | None) -> _Settled:
        fitted = [work.fitted for work in batch]
        rows = [one.rows for one in fitted]
        total = sum(rows)
        started_ns = self._mono_ns()
        signature = self._session.signature
        try:
            feeds = gather(fitted, signature)
            arrays = self._session.run(feeds, stop)
            run_us = (self._mono_ns() - started_ns) // 1000
            outputs = split_outputs(signature.outputs, arrays, rows, self._label)
            features = features_of_batch(feeds, fitted, signature)
        except PointsmanError:
            raise
        except Exception as bug:
            logging.getLogger("pointsman.gateway").exception("a run of %s broke", self._label)
            raise ModelFailed(
                f"{self._label}: {type(bug).__name__} inside the gateway; its log has the details"
            ) from bug
        return [
            output
            if isinstance(output, ModelFailed)
            else Ran(output, features[i], (started_ns - batch[i].since_ns) // 1000, run_us, total)
            for i, output in enumerate(outputs)
        ]

    def _settle(self, batch: list[_Waiting], settled: _Settled) -> None:
        for work, result in zip(batch, settled, strict=True):
            if work.future.done():
                continue
            if isinstance(result, PointsmanError):
                work.future.set_exception(result)
            else:
                work.future.set_result(result)
