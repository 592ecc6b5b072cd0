"""Query parameters -> a question about the summaries; every rejection names the parameter and the value.

Enters: the pairs of a query string. Leaves: a `Question`, or `InvalidInput`. Never asks anything itself.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from contracts.errors import InvalidInput
from contracts.moment import parse_moment
from monitor.counts.panes import ALL

BUCKETS_US: Final = MappingProxyType(
    {
        "5m": 300_000_000,
        "1h": 3_600_000_000,
        "1d": 86_400_000_000,
        "7d": 7 * 86_400_000_000,
    }
)
NAMES: Final = ("model", "version", "variant", "slice", "feature", "statistic")
PARAMETERS: Final = (*NAMES, "from", "to", "bucket")


class Question(NamedTuple):
    """Which rows are wanted. A name that is null matches everything; an empty `slice` means all traffic. Times are
    microseconds since the epoch, [from, to); null is open. With `bucket_us` there is one row per bucket of event time.
    """

    model: str | None = None
    version: str | None = None
    variant: str | None = None
    slice: str | None = None
    feature: str | None = None
    statistic: str | None = None
    from_us: int | None = None
    to_us: int | None = None
    bucket_us: int | None = None


def question_of(pairs: Iterable[tuple[str, str]], allowed: Sequence[str] = PARAMETERS) -> Question:
    """The question that these query parameters ask; the slice `all` is the empty one.

    Raises InvalidInput where a parameter is not allowed, repeated or malformed.
    """
    given: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            raise InvalidInput(f"parameter {name!r} is unknown; there are {', '.join(allowed)}")
        if name in given:
            raise InvalidInput(f"parameter {name!r} is given twice; give it once")
        given[name] = value
    from_us, to_us = _instant(given, "from"), _instant(given, "to")
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise InvalidInput(f"from {given['from']} is not before to {given['to']}")
    names = {name: given.get(name) for name in NAMES}
    names["slice"] = "" if names["slice"] == ALL else names["slice"]
    return Question(**names, from_us=from_us, to_us=to_us, bucket_us=_bucket(given.get("bucket")))


def _instant(given: dict[str, str], name: str) -> int | None:
    return parse_moment(name, given[name]) if name in given else None


def _bucket(name: str | None) -> int | None:
    if name is None:
        return None
    if name not in BUCKETS_US:
        raise InvalidInput(f"parameter 'bucket': {name!r} is none of {', '.join(BUCKETS_US)}")
    return BUCKETS_US[name]
