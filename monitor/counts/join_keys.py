"""The keys of the join store: where each thing stands, in an order in which it is found again.

Enters: ids, numbers, times. Leaves: bytes that sort as the store needs them, and their parts again. No I/O.

    b id row             the labels of one row of one id
    q pane tick          the records that came in one tick and were received in one pane: what there is to forget, by time
    r id log seq         a prediction's join record
    s event record       a record to be forgotten as soon as its event is past the horizon too
    w since ballot       a row that has labels and no prediction yet

No id's key is the start of another's: a UUIDv7 has 16 bytes, any other text ends with a byte that no text holds.
"""

from collections.abc import Iterable, Sequence
from itertools import starmap
from struct import Struct
from typing import Final

import numpy as np

from monitor.counts.join_record import TEXT, JoinRecord

BALLOT: Final = b"b"
QUEUE: Final = b"q"
RECORD: Final = b"r"
HELD: Final = b"s"
WAITING: Final = b"w"

_PLACE: Final = Struct(">IQ")
_ID: Final = np.dtype("V16")
_RECORD_KEY: Final = np.dtype([("kind", "S1"), ("id", _ID), ("log", ">u4"), ("seq", ">u8")])
_ROW: Final = Struct(">I")
_TIME: Final = Struct(">Q")
_QUEUED: Final = Struct(">QQ")
_SIGN: Final = 2**63


def record_prefix(key: bytes) -> bytes:
    """What the records of an id begin with."""
    return b"r%b" % key if key[0] != TEXT else b"r%b\xff" % key


def ballot_prefix(key: bytes) -> bytes:
    """What the ballots of an id begin with."""
    return b"b%b" % key if key[0] != TEXT else b"b%b\xff" % key


def record_keys(records: Sequence[JoinRecord]) -> list[bytes]:
    """The key of each record; where all ids are UUIDv7s, which is always, all at once."""
    ids, logs, seqs = [one.id for one in records], [one.log for one in records], [one.seq for one in records]
    joined = b"".join(ids)
    if set(map(len, ids)) == {_ID.itemsize} and TEXT not in joined[:: _ID.itemsize]:
        keys = np.empty(len(ids), _RECORD_KEY)
        keys["kind"], keys["id"], keys["log"], keys["seq"] = RECORD, np.frombuffer(joined, _ID), logs, seqs
        packed, size = keys.tobytes(), keys.itemsize
        return [packed[at : at + size] for at in range(0, len(packed), size)]
    pack = _PLACE.pack
    return [record_prefix(key) + pack(log, seq) for key, log, seq in zip(ids, logs, seqs, strict=True)]


def place_of(record: bytes) -> tuple[bytes, int, int]:
    """(id, log, seq) of a record."""
    log, seq = _PLACE.unpack_from(record, len(record) - _PLACE.size)
    return _id(record[1 : -_PLACE.size]), log, seq


def ballot_keys(rows: Iterable[tuple[bytes, int]]) -> list[bytes]:
    """The key of each (id, row)."""
    return list(starmap(ballot_key, rows))


def ballot_key(key: bytes, row: int) -> bytes:
    """The key of the labels of one row."""
    return ballot_prefix(key) + _ROW.pack(row)


def row_of(ballot: bytes) -> tuple[bytes, int]:
    """(id, row) of a ballot."""
    return _id(ballot[1 : -_ROW.size]), int.from_bytes(ballot[-_ROW.size :], "big")


def queue_key(pane: int, tick: int) -> bytes:
    """The key of what came in one tick and was received in one pane."""
    return QUEUE + _QUEUED.pack(pane, tick)


def pane_of_queued(queued: bytes) -> int:
    """The pane in which these were received."""
    pane: int = _QUEUED.unpack(queued[1:])[0]
    return pane


def held_key(event_us: int, record: bytes) -> bytes:
    """The key of a record that waits for its event to be old enough."""
    return HELD + _TIME.pack(event_us) + record


def record_of_held(held: bytes) -> tuple[int, bytes]:
    """(event time, record key) of one that is held."""
    return _TIME.unpack_from(held, 1)[0], held[1 + _TIME.size :]


def waiting_key(since_us: int, ballot: bytes) -> bytes:
    """The key of a row that waits, by since when, which may be any 64-bit number."""
    return WAITING + _TIME.pack(since_us + _SIGN) + ballot


def ballot_of_waiting(waiting: bytes) -> tuple[int, bytes]:
    """(since when, ballot key) of a row that waits."""
    return _TIME.unpack_from(waiting, 1)[0] - _SIGN, waiting[1 + _TIME.size :]


def _id(key: bytes) -> bytes:
    return key if key[0] != TEXT else key[:-1]
