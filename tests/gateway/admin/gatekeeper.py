"""Records gates between versions of the registry, by HTTP, as the command does that ran them."""

from contracts.wire import encode
from tests.gateway.gate_results import gate_result


class Gatekeeper:
    """Records at a desk, each gate with a number of its own."""

    def __init__(self, desk, model):
        self._desk = desk
        self._model = model
        self._numbers = iter(range(1, 10**6))

    async def record(self, candidate, baseline, outcome="pass", /, **changes):
        """The reply to a gate of one version against another, or against none."""
        between = {
            "candidate": await self._desk.ref(candidate),
            "baseline": None if baseline is None else await self._desk.ref(baseline),
        }
        result = gate_result(next(self._numbers), outcome, model=self._model, **between | changes)
        return await self._desk.post(f"/admin/models/{self._model}/gates", encode(result))
