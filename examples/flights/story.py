"""What happens to the traffic on the way, and when in event time: a canary, a shadow, a shift, a promotion, a rollback.

Enters: how far event time has come. Leaves: verbs of the admin API, each with its reason. Never sends anything.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple


class Step(NamedTuple):
    """One change of the plan: `verb` and `body` are those of `POST /admin/models/{model}/<verb>`."""

    at_us: int
    verb: str
    body: dict[str, Any]
    reason: str

    @property
    def words(self) -> str:
        """The step as one line of the view."""
        moved = " ".join(str(value) for name, value in self.body.items() if name in {"version", "share", "name"})
        return f"{datetime.fromtimestamp(self.at_us / 1e6, UTC):%Y-%m-%d} {self.verb} {moved}".rstrip()


def _at(month: int) -> int:
    return round(datetime(2013, month, 1, tzinfo=UTC).timestamp()) * 10**6


STORY: Final = (
    Step(_at(4), "shadow", {"version": "3", "share": "100%"}, "ask it beside every answer, show it to nobody"),
    Step(_at(4), "canary", {"version": "2", "share": "10%"}, "a tenth of the aircraft"),
    Step(_at(7), "canary", {"version": "2", "share": "30%"}, "widen it"),
    Step(_at(9), "promote", {"name": "canary-2"}, "make it the champion"),
    Step(_at(11), "rollback", {}, "take the way back"),
)
