"""Where gate results are kept: in the plan store for whoever moves traffic, in the prediction log for the audit.

Enters: a result as `pointsman gate` made it. Leaves: it is stored and logged, or refused with the reason. Never runs a gate:
the result is taken at its word, as the name of who asks is; what it is bound to is the digests in it.
"""

import logging
from collections.abc import Awaitable, Callable

from contracts.errors import Conflict, InvalidInput, LogUnavailable, StoreUnavailable
from contracts.gate import GateResult
from contracts.moment import format_moment
from gateway.plan_store.store import GATES_MAX, PlanStore
from gateway.traffic.gating import other_than_pinned

AuditGate = Callable[[GateResult], Awaitable[None]]

_LOG = logging.getLogger("pointsman.admin")


class GateBook:
    """The gate results of all models of one store. `audit` appends a kept result to the prediction log. Which kept results
    are missing there is known of the last GATES_MAX, until the process ends.
    """

    def __init__(self, store: PlanStore, audit: AuditGate) -> None:
        self._store = store
        self._audit = audit
        self._unlogged: dict[str, None] = {}

    async def keep(self, model: str, result: GateResult) -> tuple[str, ...]:
        """Keep a result; warnings: that it counts for nothing, that its audit record is missing from the log.

        The same result again changes nothing, but that what is missing from the log comes there. Raises `InvalidInput` where
        it is of another model or of no time, `Conflict` where its id stands for another result.
        """
        if result.model != model:
            raise InvalidInput(f"the gate is of model {result.model!r}, not of {model!r}")
        _check_time(result.evaluated_us)
        plan = await self._store.read(model)
        useless = other_than_pinned(plan, result) if plan is not None else ""
        warnings = (useless,) if useless else ()
        for kept in await self._store.gates(model, GATES_MAX):
            if kept.gate_id == result.gate_id:
                if kept != result:
                    raise Conflict(
                        f"gate {result.gate_id} of {model!r} is kept with another content: run the gate anew"
                    )
                return (*warnings, *await self._logged(result)) if result.gate_id in self._unlogged else warnings
        try:
            await self._store.keep_gate(result)
        except StoreUnavailable:
            self._miss(result.gate_id)  # it may be kept all the same, and whoever asks again would find it so
            raise
        return (*warnings, *await self._logged(result))

    async def gates(self, model: str, limit: int) -> list[GateResult]:
        """The last evaluated first."""
        return await self._store.gates(model, limit)

    async def _logged(self, result: GateResult) -> tuple[str, ...]:
        """Log a kept result; the warning where that fails."""
        try:
            await self._audit(result)
        except LogUnavailable as error:
            _LOG.exception("the audit record of gate %s of %s is not in the log", result.gate_id, result.model)
            self._miss(result.gate_id)
            return (f"the gate is kept, but missing from the log: {error}",)
        self._unlogged.pop(result.gate_id, None)
        return ()

    def _miss(self, gate_id: str) -> None:
        self._unlogged[gate_id] = None
        while len(self._unlogged) > GATES_MAX:
            del self._unlogged[next(iter(self._unlogged))]


def _check_time(at_us: int) -> None:
    """Who reads a kept result shows its time: one beyond the calendar would break every list and card that it stands in."""
    try:
        format_moment(at_us)
    except OverflowError:
        raise InvalidInput(f"evaluated_us: {at_us} is no time in microseconds since the epoch") from None
