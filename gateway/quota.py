"""How many requests one client may send: no one takes what all are to share.

Enters: who asks and when. Leaves: nothing, or `QuotaExceeded` that says how long to wait. A token bucket a client, which
holds a second's worth, so that a client may send in bursts. Never looks into a request: it is refused before it is read.
Bound: `CLIENTS_MAX` buckets; then the one that was used longest ago is forgotten, which gives its client at most one bucket
more.
"""

import math
from typing import Final

from contracts.errors import QuotaExceeded

CLIENTS_MAX: Final = 10_000


class Quota:
    """`per_second` requests of each client, more than 0."""

    def __init__(self, per_second: float) -> None:
        self._per_ns = per_second / 1e9
        self._most = max(per_second, 1.0)
        self._buckets: dict[str, tuple[float, int]] = {}

    def take(self, client: str, now_ns: int) -> None:
        """Let one request in, or raise `QuotaExceeded`. `now_ns` is on a monotonic clock."""
        left, since_ns = self._buckets.pop(client, (self._most, now_ns))
        left = min(self._most, left + (now_ns - since_ns) * self._per_ns)
        if len(self._buckets) >= CLIENTS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[client] = (left if left < 1 else left - 1, now_ns)
        if left < 1:
            seconds = math.ceil((1 - left) / self._per_ns / 1e9 * 1000) / 1000
            rate = f"{self._per_ns * 1e9:g} requests a second (quota_requests_per_second)"
            raise QuotaExceeded(f"{client} may send {rate}: send the next in {seconds:g} s")
