"""The words in which monitor workers tell each other their counts: messages of the compacted topic of summaries.

Enters: what one partition number has counted, under its names. Leaves: messages, and the same back from them. Pure.

Partition p of the topic holds what partition p of predictions and of labels adds up to. A message's key is a JSON list; the
last value of a key counts, and a null takes it back. Counts are cumulative: adding up `counts` over all p gives the total.

    [p, "pane", model, version, digest, fingerprint, variant, slice, start_us, piece]
                                          {"reference_hash": ..., "cells": [...], "counts": [...]}     five minutes
    [p, "day", ... the same ...]          the same, of whole days whose panes are no longer kept
    [p, "generation", model, version, digest, fingerprint, piece]
                                          {"definition": ..., "sections": {name: [first cell, cells]}}
    [p, "group", model, version, digest, fingerprint, variant, piece]
                                          {"met_us": ..., "met": ...}                        which came first
    [p, "log", log_id, piece]             {"seen": [[first, last], ...]}                     which seqs are counted
    [p, "counter", name, model, version, detail, piece]     {"value": ...}
    [p, "finding", hash, piece]           what was found damaged, see `prediction_log.finding`
    [p, "switch", number, piece]          see `state_export.Switch`
    [p, "marker", piece]                  `Mark`: how far that is, and a checksum over all the others of this p

The values of all but panes and days stand in `{"content": ...}`. Every publication is one transaction and ends with its
marker. Bounds: a message holds `CELLS_MAX` cells or `PIECE_CHARS` characters of content; what is longer goes in pieces.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import xxhash

from contracts.errors import InvalidRecord
from monitor.counts.columns import Ints
from monitor.counts.generation import Generation
from monitor.counts.state import Progress

PANE: Final = "pane"
DAY: Final = "day"
MARKER: Final = "marker"
NAMES: Final = MappingProxyType(
    {PANE: 6, DAY: 6, "generation": 4, "group": 5, "log": 1, "counter": 4, "finding": 1, "switch": 1, MARKER: 0}
)
"""How many names stand in a key of each kind."""
CELLS_MAX: Final = 16_384
PIECE_CHARS: Final = 131_072
CHECKSUM_MODULUS: Final = 2**64


class Message(NamedTuple):
    """One message; a null value takes back what stood under the key."""

    key: bytes
    value: bytes | None


class Name(NamedTuple):
    """A key, read. `start_us` is 0 but for panes and days."""

    p: int
    kind: str
    names: tuple[str, ...]
    start_us: int
    piece: int


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What closes a publication. `lineage` and `progress.tick` name the state that was published; `positions` is JSON text
    by topic; `checksum` is of all `rows` other live messages of this partition, in hex; `owner` says who published, when.
    """

    lineage: str
    progress: Progress
    positions: dict[str, str]
    rows: int
    checksum: str
    owner: str
    published_us: int


class Met(msgspec.Struct, frozen=True):
    """When a group was first met: stream time, and its place among those of its partition."""

    met_us: int
    met: int


class _Counts(msgspec.Struct, frozen=True):
    reference_hash: str
    cells: list[int]
    counts: list[int]


class _Content(msgspec.Struct, frozen=True):
    content: msgspec.Raw


class _Piece(msgspec.Struct, frozen=True):
    pieces: int
    text: str


_read_key = msgspec.json.Decoder(list[str | int]).decode
_read_counts = msgspec.json.Decoder(_Counts).decode
_read_content = msgspec.json.Decoder(_Content).decode
_read_piece = msgspec.json.Decoder(_Piece).decode
_encode = msgspec.json.Encoder().encode


def key_of(p: int, kind: str, names: Sequence[str], start_us: int = 0, piece: int = 0) -> bytes:
    """The key under which something is told."""
    assert len(names) == NAMES[kind], (kind, names)
    return _encode([p, kind, *names, *([start_us] if kind in {PANE, DAY} else []), piece])


def name_of(key: bytes | None) -> Name | None:
    """The key, read; null where it is none of ours: of a later version, or somebody else's."""
    try:
        p, kind, *rest = _read_key(key or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    if not isinstance(p, int) or not isinstance(kind, str) or kind not in NAMES:
        return None
    count = NAMES[kind]
    names, numbers = tuple(rest[:count]), rest[count:]
    own = len(numbers) == (2 if kind in {PANE, DAY} else 1)
    if not own or len(names) < count or not all(isinstance(name, str) for name in names):
        return None
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return None
    start_us = int(numbers[0]) if len(numbers) > 1 else 0
    return Name(p, kind, tuple(map(str, names)), start_us, int(numbers[-1]))


def counts_messages(
    p: int, kind: str, names: Sequence[str], start_us: int, reference_hash: str, vector: tuple[Ints, Ints], size: int
) -> Iterator[Message]:
    """One bucket's cells, ascending, with their counts, in as many messages as a vector of this size may need; a piece
    without any cell is null, for there may have been some.
    """
    cells, counts = vector
    for piece in range(-(-size // CELLS_MAX)):
        low, high = np.searchsorted(cells, [piece * CELLS_MAX, (piece + 1) * CELLS_MAX])
        value = _encode(_Counts(reference_hash, cells[low:high].tolist(), counts[low:high].tolist()))
        yield Message(key_of(p, kind, names, start_us, piece), value if high > low else None)


def read_counts(value: bytes) -> tuple[Ints, Ints]:
    """The cells, ascending, and their counts. Raises InvalidRecord."""
    try:
        read = _read_counts(value)
        cells, counts = np.array(read.cells, np.int64), np.array(read.counts, np.int64)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
        raise InvalidRecord(f"not the counts of a summary: {error}") from None
    if len(cells) != len(counts) or (cells < 0).any() or (np.diff(cells) <= 0).any():
        raise InvalidRecord("not the counts of a summary: cells must ascend, and each has one count")
    return cells, counts


def content_messages(p: int, kind: str, names: Sequence[str], content: bytes) -> list[Message]:
    """A JSON document, in as many messages as it needs."""
    text = content.decode()
    if len(text) <= PIECE_CHARS:
        return [Message(key_of(p, kind, names), _encode(_Content(msgspec.Raw(content))))]
    parts = [text[start : start + PIECE_CHARS] for start in range(0, len(text), PIECE_CHARS)]
    return [
        Message(key_of(p, kind, names, piece=piece), _encode(_Piece(len(parts), part)))
        for piece, part in enumerate(parts)
    ]


def read_content(values: Mapping[int, bytes]) -> bytes:
    """The JSON document of a key from the values of its pieces, superfluous ones too. Raises InvalidRecord."""
    try:
        if values[0].startswith(b'{"content":'):
            return bytes(_read_content(values[0]).content)
        pieces = _read_piece(values[0]).pieces
        return "".join(_read_piece(values[piece]).text for piece in range(pieces)).encode()
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise InvalidRecord(f"not the content of a message: {type(error).__name__} {error}") from None


def generation_content(generation: Generation, definition: str) -> bytes:
    """How a version is counted, and where each section's cells stand, for whoever reads the counts without our code."""
    sections = {name: [section.start, section.size] for name, section in generation.layout.sections.items()}
    return _encode({"definition": msgspec.Raw(definition.encode()), "sections": sections})


def read_definition(content: bytes) -> bytes:
    """The definition, as it was: its hash is the fingerprint. Raises InvalidRecord."""
    try:
        return bytes(msgspec.json.decode(content, type=dict[str, msgspec.Raw])["definition"])
    except (msgspec.MsgspecError, KeyError) as error:
        raise InvalidRecord(f"not a generation: {type(error).__name__} {error}") from None


def fingerprint_of(definition: str) -> str:
    """The name of a definition."""
    return sha256(definition.encode()).hexdigest()


def finding_name(content: bytes) -> str:
    """The name of a finding."""
    return xxhash.xxh3_128_hexdigest(content)


def read_as(kind: Any, content: bytes) -> Any:
    """A content's value. Raises InvalidRecord."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRecord(f"not a {kind}: {error}") from None


def hash_of(message: Message) -> int:
    """What one live message adds to the checksum; null values add nothing."""
    if message.value is None:
        return 0
    hashed = xxhash.xxh3_64(len(message.key).to_bytes(4, "big"))
    hashed.update(message.key)
    hashed.update(message.value)
    return hashed.intdigest()


def checksum_of(hashes: Iterable[int]) -> int:
    """The checksum of live messages, in any order; sums of checksums are checksums."""
    return sum(hashes) % CHECKSUM_MODULUS


def checksum_text(checksum: int) -> str:
    """A checksum as the marker has it."""
    return f"{checksum % CHECKSUM_MODULUS:016x}"
