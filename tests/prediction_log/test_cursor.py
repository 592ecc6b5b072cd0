"""A cursor survives whatever a crash leaves of its file: the newest state that was stored whole is the one that counts."""

import errno

import pytest

from prediction_log.forward.cursor import CURSOR_NAME, SLOT_BYTES, Cursor, CursorFile, CursorState, cursor_of
from prediction_log.position import Position
from prediction_log.spool.disk import direct

LOG_ID = "0f" * 16


def cursor(seq):
    return Cursor(
        position=Position(segment=1, offset=128 + seq, seq=seq, chain="ab" * 32),
        segment=1,
        partitions=12,
        lanes={"p0": (seq, seq), "l3": (seq - 1, 1)},
    )


def stored(directory, count=2, disk=direct):
    file = CursorFile(disk, directory, LOG_ID)
    for seq in range(1, count + 1):
        file.save(cursor(seq))
    return file


def load(directory, log_id=LOG_ID):
    return CursorFile(direct, directory, log_id).load()


def test_what_is_saved_last_is_loaded(tmp_path):
    file = CursorFile(direct, tmp_path, LOG_ID)
    assert file.load() == (Cursor(), 0, CursorState.NONE)
    for seq in range(1, 6):
        file.save(cursor(seq))
        assert load(tmp_path) == (cursor(seq), seq, CursorState.WHOLE)
        assert cursor_of(tmp_path, LOG_ID) == cursor(seq)


def test_another_process_goes_on_with_the_generations(tmp_path):
    stored(tmp_path, 3)
    file = CursorFile(direct, tmp_path, LOG_ID)
    file.load()
    file.save(cursor(9))

    assert load(tmp_path) == (cursor(9), 4, CursorState.WHOLE)


def test_every_torn_write_of_a_slot_leaves_the_one_before_it(tmp_path):
    stored(tmp_path, 3)
    before = (tmp_path / CURSOR_NAME).read_bytes()
    stored_again = CursorFile(direct, tmp_path, LOG_ID)
    stored_again.load()
    stored_again.save(cursor(4))
    after = (tmp_path / CURSOR_NAME).read_bytes()
    end = len(after[:SLOT_BYTES].rstrip(b"\0"))
    for cut in range(end):
        torn = after[:cut] + before[cut:]
        (tmp_path / CURSOR_NAME).write_bytes(torn)
        loaded = load(tmp_path)
        assert loaded.state is CursorState.WHOLE
        assert loaded.cursor == cursor(4 if torn == after else 3), cut


def test_every_flipped_bit_costs_at_most_one_generation(tmp_path):
    stored(tmp_path, 2)
    data = (tmp_path / CURSOR_NAME).read_bytes()
    used = [at for at in range(len(data)) if data[at]] + [20, SLOT_BYTES + 20]
    for at in used:
        damaged = bytearray(data)
        damaged[at] ^= 1 << (at % 8)
        (tmp_path / CURSOR_NAME).write_bytes(damaged)
        assert load(tmp_path).cursor == cursor(1 if at < SLOT_BYTES else 2) or at >= len(data)


@pytest.mark.parametrize(
    "content", [b"", b"x", bytes(2 * SLOT_BYTES), b"\xff" * (2 * SLOT_BYTES), b"GLPC" + b"\xff" * 100]
)
def test_both_slots_gone_is_said(tmp_path, content):
    (tmp_path / CURSOR_NAME).write_bytes(content)

    assert load(tmp_path) == (Cursor(), 0, CursorState.DAMAGED)
    assert cursor_of(tmp_path, LOG_ID) is None


def test_a_damaged_file_is_replaced(tmp_path):
    (tmp_path / CURSOR_NAME).write_bytes(b"x")
    file = CursorFile(direct, tmp_path, LOG_ID)
    file.load()
    file.save(cursor(1))
    file.save(cursor(2))

    assert load(tmp_path).cursor == cursor(2)


def test_a_cursor_of_another_log_does_not_pass(tmp_path):
    stored(tmp_path)

    assert load(tmp_path, "1f" * 16).state is CursorState.DAMAGED


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, None])
def test_a_failure_at_any_call_leaves_the_cursor_before_or_after(tmp_path, fault_disk, error):
    for number in range(1, 30):
        directory = tmp_path / str(number)
        directory.mkdir()
        disk = fault_disk(range(number, number + 1), error)
        file = CursorFile(disk, directory, LOG_ID)
        reached = 0
        for seq in range(1, 4):
            try:
                file.save(cursor(seq))
                reached = seq
            except OSError:
                found = load(directory)
                assert found.cursor in (cursor(reached) if reached else Cursor(), cursor(seq))
                assert found.state is not CursorState.DAMAGED
        calls, disk.failing = disk.calls, range(0)
        file.save(cursor(4))
        assert load(directory).cursor == cursor(4)
        if calls < number:
            break
    else:
        pytest.fail("more calls than expected")


def test_the_file_is_synced_before_it_gets_its_name_and_its_name_before_anybody_relies_on_it(tmp_path):
    calls = []

    def recording(operation, *args, **kwargs):
        calls.append(operation.__name__)
        return operation(*args, **kwargs)

    file = CursorFile(recording, tmp_path, LOG_ID)
    file.save(cursor(1))
    made = [call for call in calls if call in {"pwrite", "fdatasync", "rename", "fsync"}]
    calls.clear()
    file.save(cursor(2))

    assert made == ["pwrite", "fdatasync", "rename", "fsync"]
    assert [call for call in calls if call != "close"] == ["open", "pwrite", "fdatasync"]


def test_slots_hold_the_largest_fleet(tmp_path):
    lanes = {f"{letter}{number}": (10**15, 10**9) for letter in "pl" for number in range(256)} | {"a0": (10**15, 1)}
    position = Position(segment=99_999_999, offset=2**40, seq=2**60, chain="f" * 64, previous="f" * 64)
    large = Cursor(position=position, segment=99_999_999, partitions=256, lanes=lanes)
    CursorFile(direct, tmp_path, LOG_ID).save(large)

    assert load(tmp_path).cursor == large
    assert (tmp_path / CURSOR_NAME).stat().st_size == 2 * SLOT_BYTES
