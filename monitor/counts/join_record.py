"""What a prediction leaves behind for its labels: enough to score it again, a few dozen bytes a row.

Enters: ids, and the parts of a record. Leaves: the same in the shape in which it is stored, and back. Never joins.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

HEAD: Final = struct.Struct("<Iqq")
"""Group, event time and time of receipt of a join record."""
HEAD_TYPE: Final = np.dtype([("group", "<u4"), ("event_us", "<i8"), ("received_us", "<i8")])
assert HEAD_TYPE.itemsize == HEAD.size
ROWS_MAX: Final = 65_536
"""Rows of one prediction that are counted; labels of rows beyond are invalid."""
ID_CHARS_MAX: Final = 256
TEXT: Final = 0xFF
"""The first byte of the key of an id that is no UUIDv7."""


class JoinRecord(NamedTuple):
    """What a prediction leaves behind for its labels, as it is stored: `body` is a `HEAD` and one `row_type` a row; no row
    where the prediction failed.
    """

    id: bytes
    log: int
    seq: int
    body: bytes


class Scorable(NamedTuple):
    """A join record, read."""

    log: int
    seq: int
    group: int
    event_us: int
    received_us: int
    rows: bytes


def scorable(record: JoinRecord) -> Scorable:
    """The record, read."""
    group, event_us, received_us = HEAD.unpack_from(record.body)
    return Scorable(record.log, record.seq, group, event_us, received_us, record.body[HEAD.size :])


def row_type(values: int) -> np.dtype[np.void]:
    """A row of a join record: the slices it is in, and its prediction."""
    return np.dtype([("mask", "<u8"), ("values", "<f8", (values,))])


def id_key(prediction_id: str) -> bytes:
    """The id as it is stored and sorted: the 16 bytes of a UUIDv7, so by time; any other text after all of these."""
    if len(prediction_id) == 36 and prediction_id[8:24:5] == "----" and prediction_id[14] == "7":
        try:
            key = bytes.fromhex(prediction_id.replace("-", ""))
        except ValueError:
            key = b""
        if len(key) == 16:
            return key
    return bytes([TEXT]) + prediction_id.encode()


def time_of(key: bytes) -> int | None:
    """The time in a UUIDv7, in microseconds; null for any other id."""
    return int.from_bytes(key[:6], "big") * 1000 if key[0] != TEXT else None


def id_keys(prediction_ids: Sequence[str]) -> list[bytes]:
    """`id_key` of each; where all are UUIDv7s, which is always, all at once."""
    text = "".join(prediction_ids)
    if len(text) == 36 * len(prediction_ids) and set(text[14::36]) <= {"7"} and set(map(len, prediction_ids)) <= {36}:
        try:
            keys = bytes.fromhex(text.replace("-", ""))
        except ValueError:
            keys = b""
        if len(keys) == 16 * len(prediction_ids) and all(set(text[at::36]) <= {"-"} for at in (8, 13, 18, 23)):
            return [keys[start : start + 16] for start in range(0, len(keys), 16)]
    return [id_key(prediction_id) for prediction_id in prediction_ids]
