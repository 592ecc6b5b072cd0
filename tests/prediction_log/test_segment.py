"""The format: what goes in comes out, and sizes that nobody wrote are not trusted."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import CorruptLog
from prediction_log.spool.scan import Batch, Seal, Stop, next_batch
from prediction_log.spool.segment import (
    BATCH_RECORDS_MAX,
    COMMIT_BYTES,
    DATA_START,
    FRAME_BYTES_MAX,
    FRAME_OVERHEAD,
    HEADER_BYTES,
    PAYLOAD_BYTES_MAX,
    SEAL_BYTES,
    Header,
    Kind,
    Witness,
    decode_frame,
    decode_header,
    decode_loss,
    decode_witness,
    encode_batch,
    encode_frame,
    encode_header,
    encode_seal,
    encode_witness,
    root_of,
    seed_of,
)

LOG_ID = bytes(range(16))
SEED = seed_of(LOG_ID)
KINDS = st.sampled_from([Kind.PREDICTION, Kind.LABEL, Kind.AUDIT])
BEGINNINGS = st.sampled_from([b"", b"one beginning", b"another beginning"])
RECORDS = st.lists(st.tuples(KINDS, BEGINNINGS, st.binary(max_size=300)), max_size=20)
U64 = st.integers(0, 2**64 - 1)


@given(RECORDS, st.integers(0, 10), st.integers(0, 10))
def test_a_batch_gives_back_its_records_and_names_what_was_refused(records, acknowledged, refused):
    handed_out = acknowledged + refused
    chain = root_of(LOG_ID)

    encoded = encode_batch(SEED, acknowledged, handed_out, 5, records, chain)
    found = next_batch(b"before" + encoded.data + bytes(100), 6, SEED)

    assert isinstance(found, Batch)
    told = [(seq, decode_loss(payload)) for seq, kind, payload in found.records if kind == Kind.LOSS]
    assert told == ([(handed_out, (acknowledged + 1, handed_out))] if refused else [])
    given_back = [(seq, kind, payload) for seq, kind, payload in found.records if kind != Kind.LOSS]
    assert given_back == [
        (handed_out + 1 + index, kind, shared + rest) for index, (kind, shared, rest) in enumerate(records)
    ]
    commit = found.commit
    assert (commit.first_seq, commit.last_seq) == (acknowledged + 1, handed_out + len(records))
    assert (encoded.first_seq, encoded.last_seq, encoded.chain) == (commit.first_seq, commit.last_seq, commit.chain)
    assert (commit.records, commit.previous, found.end) == (len(records), chain, 6 + len(encoded.data))


@given(RECORDS)
def test_every_proper_part_of_a_batch_is_short_and_none_is_clean(records):
    data = encode_batch(SEED, 0, 0, 5, records, root_of(LOG_ID)).data
    for cut in range(1, len(data)):
        assert next_batch(data[:cut], 0, SEED) is Stop.SHORT


@given(st.binary(max_size=300), U64, st.integers(0, 255))
def test_a_frame_passes_only_under_the_log_it_was_written_for(payload, seq, flags):
    data = encode_frame(SEED, seq, 5, Kind.LABEL, payload, flags)

    frame = decode_frame(data, 0, SEED)

    assert frame is not None
    assert frame[:4] == (seq, Kind.LABEL, flags, payload)
    assert len(data) == len(payload) + FRAME_OVERHEAD
    assert decode_frame(data, 0, seed_of(b"another log's id")) is None


def test_the_fixed_frames_have_the_sizes_the_format_says():
    assert len(encode_batch(SEED, 0, 0, 5, [], root_of(LOG_ID)).data) == COMMIT_BYTES
    assert len(encode_seal(SEED, 3, 5, root_of(LOG_ID), final=True)) == SEAL_BYTES
    assert len(encode_header(Header(LOG_ID, 1, 2, 3, 4, "power"))) == HEADER_BYTES
    assert len(encode_witness(Witness(1, 2), SEED)) * 2 + HEADER_BYTES == DATA_START
    assert PAYLOAD_BYTES_MAX + FRAME_OVERHEAD == FRAME_BYTES_MAX
    assert BATCH_RECORDS_MAX == 1024


@pytest.mark.parametrize("final", [False, True])
def test_a_seal_says_where_it_stands_and_whether_it_is_the_last(final):
    data = encode_seal(SEED, 7, 5, root_of(LOG_ID), final=final)

    assert next_batch(data, 0, SEED) == Seal(7, root_of(LOG_ID), final, SEAL_BYTES)


@pytest.mark.parametrize("size", [1, FRAME_OVERHEAD - 1, FRAME_BYTES_MAX + 1, 2**32 - 1])
def test_a_size_that_no_frame_can_have_is_bad_at_once(size):
    assert next_batch(struct.pack("<I", size) + bytes(100), 0, SEED) is Stop.BAD


def test_a_size_that_reaches_into_zeros_is_bad_where_the_zeros_are_seen():
    data = encode_frame(SEED, 1, 5, Kind.PREDICTION, b"{}") + bytes(100)

    assert next_batch(data, 0, SEED) is Stop.BAD
    assert next_batch(bytes(100), 0, SEED) is Stop.CLEAN


@given(st.binary(min_size=16, max_size=16), U64, st.integers(-(2**62), 2**62), st.integers(1, 2**31))
def test_a_header_comes_back_whole_or_not_at_all(log_id, boot, wall_us, number):
    header = Header(log_id, boot, wall_us, 5, number, "process")
    data = encode_header(header)

    assert decode_header(data) == header
    assert decode_header(data[:-1]) is None
    assert decode_header(bytes(HEADER_BYTES)) is None


def test_a_header_of_another_version_is_refused_with_both_versions():
    from zlib import crc32

    data = bytearray(encode_header(Header(LOG_ID, 1, 2, 3, 4, "power")))
    data[4] = 3
    data[-4:] = crc32(data[:-4]).to_bytes(4, "little")

    with pytest.raises(CorruptLog, match=r"version 3.*knows.*version 2"):
        decode_header(bytes(data))


def test_a_header_of_the_version_before_is_read():
    from zlib import crc32

    header = Header(LOG_ID, 1, 2, 3, 4, "power")
    data = bytearray(encode_header(header))
    data[4] = 1
    data[-4:] = crc32(data[:-4]).to_bytes(4, "little")

    assert decode_header(bytes(data)) == header


def test_what_records_share_is_written_once_a_batch():
    beginning = b"x" * 500
    alone = len(encode_batch(SEED, 0, 0, 5, [(1, beginning, b"a")], root_of(LOG_ID)).data)
    together = len(encode_batch(SEED, 0, 0, 5, [(1, beginning, b"a")] * 100, root_of(LOG_ID)).data)

    assert together - alone == 99 * (FRAME_OVERHEAD + 1)


def test_a_record_passes_only_behind_its_own_beginning():
    data = encode_batch(SEED, 0, 0, 5, [(1, b"its own", b" rest")], root_of(LOG_ID)).data
    start = len(b"its own") + FRAME_OVERHEAD

    assert decode_frame(data, start, SEED) is None
    assert decode_frame(data, start, SEED, [b"another", b""]) is None
    assert decode_frame(data, start, SEED, [b"another", b"its own"]).payload == b"its own rest"


def test_a_record_behind_a_beginning_that_its_batch_does_not_have_is_bad():
    data = bytearray(encode_batch(SEED, 0, 0, 5, [(1, b"", b"{}")], root_of(LOG_ID)).data)
    data[26:28] = (1).to_bytes(2, "little")

    assert next_batch(bytes(data), 0, SEED) is Stop.BAD


def test_of_two_witnesses_the_newer_whole_one_counts():
    older, newer = encode_witness(Witness(3, 400), SEED), encode_witness(Witness(5, 700), SEED)
    head = bytes(HEADER_BYTES)

    assert decode_witness(head + older + newer, SEED) == (Witness(5, 700), True)
    assert decode_witness(head + newer + older, SEED) == (Witness(5, 700), True)
    assert decode_witness(head + older + newer[:-1] + b"?", SEED) == (Witness(3, 400), False)
    assert decode_witness(head + bytes(64), SEED) == (None, False)
