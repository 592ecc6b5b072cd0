"""What a reader gives out: records, and how far it has come. Plain values that go into JSON; nothing here reads."""

from typing import NamedTuple

import msgspec

from prediction_log.spool.segment import DATA_START, Kind


class Entry(NamedTuple):
    """One committed record of the log `log_id`. `after` is the seq before it in the stream it was read from: of the seqs in
    between the stream holds none, so that whoever adds up (after, seq] sees what is missing; null is seq - 1, the whole
    log. `segment` is where it stands in the spool (0: it was not read from there).
    """

    log_id: str
    seq: int
    kind: Kind
    payload: bytes
    segment: int = 0
    after: int | None = None


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
