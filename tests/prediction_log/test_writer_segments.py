"""A writer's segments and its log: filled, aged, prepared, sealed and closed; one writer each, of one process."""

import asyncio
import os

import pytest

from contracts.errors import LogUnavailable
from prediction_log.certificate.spool import verify
from prediction_log.spool.places import log_directories, segment_numbers, segment_path, writer_lives
from prediction_log.spool.segment import Kind
from tests.prediction_log.spool_kit import Recorder, read

pytestmark = pytest.mark.anyio


async def test_a_full_segment_is_sealed_and_the_next_goes_on_with_the_chain(open_log, tmp_path):
    writer = await open_log(segment_bytes=8192)
    for number in range(40):
        await writer.append(Kind.PREDICTION, b'{"n":%d,"pad":"%s"}' % (number, b"x" * 800))
    await writer.aclose()

    certificate = verify(tmp_path / "spool")

    (log,) = certificate.logs
    assert log.segments >= 5
    assert (log.records, log.state, log.chain_ok, log.findings, certificate.ok) == (40, "sealed", True, [], True)
    assert all(path.stat().st_size <= 8192 for path in (tmp_path / "spool").rglob("*.seg"))


async def test_a_record_larger_than_a_segment_gets_one_of_its_own(open_log, tmp_path):
    writer = await open_log(segment_bytes=4096)
    sizes = [10, 20_000, 10, 300_000, 10]
    for size in sizes:
        await writer.append(Kind.PREDICTION, b"x" * size)
    await writer.aclose()

    assert [len(entry.payload) for entry in read(tmp_path / "spool")] == sizes
    assert verify(tmp_path / "spool").ok


async def test_a_segment_that_is_old_enough_is_changed_with_the_next_append(open_log, clock, tmp_path):
    writer = await open_log(segment_seconds=60)
    (log,) = log_directories(tmp_path / "spool")
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    clock.ns += 59_000_000_000
    await writer.append(Kind.PREDICTION, b"{}")
    assert segment_numbers(log.path) == [1, 2]

    clock.ns += 1_000_000_000
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()

    assert segment_numbers(log.path) == [1, 2, 3]
    assert segment_path(log.path, 1).stat().st_size < 1024
    await writer.aclose()
    assert [entry.seq for entry in read(tmp_path / "spool")] == [1, 2, 3]


async def test_the_next_segment_is_ready_before_it_is_needed_and_taken_back_when_it_was_not(open_log, tmp_path):
    writer = await open_log()
    (log,) = log_directories(tmp_path / "spool")
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    assert [segment_path(log.path, number).stat().st_size for number in (1, 2)] == [64 * 1024] * 2

    await writer.aclose()

    assert segment_numbers(log.path) == [1]
    assert sorted(path.name for path in log.path.iterdir()) == ["00000001.seg", "lock"]


async def test_a_segment_gets_its_name_only_when_its_head_and_its_space_are_on_the_disk(open_log):
    disk = Recorder()
    writer = await open_log(disk=disk)

    made = disk.names()[disk.names().index("posix_fallocate") - 3 :]

    assert made == ["statvfs", "open", "pwrite", "posix_fallocate", "fsync", "rename", "open", "fsync", "close"]
    await writer.aclose()


async def test_closing_writes_what_waits_and_lets_go_of_the_lock(open_log, tmp_path):
    writer = await open_log()
    (log,) = log_directories(tmp_path / "spool")
    assert writer_lives(log.path)
    waiter = writer.append(Kind.PREDICTION, b"{}")
    writer.append_later(Kind.PREDICTION, b"{}")

    await writer.aclose()
    await writer.aclose()

    assert waiter.done()
    assert not writer_lives(log.path)
    assert len(read(tmp_path / "spool")) == 2
    with pytest.raises(LogUnavailable, match="closed"):
        writer.append(Kind.PREDICTION, b"{}")


async def test_a_log_without_a_record_is_sealed_all_the_same(open_log, tmp_path):
    await (await open_log()).aclose()

    (log,) = verify(tmp_path / "spool").logs

    assert (log.state, log.records, log.ok) == ("sealed", 0, True)


async def test_two_writers_of_one_slot_have_logs_of_their_own(open_log, tmp_path):
    old, new = await open_log(), await open_log()

    await asyncio.gather(old.append(Kind.PREDICTION, b'"old"'), new.append(Kind.PREDICTION, b'"new"'))

    assert {(e.log_id, e.seq, e.payload) for e in read(tmp_path / "spool")} == {
        (old.log_id, 1, b'"old"'),
        (new.log_id, 1, b'"new"'),
    }
    await old.aclose()
    await new.aclose()


async def test_after_a_fork_the_parents_writer_refuses(open_log, monkeypatch):
    writer = await open_log()
    monkeypatch.setattr("os.getpid", lambda: 1)

    with pytest.raises(LogUnavailable, match="open one after the fork"):
        await writer.append(Kind.PREDICTION, b"{}")

    monkeypatch.undo()
    await writer.aclose()


async def test_no_descriptor_of_the_log_is_inherited(open_log):
    disk = Recorder()
    writer = await open_log(disk=disk)

    flags = [args[1] for name, args in disk.calls if name == "open"]

    assert flags
    assert all(flag & os.O_CLOEXEC for flag in flags)
    await writer.aclose()
