"""The error tree -> HTTP: the one table that knows status codes.

Enters: an error of the tree. Leaves: the status, the headers, and the body `{"error": ...}` that every client reads.
"""

from types import MappingProxyType
from typing import Final

import msgspec

from contracts.errors import (
    CallerGone,
    Conflict,
    CorruptLog,
    DeadlineExceeded,
    InvalidInput,
    InvalidSettings,
    ModelFailed,
    ModelRejected,
    NotFound,
    PointsmanError,
    QuotaExceeded,
    Unavailable,
)
from gateway.edge.reply import Reply

STATUS_OF: Final = MappingProxyType(
    {
        InvalidInput: 400,
        NotFound: 404,
        Conflict: 409,
        CallerGone: 499,
        ModelRejected: 422,
        QuotaExceeded: 429,
        ModelFailed: 500,
        CorruptLog: 500,
        InvalidSettings: 500,
        PointsmanError: 500,
        Unavailable: 503,
        DeadlineExceeded: 504,
    }
)

RETRY_AFTER: Final = ((b"retry-after", b"1"),)
RETRIED: Final = frozenset({429, 503})
"""Where the same request may succeed a little later."""


def status_of(error: PointsmanError) -> int:
    """The status of an error: its own, or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        if issubclass(kind, PointsmanError) and kind in STATUS_OF:
            return STATUS_OF[kind]
    raise AssertionError("the root of the tree is in the table")


def error_reply(status: int, message: str) -> Reply:
    """A refusal in the shape that OIP clients read; 429 and 503 say when to come back."""
    return Reply(status, msgspec.json.encode({"error": message}), RETRY_AFTER if status in RETRIED else ())
