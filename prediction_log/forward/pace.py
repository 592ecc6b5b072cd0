"""How much goes into one shipment: little at first, more while Kafka is quick, much less after it was not.

Enters: how shipments fared. Leaves: the size of the next one. Pure. A link of a few kilobytes a second still gets
something through within the time a shipment has; a fast one is at full size after four shipments.
"""

from typing import Final

BYTES_MIN: Final = 32 * 2**10
BYTES_START: Final = 256 * 2**10
BYTES_MAX: Final = 4 * 2**20
QUICK_SECONDS: Final = 1.0


class Pace:
    """`bytes` of payloads for one shipment."""

    def __init__(self) -> None:
        self.bytes = BYTES_START

    def acknowledged(self, seconds: float) -> None:
        """A shipment took so long."""
        if seconds < QUICK_SECONDS:
            self.bytes = min(self.bytes * 2, BYTES_MAX)

    def stalled(self) -> None:
        """A shipment was given up."""
        self.bytes = max(self.bytes // 8, BYTES_MIN)
