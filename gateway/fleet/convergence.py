"""How far the workers are with a revision: waits, with an end, until every living one has applied it.

Enters: what the workers of the fleet say. Leaves: who is where, and how long it took. Never changes a plan.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.fleet.seam import Fleet
from gateway.fleet.worker_status import WorkerStatus

LOOK_AGAIN_SECONDS = 0.004


class Convergence(NamedTuple):
    """`applied` maps each living worker to its revision, None where it has none; `errors` says why one stays behind,
    `missing` why there may be workers that are not known, `silent` who is not heard any more.
    """

    revision: int
    applied: dict[str, int | None]
    errors: dict[str, str]
    waited_ms: float
    missing: str = ""
    silent: tuple[str, ...] = ()

    @property
    def following(self) -> int:
        """How many workers route by this revision or a later one."""
        return sum(revision is not None and revision >= self.revision for revision in self.applied.values())

    @property
    def complete(self) -> bool:
        """Whether every living worker does; without any worker, or with unknown ones, nothing is proven."""
        return bool(self.applied) and not self.missing and self.following == len(self.applied)

    def __str__(self) -> str:
        if not self.applied and not self.missing:
            return "0/0: no worker runs; the plan applies when one starts"
        text = f"{self.following}/{len(self.applied)} in {self.waited_ms:.0f} ms"
        if self.silent:
            text = f"{text}; {len(self.silent)} silent"
        return text if self.complete else f"{text}, not all"


def convergence(statuses: Sequence[WorkerStatus], model: str, revision: int, waited_ms: float = 0.0) -> Convergence:
    """Who is where, from the statuses of the living workers."""
    return Convergence(
        revision,
        {status.name: status.applied.get(model) for status in statuses},
        {status.name: status.errors[model] for status in statuses if model in status.errors},
        waited_ms,
    )


async def await_convergence(
    fleet: Fleet, model: str, revision: int, wait_ms: float, mono_ns: Callable[[], int]
) -> Convergence:
    """Look until every living worker has applied the revision, at most `wait_ms`; no worker at all ends it at once."""
    began = mono_ns()
    while True:
        waited_ms = (mono_ns() - began) / 1e6
        known = await fleet.workers()
        seen = convergence(known.workers, model, revision, waited_ms)._replace(
            missing=known.missing, silent=known.silent
        )
        if seen.complete or (not seen.applied and not seen.missing) or waited_ms >= wait_ms:
            return seen
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
