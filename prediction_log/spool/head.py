"""The first bytes of a segment on disk: its header, its witness, and whether it is in use at all."""

import os
from pathlib import Path
from typing import NamedTuple

from prediction_log.spool.segment import DATA_START, Header, Witness, decode_header, decode_witness


class Head(NamedTuple):
    """Header and witness, None where they are damaged or of another log; `whole` where nothing is, both slots included."""

    header: Header | None
    witness: Witness | None
    whole: bool


def read_head(fd: int, log_id: str, seed: int) -> Head:
    """The head of an open segment. Raises CorruptLog where its format is unknown."""
    data = os.pread(fd, DATA_START, 0)
    header = decode_header(data)
    if header is not None and header.log_id.hex() != log_id:
        header = None
    witness, whole = decode_witness(data, seed)
    return Head(header, witness, whole and header is not None)


def is_in_use(path: Path, seed: int) -> bool:
    """Whether a segment holds anything yet: the next one is made long before it is needed."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        witness, _ = decode_witness(os.pread(fd, DATA_START, 0), seed)
        return witness is None or witness.seq > 0 or any(os.pread(fd, 4, DATA_START))
    finally:
        os.close(fd)
