"""The pause between two looks at the registry, cut short where somebody says that there is something to see.

Enters: how long to wait at most, and the fleet, whose processes pass the hint on. Leaves: when it is time to look. Never
looks at the registry itself, and believes nothing but that a hint came. A crowd of hints is one look a second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from contracts.errors import StoreUnavailable

LOOK_SECONDS: Final = 1.0


class HintedPause:
    """`hinted` tells the mark of the newest hint; another mark than last time is a hint. StoreUnavailable is none."""

    def __init__(
        self,
        hinted: Callable[[], Awaitable[str]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._hinted = hinted
        self._sleep = sleep
        self._seen: str | None = None

    async def __call__(self, seconds: float) -> None:
        """Return after so many seconds, or within about one of a hint, also of one that came since the last pause."""
        left = seconds
        while left > 0:
            step = min(left, LOOK_SECONDS)
            await self._sleep(step)
            left -= step
            if await self._has_news():
                return

    async def _has_news(self) -> bool:
        try:
            mark = await self._hinted()
        except StoreUnavailable:
            return False
        before, self._seen = self._seen, mark
        return before is not None and before != mark

    async def begin(self) -> None:
        """Take note of the newest hint before the first look: it is covered by that look."""
        await self._has_news()
