"""Asks the monitor for its summaries every now and then, and keeps the newest answer for whoever looks.

Enters: the monitor's address. Leaves: rows of statistics. Never computes any.
"""

import asyncio
from typing import Final

import httpx
import msgspec

from contracts.statistic import Statistic
from examples.flights.versions import MODEL

LOOK_EVERY_SECONDS: Final = 1.0


class _Answer(msgspec.Struct):
    rows: list[Statistic]


class Watch:
    """`rows` are the newest over all event time and all traffic; `problem` says why they are not newer, or is empty."""

    def __init__(self, monitor: httpx.AsyncClient) -> None:
        self._monitor = monitor
        self.rows: list[Statistic] = []
        self.problem = ""

    async def look(self) -> list[Statistic]:
        """Ask now; where the monitor cannot answer, the rows stay as they were."""
        try:
            response = await self._monitor.get("/summaries", params={"model": MODEL, "slice": ""})
            response.raise_for_status()
        except httpx.HTTPError as error:
            self.problem = f"the monitor: {error!r}"
        else:
            self.rows, self.problem = msgspec.json.decode(response.content, type=_Answer).rows, ""
        return self.rows

    async def keep_looking(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_SECONDS)
