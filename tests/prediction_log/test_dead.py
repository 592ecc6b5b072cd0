"""A dead record is kept whole or not at all, and kept once."""

import errno

import pytest

from prediction_log.forward.dead import keep_dead
from prediction_log.position import Entry
from prediction_log.spool.disk import direct
from prediction_log.spool.segment import Kind

ENTRY = Entry("ab" * 16, 17, Kind.PREDICTION, b"\x00 anything at all \xff" * 100, 1)


def test_it_is_kept_under_its_slot_log_and_seq(tmp_path):
    first = keep_dead(direct, tmp_path / "dead", "worker-0", ENTRY)
    again = keep_dead(direct, tmp_path / "dead", "worker-0", ENTRY)

    assert first == again == tmp_path / "dead" / f"worker-0.{'ab' * 16}.17"
    assert first.read_bytes() == ENTRY.payload
    assert list((tmp_path / "dead").iterdir()) == [first]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, None])
def test_a_failure_at_any_call_leaves_nothing_or_all_of_it(tmp_path, fault_disk, error):
    for number in range(1, 30):
        directory = tmp_path / str(number)
        disk = fault_disk(range(number, number + 1), error)
        try:
            path = keep_dead(disk, directory, "w", ENTRY)
        except OSError:
            kept = [path for path in directory.glob("*") if not path.name.startswith(".")]
            assert all(path.read_bytes() == ENTRY.payload for path in kept)
            path = keep_dead(direct, directory, "w", ENTRY)
        assert path.read_bytes() == ENTRY.payload
        if disk.calls < number:
            return
    pytest.fail("more calls than expected")
