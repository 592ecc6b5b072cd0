"""Gathers concurrent requests for one version into one run, with no timer.

Enters: work: fitted inputs of one request and its deadline. Leaves: the work, over, told together with the work of the same
run. A batch is whatever arrived while the last run was busy. A version whose rows are short runs on the event loop, at
once, as many rows as fit into `inline_us_max`; any other, and a request of more rows than those, runs in a thread. Never
waits for company, never mixes shapes, and never lets one bad request fail its neighbours: a batch that fails is run again
one by one.

Bounds: `rows_max` rows a run, `queue_max` requests waiting, and no request that would wait beyond its deadline, or, where
more is asked than can be answered, beyond a part of it: one more is `Overloaded`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from contracts.errors import CallerGone, DeadlineExceeded, ModelFailed, PointsmanError, Unavailable
from gateway.admission import STANDING_TIME_SHARE, check_queue, check_wait, expired
from gateway.clock import Clock
from gateway.models.batch_run import Gathered, Runs, Settled, Work
from gateway.models.inputs import Array
from gateway.models.pace import Pace
from gateway.models.sessions import Session, Stop
from gateway.models.slots import Threads
from gateway.models.standing import Standing

INLINE_OVERRUN_MAX = 25
INLINE_OVERRUNS_MAX = 3
"""A version that in this many runs on end holds up the event loop so many times longer than it may, runs in a thread from
then on. One long run alone proves nothing: the kernel may have given the core to somebody else.
"""


PATIENCE_FOLLOW = 0.05
"""What callers usually give is a moving average in which the last one has this weight."""


STEPS_BETWEEN_RUNS = 3
"""Steps of the event loop between two runs in a thread: in the first the answers' records are stored and their callers told,
in the second what those ask next comes in, in the third it is queued. Otherwise callers that ask again at once would split
into two halves that always run in turn, each at half the batch.
"""


STOP_GRACE_SECONDS = 0.01
"""A run is stopped so long after its last caller's time is up: by then each has been told of its own deadline."""


Told = Callable[[list[Any]], None]
"""Hears of work that is over, in the event loop, run by run; must not raise."""


class Batcher:
    """The queue in front of one version's session."""

    def __init__(
        self,
        session: Session,
        threads: Threads,
        clock: Clock,
        *,
        rows_max: int,
        queue_max: int,
        inline_us_max: float,
    ) -> None:
        self._executor, self._slots = threads
        self._mono_ns = clock.mono_ns
        self._inline_us_max = inline_us_max
        self.inline = session.run_us <= inline_us_max
        room = int((inline_us_max - session.run_us) / max(session.row_us, 0.01)) + 1 if self.inline else rows_max
        self._rows_max = min(rows_max, session.batch_max or rows_max, room)
        self._queue_max = queue_max
        self._label = f"version {session.fetched.version} of {session.fetched.model!r}"
        self._runs = Runs(session, clock.mono_ns, self._label)
        self._waiting: deque[tuple[Work, Told]] = deque()
        self._pace = Pace(session.run_us, session.row_us)
        self._standing = Standing()
        self._patience_ns = 0.0
        self._rows_waiting = 0
        self._asked_ns = 0
        self._free_ns = 0
        self._busy = self._threaded = False
        self._overruns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def waiting(self) -> int:
        """How many requests wait for the next run."""
        return len(self._waiting)

    def run(self, works: Sequence[Work], told: Told) -> None:
        """Queue requests that came together; `told` hears of each once, before this call returns or later.

        Work ends with `Overloaded` where the queue is full or too long for its deadline, `DeadlineExceeded` where its time
        ran out, `CallerGone` where nobody waits for it any more when its turn comes, `ModelFailed` where the model failed.
        """
        if self._loop is None:
            # asked once: before Python 3.12 each asking costs a system call
            self._loop = asyncio.get_running_loop()
        now_ns = self._mono_ns()
        wait_ns = self._wait_ns(now_ns)
        if wait_ns or not self.inline or self._threaded or len(self._waiting) + len(works) > self._queue_max:
            self._queue_checked(works, told, now_ns, wait_ns)
        else:
            self._standing.seen(now_ns, 0, 0)
            self._queue(works, told, now_ns)
        if not self._busy and self._waiting:
            self._busy = True
            self._go_on()

    def _queue(self, works: Sequence[Work], told: Told, now_ns: int) -> None:
        for work in works:
            assert work.fitted is not None, "only what fits is queued"
            work.since_ns = now_ns
            self._rows_waiting += work.fitted.rows
            self._waiting.append((work, told))

    def _queue_checked(self, works: Sequence[Work], told: Told, now_ns: int, wait_ns: int) -> None:
        """Queue what can be answered in time, and refuse the rest."""
        waiting, refused = self._waiting, []
        stands = self._standing.seen(now_ns, wait_ns, self._large_run_ns())
        for work in works:
            if not self.inline:
                wait_ns = self._wait_ns(now_ns)
                self._patience_ns += PATIENCE_FOLLOW * (work.deadline_ns - now_ns - self._patience_ns)
            try:
                check_queue(len(waiting), self._queue_max, self._label)
                check_wait(wait_ns, work.deadline_ns - now_ns, self._label, stands=stands)
            except PointsmanError as full:
                work.end(full)
                refused.append(work)
                continue
            self._queue((work,), told, now_ns)
            if not self.inline or self._threaded:
                self._watch_deadline(work, told, now_ns)
        if refused:
            told(refused)

    def sheds(self) -> bool:
        """Whether requests are refused unread: the queue stands, and is too long for what its callers usually give. Whoever
        is refused costs time that those who wait need, and reading is most of it.
        """
        if self.inline:
            return False
        now_ns = self._mono_ns()
        wait_ns = self._wait_ns(now_ns)
        stands = self._standing.seen(now_ns, wait_ns, self._large_run_ns())
        return stands and wait_ns > STANDING_TIME_SHARE * self._patience_ns > 0

    def _go_on(self) -> None:
        """Run what waits: now on the event loop, or as soon as a thread is free."""
        if self.inline and not self._is_long():
            self._start()
            return
        if self.inline:
            self._threaded = True
            self._watch_waiting()
        self._asked_ns = self._mono_ns()
        self._slots.ask(self._start_in_thread)

    def _is_long(self) -> bool:
        """Whether what runs next is one request of more rows than a run may have."""
        fitted = self._waiting[0][0].fitted if self._waiting else None
        return fitted is not None and fitted.rows > self._rows_max

    def _wait_ns(self, now_ns: int) -> int:
        """How long whoever comes now would wait. Where nothing is ahead that is no time: only runs mend an estimate."""
        running_ns = max(self._free_ns - now_ns, 0) if self._busy else 0
        return running_ns + int(self._pace.wait_us(self._rows_waiting, self._rows_max) * 1000)

    def _large_run_ns(self) -> int:
        return int(self._pace.large_run_us(self._rows_max) * 1000)

    def _watch_deadline(self, work: Work, told: Told, now_ns: int) -> None:
        """End the work when its time is up, wherever it is then: a run cannot always be stopped in time."""
        assert self._loop is not None, "known since the first request"
        seconds = max(0.0, (work.deadline_ns - now_ns) / 1e9)
        work.timer = self._loop.call_later(seconds, self._out_of_time, work, told, seconds)

    def _watch_waiting(self) -> None:
        now_ns = self._mono_ns()
        for work, told in self._waiting:
            if work.timer is None and not work.over:
                self._watch_deadline(work, told, now_ns)

    def _out_of_time(self, work: Work, told: Told, seconds: float) -> None:
        if not work.over:
            message = f"{self._label}: no answer within {seconds * 1000:.0f} ms; allow more time"
            work.end(DeadlineExceeded(message))
            told([work])

    def _start(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
            return
        started_ns = self._mono_ns()
        settled = self._runs.here([work for work, _ in batch])
        spent_us = (self._mono_ns() - started_ns) / 1000
        self._pace.seen(rows_of(batch), spent_us)
        self._watch_loop(spent_us)
        self._next()
        self._settle(batch, settled)

    def _start_in_thread(self) -> None:
        """Run in a thread, and end the run when nobody can use its answer any more. Only the session runs there: a thread
        that the machine puts last may not hold what the event loop needs, and the interpreter is that.
        """
        assert self._loop is not None, "known since the first request"
        batch = self._take()
        if not batch:
            self._busy = self._threaded = False
            self._slots.give_back()
            return
        works, rows, started_ns = [work for work, _ in batch], rows_of(batch), self._mono_ns()
        self._free_ns = self._asked_ns + int(self._pace.wait_us(rows, rows) * 1000)
        stop = Stop()
        seconds = (max(work.deadline_ns for work in works) - started_ns) / 1e9
        timer = self._loop.call_later(max(0.0, seconds) + STOP_GRACE_SECONDS, stop.set)
        try:
            gathered = self._runs.gathered(works)
            running = self._loop.run_in_executor(self._executor, self._runs.timed, gathered.feeds, stop)
            running.add_done_callback(lambda done: self._ran(batch, gathered, stop, timer, done))
        except PointsmanError as failure:
            self._end_run(batch, stop, timer, failure)

    def _watch_loop(self, spent_us: float) -> None:
        if spent_us <= INLINE_OVERRUN_MAX * self._inline_us_max:
            self._overruns = 0
            return
        self._overruns += 1
        if self._overruns >= INLINE_OVERRUNS_MAX:
            self.inline = False
            self._watch_waiting()
            logging.getLogger("pointsman.gateway").warning(
                "%s held up the event loop for %.0f ms; it runs in a thread from now on", self._label, spent_us / 1000
            )

    def _ran(
        self,
        batch: list[tuple[Work, Told]],
        gathered: Gathered,
        stop: Stop,
        timer: asyncio.TimerHandle,
        done: "asyncio.Future[tuple[list[Array], int]]",
    ) -> None:
        """Go on after a run. What it took counts from when a thread was asked for: others' turns are waited for, too."""
        self._free_ns = self._mono_ns()
        self._pace.seen(rows_of(batch), (self._free_ns - self._asked_ns) / 1000)
        end: Settled | PointsmanError
        if done.cancelled():
            end = Unavailable(f"{self._label}: the worker ended before it ran")
        elif (failure := done.exception()) is not None:
            assert isinstance(failure, PointsmanError), "a run wraps whatever it raises"
            end = failure
        else:
            try:
                end = self._runs.parts(gathered, *done.result())
            except PointsmanError as broken:
                end = broken
        self._end_run(batch, stop, timer, end)

    def _end_run(
        self, batch: list[tuple[Work, Told]], stop: Stop, timer: asyncio.TimerHandle, end: Settled | PointsmanError
    ) -> None:
        """Tell everybody; but where requests failed together, first see in the same thread which of them fail alone."""
        if isinstance(end, ModelFailed) and len(batch) > 1:
            assert self._loop is not None, "known since the first request"
            again = self._loop.run_in_executor(self._executor, self._runs.each, [work for work, _ in batch], stop)
            again.add_done_callback(lambda done: self._end_run(batch, stop, timer, self._outcome(done)))
            return
        timer.cancel()
        self._settle(batch, [end] * len(batch) if isinstance(end, PointsmanError) else end)
        self._pass_on(STEPS_BETWEEN_RUNS)

    def _outcome(self, done: "asyncio.Future[Settled]") -> Settled | PointsmanError:
        if done.cancelled():
            return Unavailable(f"{self._label}: the worker ended before it ran")
        if (failure := done.exception()) is not None:
            assert isinstance(failure, PointsmanError), "a run wraps whatever it raises"
            return failure
        return done.result()

    def _pass_on(self, steps: int) -> None:
        """Give the thread to whoever is next, once the answers are out and their callers could ask again."""
        assert self._loop is not None, "known since the first request"
        if steps:
            self._loop.call_soon(self._pass_on, steps - 1)
        else:
            self._threaded = False
            self._slots.give_back()
            self._next()

    def _next(self) -> None:
        """Have the next batch run in the loop's next step, so that what is answered goes out and what came comes in."""
        assert self._loop is not None, "known since the first request"
        if self._waiting:
            self._loop.call_soon(self._go_on)
        else:
            self._busy = False

    def _take(self) -> list[tuple[Work, Told]]:
        now_ns = self._mono_ns()
        batch: list[tuple[Work, Told]] = []
        rows = 0
        tails: Any = None
        while self._waiting:
            work, told = self._waiting[0]
            fitted = work.fitted
            assert fitted is not None, "only what fits is queued"
            if batch and (rows + fitted.rows > self._rows_max or fitted.tails != tails):
                break
            self._waiting.popleft()
            self._rows_waiting -= fitted.rows
            if work.over:
                continue
            if work.deadline_ns <= now_ns or work.gone:
                work.end(self._left_out(work, now_ns))
                told([work])
                continue
            batch.append((work, told))
            rows += fitted.rows
            tails = fitted.tails
        return batch

    def _left_out(self, work: Work, now_ns: int) -> PointsmanError:
        if work.gone:
            return CallerGone(f"{self._label}: the caller left before it ran")
        return expired(self._label, (now_ns - work.since_ns) // 1000)

    def _settle(self, batch: list[tuple[Work, Told]], settled: Settled) -> None:
        """End what is not over yet, and tell everybody who waits for some of it once."""
        by_told: dict[Told, list[Work]] = {}
        last: Told | None = None
        for (work, told), result in zip(batch, settled, strict=True):
            if not work.over:
                work.end(result)
                if told is not last:  # hashing a method costs more than the rest of this
                    last, ended = told, by_told.setdefault(told, [])
                ended.append(work)
        for told, works in by_told.items():
            told(works)


def rows_of(batch: Sequence[tuple[Work, Told]]) -> int:
    """The rows of a batch together."""
    return sum([work.fitted.rows for work, _ in batch if work.fitted is not None])
