"""What a reader gives out: records, and how far it has come. Plain values that go into JSON; nothing here reads."""

from typing import NamedTuple

import msgspec

from prediction_log.segment import DATA_START, Kind


class Entry(NamedTuple):
    """One committed record."""

    log_id: str
    seq: int
    kind: Kind
    payload: bytes


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far a log was read: everything up to `seq`. `offset` is a batch boundary of `segment` (0: none yet); `chain` is
    the hash chain there in hex and `previous` the link before it, empty where damage made them unknowable. `ended`:
    nothing will ever follow.
    """

    segment: int = 0
    offset: int = DATA_START
    seq: int = 0
    chain: str = ""
    previous: str = ""
    ended: bool = False
