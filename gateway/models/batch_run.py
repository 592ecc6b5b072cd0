"""What becomes of a batch: its requests' arrays put together, run, and cut into each one's part.

Enters: work that fits the version, and what may stop the run. Leaves: each request's part, or why it has none. A batch that
fails is run again one by one, so that a bad request never fails its neighbours; a bug of ours is the run's failure. Never
waits, and never ends any work itself.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

from contracts.errors import ModelFailed, PointsmanError
from gateway.models.inputs import Array, Feeds, Fitted, gather
from gateway.models.run import Ran, parts_of
from gateway.models.sessions import Session, Stop

P = ParamSpec("P")
T = TypeVar("T")


class Work(Protocol):
    """One request, as a queue sees it. Times are on the monotonic clock."""

    fitted: Fitted | None
    since_ns: int
    deadline_ns: int
    over: bool
    timer: asyncio.TimerHandle | None

    @property
    def gone(self) -> bool:
        """Whether nobody would read the answer."""

    def end(self, result: "Ran | PointsmanError") -> None:
        """What became of it."""


Settled = Sequence[Ran | PointsmanError]
"""How each request of a batch ended, in their order."""


class Gathered(NamedTuple):
    """What a run takes: its requests, their arrays put together, and how long each had waited, in microseconds."""

    batch: list[Fitted]
    feeds: Feeds
    waited_us: list[int]


class Runs:
    """The runs of one version; `label` names it in errors, `mono_ns` is the monotonic clock."""

    def __init__(self, session: Session, mono_ns: Callable[[], int], label: str) -> None:
        self._session = session
        self._mono_ns = mono_ns
        self._label = label

    def here(self, works: list[Work]) -> Settled:
        """Run these together on this thread, and one by one where that fails."""
        try:
            return self._run_together(works, None)
        except ModelFailed as failure:
            return [failure] if len(works) == 1 else self.each(works, None)

    def each(self, works: list[Work], stop: Stop | None) -> Settled:
        """Run these one by one on this thread: a bad request fails alone."""
        return [self._run_alone(work, stop) for work in works]

    def _run_alone(self, work: Work, stop: Stop | None) -> Ran | PointsmanError:
        try:
            return self._run_together([work], stop)[0]
        except ModelFailed as failure:
            return failure

    def _run_together(self, works: Sequence[Work], stop: Stop | None) -> Settled:
        gathered = self.gathered(works)
        return self.parts(gathered, *self.timed(gathered.feeds, stop))

    def gathered(self, works: Sequence[Work]) -> Gathered:
        """What a run of these takes; raises `ModelFailed`."""
        now_ns = self._mono_ns()
        fitted = [work.fitted for work in works if work.fitted is not None]
        feeds = self._softly(gather, fitted, self._session.signature)
        return Gathered(fitted, feeds, [(now_ns - work.since_ns) // 1000 for work in works])

    def timed(self, feeds: Feeds, stop: Stop | None) -> tuple[list[Array], int]:
        """The session's outputs, and how many microseconds they took; raises `ModelFailed`, or `DeadlineExceeded` where it
        was stopped. This alone may run in another thread.
        """
        started_ns = self._mono_ns()
        arrays = self._softly(self._session.run, feeds, stop)
        return arrays, (self._mono_ns() - started_ns) // 1000

    def parts(self, gathered: Gathered, arrays: list[Array], run_us: int) -> Settled:
        """Each request's part of a run; raises `ModelFailed`."""
        batch, feeds, waited_us = gathered
        return self._softly(parts_of, self._session.signature, feeds, arrays, batch, waited_us, run_us, self._label)

    def _softly(self, step: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A bug of ours is the run's failure: its callers are told, and nobody else suffers."""
        try:
            return step(*args, **kwargs)
        except PointsmanError:
            raise
        except Exception as bug:
            logging.getLogger("pointsman.gateway").exception("a run of %s broke", self._label)
            raise ModelFailed(
                f"{self._label}: {type(bug).__name__} inside the gateway; its log has the details"
            ) from bug
