"""The words of the exchange: what goes in comes out, names cannot be confused, and nothing grows beyond a message."""

import json
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import InvalidRecord
from monitor.fleet.exchange import (
    CELLS_MAX,
    NAMES,
    PIECE_CHARS,
    Message,
    checksum_of,
    content_messages,
    counts_messages,
    hash_of,
    key_of,
    name_of,
    read_content,
    read_counts,
)

names = st.text(max_size=20)


@given(st.sampled_from(sorted(NAMES)), st.integers(0, 255), st.data(), st.integers(0, 2**53), st.integers(0, 9))
def test_a_key_says_exactly_what_it_was_made_of(kind, p, data, start_us, piece):
    given_names = tuple(data.draw(names) for _ in range(NAMES[kind]))
    start_us = start_us if kind in {"pane", "day"} else 0

    read = name_of(key_of(p, kind, given_names, start_us, piece))

    assert (read.p, read.kind, read.names, read.start_us, read.piece) == (p, kind, given_names, start_us, piece)


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"null",
        b"[]",
        b"[1]",
        b'[1,"pane"]',
        b'["1","marker",0]',
        b'[1,"other",0]',
        b'[1,"marker",-1]',
        b'[1,"marker",0,0]',
        b'[1,"log",3,0]',
        b'[1,"log","a"]',
        b"\xff",
        b"[" * 5000,
    ],
)
def test_a_key_that_is_not_ours_is_nobodys(key):
    assert name_of(key) is None


cells_and_counts = st.dictionaries(st.integers(0, 3 * CELLS_MAX - 1), st.integers(-(2**62), 2**62), max_size=30)


@given(cells_and_counts)
def test_counts_come_back_whatever_piece_they_are_in(vector):
    cells = np.array(sorted(vector), np.int64)
    counts = np.array([vector[cell] for cell in sorted(vector)], np.int64)

    messages = list(counts_messages(0, "pane", ("m",) * 6, 0, "r", (cells, counts), 3 * CELLS_MAX))

    assert [name_of(message.key).piece for message in messages] == [0, 1, 2]
    read = {}
    for message in messages:
        if message.value is not None:
            own_cells, own_counts = read_counts(message.value)
            read |= dict(zip(own_cells.tolist(), own_counts.tolist(), strict=True))
    assert read == vector


def test_any_program_can_read_counts():
    cells, counts = np.array([3, 8]), np.array([5, -1])

    (message,) = counts_messages(
        7, "day", ("m", "1", "d", "f", "champion", "all"), 86_400_000_000, "r1", (cells, counts), 9
    )

    assert json.loads(message.key) == [7, "day", "m", "1", "d", "f", "champion", "all", 86_400_000_000, 0]
    assert json.loads(message.value) == {"reference_hash": "r1", "cells": [3, 8], "counts": [5, -1]}


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b"[]",
        b'{"reference_hash":"","cells":[1],"counts":[]}',
        b'{"reference_hash":"","cells":[2,1],"counts":[1,1]}',
        b'{"reference_hash":"","cells":[1,1],"counts":[1,1]}',
        b'{"reference_hash":"","cells":[-1],"counts":[1]}',
        b'{"reference_hash":"","cells":[1],"counts":[9223372036854775808]}',
        b'{"reference_hash":"","cells":[1],"counts":[1.5]}',
        b"\xff",
    ],
)
def test_counts_that_are_none_are_refused(value):
    with pytest.raises(InvalidRecord):
        read_counts(value)


def test_the_fullest_message_fits_into_what_a_broker_takes_by_default():
    cells = np.arange(CELLS_MAX) + 10**7 - 10**7 % CELLS_MAX
    counts = np.full(CELLS_MAX, -(2**63))

    messages = [
        message
        for message in counts_messages(0, "pane", ("n" * 300,) * 6, 2**53, "r" * 64, (cells, counts), 10**7 + CELLS_MAX)
        if message.value is not None
    ]

    assert max(len(message.key) + len(message.value) for message in messages) < 900_000


@pytest.mark.parametrize("size", [0, 10, PIECE_CHARS, PIECE_CHARS + 1, 5 * PIECE_CHARS])
def test_a_long_content_goes_in_pieces_and_comes_back(size):
    content = json.dumps({"text": 'ä"\\€' * (size // 4)}, ensure_ascii=False).encode()

    messages = content_messages(1, "log", ("a",), content)
    values = {name_of(message.key).piece: message.value for message in messages}

    assert read_content(values) == content
    assert max(map(len, values.values())) < 900_000
    stale = {len(values): b'{"pieces":99,"text":"older"}'}
    assert read_content(values | stale) == content, "pieces of a longer, older content are left over and mean nothing"


def test_a_content_without_one_of_its_pieces_is_refused():
    messages = content_messages(1, "log", ("a",), b'"' + b"x" * 3 * PIECE_CHARS + b'"')
    values = {piece: message.value for piece, message in enumerate(messages)}

    for piece in values:
        with pytest.raises(InvalidRecord):
            read_content({other: value for other, value in values.items() if other != piece})


def test_a_checksum_knows_no_order_and_misses_nothing():
    messages = [Message(b"key%d" % i, b"value%d" % (i % 7)) for i in range(100)]
    hashes = [hash_of(message) for message in messages]
    shuffled = random.Random(1).sample(hashes, 100)

    assert checksum_of(shuffled) == checksum_of(hashes)
    assert checksum_of(hashes[1:]) != checksum_of(hashes)
    assert hash_of(Message(b"ab", b"c")) != hash_of(Message(b"a", b"bc")), "the border of key and value counts"
    assert hash_of(Message(b"a", None)) == 0
