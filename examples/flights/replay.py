"""Replays flights through the gateway, day by day of event time, and tells the truth of each one when it is due.

Enters: flights, planned labels, the steps of the story. Leaves: predictions and labels in the gateway's log, and a tally of
what was sent. Never waits for a clock: event time passes as fast as the gateway answers.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import msgspec

from examples.flights.bodies import infer_body, labels_body
from examples.flights.labels import PlannedLabel
from examples.flights.lane import Lane
from examples.flights.sampling import Flight
from examples.flights.versions import MODEL, Who

DAY_US: Final = 24 * 3_600 * 10**6
LANES: Final = 32
RECENT_ANSWERS: Final = 500
LABELS_PER_REQUEST_MAX: Final = 500

NumberedFlight = tuple[int, Flight]


class ReplayFailed(RuntimeError):
    """The gateway refused a prediction, a label or a step, or is gone; the message says which and why."""


@dataclass(slots=True)
class Tally:
    """What has been sent so far, for whoever watches; `event_us` is how far event time has come."""

    event_us: int = 0
    labels: int = 0
    answered_by: Counter[Who] = field(default_factory=Counter)
    recently: deque[Who] = field(default_factory=lambda: deque(maxlen=RECENT_ANSWERS))

    @property
    def predictions(self) -> int:
        """Answered requests so far."""
        return self.answered_by.total()

    @property
    def shares(self) -> dict[Who, float]:
        """Who gave the newest answers: the part of each, of at most RECENT_ANSWERS."""
        return {who: count / len(self.recently) for who, count in Counter(self.recently).items()}

    def count(self, who: Who) -> None:
        """One more answer."""
        self.answered_by[who] += 1
        self.recently.append(who)


class Replay:
    """One pass over the flights. `arrived_at` is told each new day, in event time, before its first flight is sent."""

    def __init__(
        self,
        flights: Sequence[Flight],
        labels: Sequence[PlannedLabel],
        lanes: Sequence[Lane],
        tally: Tally,
        arrived_at: Callable[[int], Awaitable[None]],
    ) -> None:
        self._flights = flights
        self._labels = deque(labels)
        self._lanes = lanes
        self._tally = tally
        self._arrived_at = arrived_at
        self._ids: dict[int, str] = {}

    async def run(self) -> None:
        """Send everything; raises `ReplayFailed` at the first refusal."""
        for day, numbered in groupby(enumerate(self._flights), key=lambda item: item[1].departs_us // DAY_US):
            self._tally.event_us = day * DAY_US
            await self._arrived_at(day * DAY_US)
            await self._predict_all(numbered)
            await self._tell_until((day + 1) * DAY_US)
        while self._labels:
            self._tally.event_us = (self._labels[0].due_us // DAY_US + 1) * DAY_US
            await self._tell_until(self._tally.event_us)

    async def _predict_all(self, numbered: Iterator[NumberedFlight]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(self._predict(lane, numbered))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first ended the others: it is the one to tell

    async def _predict(self, lane: Lane, numbered: Iterator[NumberedFlight]) -> None:
        for number, flight in numbered:
            reply = await _post(lane, f"/v2/models/{MODEL}/infer", infer_body(number, flight), expected=200)
            parameters = reply["parameters"]
            self._ids[number] = parameters["prediction_id"]
            self._tally.count((parameters["variant"], reply["model_version"]))

    async def _tell_until(self, until_us: int) -> None:
        while batch := self._due(until_us):
            reply = await _post(self._lanes[0], "/v2/labels", labels_body(batch, self._ids), expected=202)
            if reply["accepted"] != len(batch):
                raise ReplayFailed(f"of {len(batch)} labels the gateway accepted {reply['accepted']}: {reply}")
            self._tally.labels += len(batch)

    def _due(self, until_us: int) -> list[PlannedLabel]:
        batch: list[PlannedLabel] = []
        while self._labels and self._labels[0].due_us < until_us and len(batch) < LABELS_PER_REQUEST_MAX:
            batch.append(self._labels.popleft())
        return batch


async def _post(lane: Lane, path: str, body: bytes, *, expected: int) -> Any:
    try:
        status, reply = await lane.post(path, body)
    except (OSError, EOFError) as error:
        raise ReplayFailed(f"POST {path}: the connection to the gateway broke: {error!r}") from error
    if status != expected:
        raise ReplayFailed(f"POST {path} was answered {status}: {reply[:500].decode('utf-8', 'replace')}")
    return msgspec.json.decode(reply)
