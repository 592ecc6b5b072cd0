"""What one forwarder process counts, and what is wrong just now.

Enters: events, as they happen. Leaves: counts, a state, and the last trouble for people. Never decides anything.
"""

import logging
from typing import Final

from prediction_log.forward.feed import Part
from prediction_log.forward.status import State

WAITING_SECONDS: Final = 5.0
"""Nothing acknowledged for so long, with something under way: Kafka is there, and does not take what we send."""


class Tally:
    """Counts since the process started; see `ForwarderStatus`. `stored` is what acknowledged records take in the spool,
    `unsaved` why a cursor is not on the disk: what Kafka acknowledges does not heal that.
    """

    def __init__(self) -> None:
        self.state: State = "connecting"
        self.trouble: str | None = None
        self.unsaved: str | None = None
        self.silent_seconds = 0.0
        self.sent = self.acked = self.bytes = self.stored = self.dead = self.rebuilds = self.repairs = self.removed = 0

    @property
    def visible_state(self) -> State:
        """The state as others see it."""
        if self.state == "forwarding" and self.silent_seconds > WAITING_SECONDS:
            return "waiting"
        return self.state

    @property
    def growth(self) -> float:
        """How many bytes of JSON a byte of records in the spool became."""
        return self.bytes / self.stored if self.stored else 1.0

    def acknowledged(self, part: Part) -> None:
        """Kafka has this part."""
        self.acked += part.records
        self.bytes += part.bytes
        self.stored += part.stored
        self.dead += part.dead

    def heard(self) -> None:
        """Kafka has all of a shipment: whatever was wrong with the sending is over."""
        if self.trouble is not None:
            logging.getLogger(__name__).info("forwarding again, after: %s", self.trouble)
            self.trouble = None

    def alarm(self, trouble: str) -> None:
        """Something keeps records from going out; told to people once, as long as it stays the same."""
        if trouble != self.trouble:
            self.trouble = trouble
            logging.getLogger(__name__).error("not forwarding: %s", trouble)

    def stored_cursors(self, trouble: str | None) -> None:
        """How the storing of cursors went, null where it went well; told once, likewise."""
        if trouble is not None and trouble != self.unsaved:
            logging.getLogger(__name__).error("%s", trouble)
        self.unsaved = trouble
