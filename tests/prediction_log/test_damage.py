"""Every truncation point and every single-bit flip of a small log is detected, and told apart."""

from collections.abc import Iterator

import pytest

from prediction_log.finding import FindingKind
from prediction_log.spool.recovery import beginnings_in, frames_in
from prediction_log.spool.segment import DATA_START, HEADER_BYTES, RECORDS, Kind

OTHER_BOOT = 4711
WITNESSES = range(HEADER_BYTES, DATA_START)


def seqs(entries):
    return {entry.seq: entry.payload for entry in entries}


def kinds(findings):
    return {finding.kind for finding in findings}


def lost(findings):
    return {
        seq
        for finding in findings
        if finding.kind is FindingKind.LOSS
        for seq in range(finding.first_seq, finding.last_seq + 1)
    }


def flips(content: bytes, start: int, end: int) -> Iterator[bytes]:
    for offset in range(start, end):
        for bit in range(8):
            yield content[:offset] + bytes([content[offset] ^ 1 << bit]) + content[offset + 1 :]


def without_witness(log) -> bytes:
    return log.bytes[:HEADER_BYTES] + bytes(DATA_START - HEADER_BYTES) + log.bytes[DATA_START:]


def frames_of(log) -> list[tuple[int, int, int, int]]:
    """(start, end, seq, kind) of every frame, by offset in the file."""
    region = log.bytes[DATA_START : log.end]
    found = frames_in(region, log.seed, beginnings_in(region, log.seed))
    return [(DATA_START + f.start, DATA_START + f.end, f.seq, f.kind) for f in found]


@pytest.mark.parametrize("sealed", [False, True])
def test_an_undamaged_log_gives_every_record_and_no_finding(small_log, tmp_path, sealed):
    log = small_log(sealed=sealed)

    entries, findings, tail = log.read(log.bytes, tmp_path)

    assert seqs(entries) == log.payloads
    assert findings == []
    assert (tail.ended, tail.sealed) == (True, sealed)


@pytest.mark.parametrize("sealed", [False, True])
def test_every_bit_flip_in_a_record_loses_that_record_by_name_and_no_other(small_log, tmp_path, sealed):
    log = small_log(sealed=sealed)
    for start, end, seq, kind in frames_of(log):
        if kind not in RECORDS:
            continue
        for content in flips(log.bytes, start, end):
            entries, findings, _ = log.read(content, tmp_path)

            assert seqs(entries) == {s: p for s, p in log.payloads.items() if s != seq}
            assert lost(findings) == {seq}
            assert kinds(findings) == {FindingKind.LOSS}


@pytest.mark.parametrize("sealed", [False, True])
def test_every_bit_flip_in_a_commit_or_in_what_records_share_is_rot_and_loses_nothing(small_log, tmp_path, sealed):
    log = small_log(sealed=sealed)
    for start, end, _, kind in frames_of(log):
        if kind in RECORDS:
            continue
        for content in flips(log.bytes, start, end):
            entries, findings, _ = log.read(content, tmp_path)

            assert seqs(entries) == log.payloads
            assert kinds(findings) == {FindingKind.ROT}


def test_what_is_shared_in_one_batch_alone_takes_those_along_that_share_it_by_name(small_log, tmp_path):
    class Alone(small_log):
        batches = ((1, 2), (3, 4))

    log = Alone()
    (start, end) = next((start, end) for start, end, _, kind in frames_of(log) if kind == Kind.SHARED)
    for content in flips(log.bytes, start, end):
        entries, findings, _ = log.read(content, tmp_path)

        assert seqs(entries) == {s: log.payloads[s] for s in (1, 2)}
        assert lost(findings) == {3, 4}


def test_every_bit_flip_in_the_header_or_the_witness_is_rot_and_loses_nothing(small_log, tmp_path):
    log = small_log()
    for content in flips(log.bytes, 0, DATA_START):
        entries, findings, _ = log.read(content, tmp_path)

        assert seqs(entries) == log.payloads
        assert FindingKind.ROT in kinds(findings)
        assert lost(findings) == set()


def test_every_bit_flip_after_the_last_batch_is_a_torn_tail_and_loses_nothing(small_log, tmp_path):
    for log in (small_log(), small_log(sealed=True)):
        for content in flips(log.bytes, log.end, len(log.bytes)):
            entries, findings, tail = log.read(content, tmp_path)

            assert seqs(entries) == log.payloads
            assert kinds(findings) == {FindingKind.TORN_TAIL}
            assert not tail.sealed


def test_a_flip_in_the_last_batch_is_unknown_where_no_witness_of_this_boot_proves_what_stood_there(small_log, tmp_path):
    log = small_log()
    bare = without_witness(log)
    committed = {s: p for s, p in log.payloads.items() if s < 5}
    for content in flips(bare, log.ends[-2], log.end):
        entries, findings, _ = log.read(content, tmp_path)

        assert seqs(entries) == committed
        assert kinds(findings) == {FindingKind.TAIL_UNKNOWN, FindingKind.ROT}
        unknown = next(finding for finding in findings if finding.kind is FindingKind.TAIL_UNKNOWN)
        assert (unknown.first_seq, unknown.last_seq) == (5, None)


@pytest.mark.parametrize("boot", [None, OTHER_BOOT])
def test_every_truncation_point_loses_by_name_exactly_what_was_cut_off(small_log, tmp_path, boot):
    log = small_log(level="power")
    frames = frames_of(log)
    for cut in range(DATA_START, log.end + 1):
        there = {seq for _, end, seq, kind in frames if kind in RECORDS and end <= cut}

        entries, findings, _ = log.read(log.bytes[:cut], tmp_path, boot)

        assert seqs(entries) == {s: log.payloads[s] for s in there}
        assert lost(findings) == log.payloads.keys() - there
        assert bool(findings) == (cut < log.end)


def test_every_truncation_point_of_a_sealed_log_shows(small_log, tmp_path):
    log = small_log(sealed=True)
    for cut in range(DATA_START, len(log.bytes)):
        entries, findings, tail = log.read(log.bytes[:cut], tmp_path)

        assert not tail.sealed
        assert log.payloads.keys() - seqs(entries) == lost(findings)
        assert bool(findings) == (cut != log.end)


def test_every_truncation_point_without_a_witness_is_unknown_and_loses_no_whole_batch(small_log, tmp_path):
    log = small_log()
    bare = without_witness(log)
    for cut in range(DATA_START, log.end):
        whole = sum(end <= cut for end in log.ends)
        there = {seq for seqs_ in log.batches[:whole] for seq in seqs_}

        entries, findings, _ = log.read(bare[:cut], tmp_path)

        assert seqs(entries).keys() == there
        assert FindingKind.TAIL_UNKNOWN in kinds(findings)


def test_every_truncation_point_in_the_head_is_told(small_log, tmp_path):
    log = small_log()
    for cut in range(DATA_START):
        entries, findings, _ = log.read(log.bytes[:cut], tmp_path)

        assert entries == []
        assert FindingKind.ROT in kinds(findings)
        assert kinds(findings) & {FindingKind.LOSS, FindingKind.TAIL_UNKNOWN}


def test_an_unfinished_write_is_a_torn_tail_under_the_boot_of_its_writer_and_unknown_after_another(small_log, tmp_path):
    log = small_log()
    for length in range(1, len(log.next_batch) - 3):  # its last three bytes are zeros: without them it would be whole
        content = log.bytes[: log.end] + log.next_batch[:length] + bytes(64)

        entries, findings, _ = log.read(content, tmp_path)
        assert seqs(entries) == log.payloads
        assert kinds(findings) == {FindingKind.TORN_TAIL}

        entries, findings, _ = log.read(content, tmp_path, OTHER_BOOT)
        assert seqs(entries) == log.payloads
        assert kinds(findings) == {FindingKind.TAIL_UNKNOWN}


@pytest.mark.parametrize(("level", "expected"), [("process", {FindingKind.TAIL_UNKNOWN}), ("power", set())])
def test_after_another_boot_only_level_power_vouches_for_a_clean_end(small_log, tmp_path, level, expected):
    log = small_log(level=level)

    entries, findings, _ = log.read(log.bytes, tmp_path, OTHER_BOOT)

    assert seqs(entries) == log.payloads
    assert kinds(findings) == expected


def test_a_zeroed_stretch_in_the_middle_is_not_taken_for_the_end(small_log, tmp_path):
    log = small_log()
    for start in (DATA_START, log.ends[0]):
        for end in range(start + 1, log.ends[1]):
            content = log.bytes[:start] + bytes(end - start) + log.bytes[end:]
            entries, findings, _ = log.read(content, tmp_path)

            assert seqs(entries).keys() | lost(findings) == log.payloads.keys()
            assert not seqs(entries).keys() & lost(findings)
            assert kinds(findings) <= {FindingKind.LOSS, FindingKind.ROT}
            assert findings


def test_damage_never_keeps_a_reader_from_going_on_record_by_record(small_log, tmp_path):
    log = small_log()
    start = next(start for start, _, seq, _ in frames_of(log) if seq == 3)
    (tmp_path / "00000001.seg").write_bytes(log.bytes[: start + 9] + b"\xff" + log.bytes[start + 10 :])
    from prediction_log.position import Position
    from prediction_log.spool.tail import LogTail

    position, read, findings = Position(), [], []
    while not position.ended:
        tail = LogTail(tmp_path, bytes(range(16)).hex(), position, log.boot)
        read += tail.read(1)
        findings += tail.findings
        position = tail.position

    assert [entry.seq for entry in read] == [1, 2, 4, 5]
    assert lost(findings) == {3}
