"""Where gate results are kept: in the plan store for whoever moves traffic, in the prediction log for the audit.

Enters: a result as `pointsman gate` made it. Leaves: it is stored and logged, or refused with the reason. Never runs a gate:
the result is taken at its word, as the name of who asks is; what it is bound to is the digests in it.
"""

import logging
from collections.abc import Awaitable, Callable

from contracts.errors import Conflict, InvalidInput, LogUnavailable
from contracts.gate import GateResult
from gateway.plan_store.store import GATES_MAX, PlanStore
from gateway.traffic.gating import other_than_pinned

AuditGate = Callable[[GateResult], Awaitable[None]]

_LOG = logging.getLogger("pointsman.admin")


class GateBook:
    """The gate results of all models of one store. `audit` appends a kept result to the prediction log."""

    def __init__(self, store: PlanStore, audit: AuditGate) -> None:
        self._store = store
        self._audit = audit

    async def keep(self, model: str, result: GateResult) -> tuple[str, ...]:
        """Keep a result; warnings: that it counts for nothing, that its audit record is missing from the log.

        The same result again changes nothing. Raises `InvalidInput` where it is of another model, `Conflict` where its id
        stands for another result.
        """
        if result.model != model:
            raise InvalidInput(f"the gate is of model {result.model!r}, not of {model!r}")
        plan = await self._store.read(model)
        useless = other_than_pinned(plan, result) if plan is not None else ""
        warnings = (useless,) if useless else ()
        for kept in await self._store.gates(model, GATES_MAX):
            if kept.gate_id == result.gate_id:
                if kept != result:
                    raise Conflict(
                        f"gate {result.gate_id} of {model!r} is kept with another content: run the gate anew"
                    )
                return warnings
        await self._store.keep_gate(result)
        try:
            await self._audit(result)
        except LogUnavailable as error:
            _LOG.exception("the audit record of gate %s of %s is not in the log", result.gate_id, model)
            return (*warnings, f"the gate is kept, but missing from the log: {error}")
        return warnings

    async def gates(self, model: str, limit: int) -> list[GateResult]:
        """The last evaluated first."""
        return await self._store.gates(model, limit)
