"""Moments in time as text: RFC 3339 with an offset <-> microseconds since the epoch, UTC."""

from datetime import UTC, datetime, timedelta
from typing import Final

from contracts.errors import InvalidInput

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


def parse_moment(field: str, text: str) -> int:
    """Microseconds since the epoch; `InvalidInput` names the field where the text is no RFC 3339 moment with an offset.

    >>> parse_moment("event_time", "1970-01-01T00:00:01Z")
    1000000
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"{field}: {text[:64]!r} is not RFC 3339; write it like 2013-04-01T12:00:00Z") from None
    if moment.tzinfo is None or len(text) < len("2013-04-01T12:00:00Z") or text[10] not in "Tt ":
        raise InvalidInput(f"{field}: {text[:64]!r} names no moment with an offset; write it like 2013-04-01T12:00:00Z")
    return (moment - EPOCH) // MICROSECOND


def format_moment(moment_us: int) -> str:
    """RFC 3339 in UTC, with microseconds only where there are some.

    >>> format_moment(1000000)
    '1970-01-01T00:00:01Z'
    """
    return (EPOCH + moment_us * MICROSECOND).isoformat().replace("+00:00", "Z")
