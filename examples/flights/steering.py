"""Carries the story's steps out through the admin API as event time passes.

Enters: the steps and the day the replay has reached. Leaves: accepted plan changes. Never decides what comes next.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import httpx
import msgspec

from contracts.plan import Plan
from contracts.wire import decode, encode
from examples.flights.replay import ReplayFailed
from examples.flights.story import Step
from examples.flights.versions import MODEL

WHO: Final = "pointsman demo"
FOLLOW_MS_MAX: Final = 30_000.0
"""How long a change may take to reach the workers; the first of a version loads it."""


class Done(msgspec.Struct, frozen=True):
    """A step that was carried out, the plan's revision after it, and how fast the workers followed: `1/1 in 34 ms`."""

    words: str
    reason: str
    revision: int
    converged: str

    @property
    def line(self) -> str:
        """The step as one line."""
        return f"{self.words}: {self.reason} (revision {self.revision}, {self.converged})"


class Steering:
    """`done` lists the steps so far, for whoever watches; `evidence` is what is known of the versions at the moment, and
    goes into the plan's history with the reason.
    """

    def __init__(self, story: Sequence[Step], admin: httpx.AsyncClient, evidence: Callable[[], str]) -> None:
        self._left = deque(story)
        self._admin = admin
        self._evidence = evidence
        self.done: list[Done] = []

    async def salt(self, salt: str) -> None:
        """Give the plan a salt that is known, so that the same seed sends the same aircraft to the same variant."""
        url = f"/admin/models/{MODEL}/plan"
        found = await self._admin.get(url)
        wanted = msgspec.structs.replace(decode(Plan, found.content), salt=salt)
        headers = {"if-match": found.headers["etag"], "x-pointsman-actor": WHO}
        reason: dict[str, str | float] = {
            "reason": "a known salt, so that the demo can be repeated",
            "wait_ms": FOLLOW_MS_MAX,
        }
        response = await self._admin.put(url, content=encode(wanted), headers=headers, params=reason)
        _moved("put a known salt", response)

    async def arrived_at(self, event_us: int) -> None:
        """Carry out every step that is due; raises `ReplayFailed` where one is refused."""
        while self._left and self._left[0].at_us <= event_us:
            self.done.append(await self._carry_out(self._left.popleft()))

    async def _carry_out(self, step: Step) -> Done:
        reason = "; ".join(words for words in (step.reason, self._evidence()) if words)
        body = {**step.body, "who": WHO, "reason": reason, "wait_ms": FOLLOW_MS_MAX}
        moved = _moved(step.words, await self._admin.post(f"/admin/models/{MODEL}/{step.verb}", json=body))
        return Done(step.words, reason, moved["plan"]["revision"], moved["converged"])


def _moved(words: str, response: httpx.Response) -> dict[str, Any]:
    if response.status_code != httpx.codes.OK:
        raise ReplayFailed(f"{words}: refused with {response.status_code}: {response.text[:500]}")
    moved: dict[str, Any] = response.json()
    if moved["errors"]:
        raise ReplayFailed(f"{words}: workers stay behind: {moved['errors']}")
    return moved
