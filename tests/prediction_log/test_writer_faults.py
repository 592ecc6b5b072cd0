"""A writer whose disk is full, fails or is gone: it refuses, says so, names what was lost, and goes on when it can."""

import asyncio
import itertools
import os

import pytest

from contracts.errors import LogUnavailable
from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.spool.places import segment_numbers
from prediction_log.spool.segment import Kind
from tests.prediction_log.spool_kit import append_all, read

pytestmark = pytest.mark.anyio


async def one_written(open_log, fault_disk):
    """A disk that fails when told, and a writer on it that has written one record and has a spare."""
    disk = fault_disk(range(0), 28, os.pwrite)
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b'"first"')
    await writer._world.background.settle()
    return disk, writer


async def test_below_the_disk_reserve_nothing_is_logged_until_there_is_space_again(open_log, tmp_path, clock, until):
    free = {"bytes": 2**40}

    def disk(operation, /, *args, **kwargs):
        if operation is not os.statvfs:
            return operation(*args, **kwargs)
        real = os.statvfs(*args)
        return type("Free", (), {"f_bavail": free["bytes"], "f_frsize": 1, "f_files": real.f_files, "f_favail": 10**6})

    writer = await open_log(disk=disk, disk_reserve_bytes=2**20)
    await writer.append(Kind.PREDICTION, b'"before"')
    await writer._world.background.settle()
    free["bytes"] = 2**20 - 1
    clock.ns += 1_000_000_000

    with pytest.raises(LogUnavailable, match="free space"):
        await writer.append(Kind.PREDICTION, b'"refused"')
    assert not writer.available
    with pytest.raises(LogUnavailable, match="free space"):
        writer.append(Kind.PREDICTION, b'"refused"')
    assert not writer.append_later(Kind.PREDICTION, b'"refused"')

    free["bytes"] = 2**40
    await until(lambda: writer.available)
    await writer.append(Kind.PREDICTION, b'"after"')
    await writer.aclose()
    assert [entry.payload for entry in read(tmp_path / "spool")] == [b'"before"', b'"after"']
    assert verify(tmp_path / "spool").ok


async def test_a_segment_is_not_reserved_out_of_the_disk_reserve(open_log, until):
    free = {"bytes": 2**20 + 64 * 1024 - 1}

    def disk(operation, /, *args, **kwargs):
        if operation is not os.statvfs:
            return operation(*args, **kwargs)
        return type("Free", (), {"f_bavail": free["bytes"], "f_frsize": 1, "f_files": 0, "f_favail": 0})

    writer = await open_log(disk=disk, disk_reserve_bytes=2**20)
    assert not writer.available

    free["bytes"] += 1
    await until(lambda: writer.available)
    await writer.aclose()


async def test_a_trouble_is_told_once_while_it_lasts_and_again_when_it_comes_back(open_log, clock, until, caplog):
    """How much is free is another number at every look."""
    free, looks = {"bytes": 2**40}, itertools.count()

    def disk(operation, /, *args, **kwargs):
        if operation is not os.statvfs:
            return operation(*args, **kwargs)
        return type("Free", (), {"f_bavail": free["bytes"] + next(looks), "f_frsize": 1, "f_files": 0, "f_favail": 0})

    writer = await open_log(disk=disk, disk_reserve_bytes=2**20)
    free["bytes"] = 2**20
    await writer.append(Kind.PREDICTION, b"{}")
    await until(lambda: writer.failures >= 20)
    assert writer.available, "only the next segment is missing"
    assert len(caplog.records) == 1

    free["bytes"] = 2**40
    await until(lambda: writer._supply.spare is not None)
    free["bytes"] = 2**19
    clock.ns += 1_000_000_000
    with pytest.raises(LogUnavailable, match="free space"):
        await writer.append(Kind.PREDICTION, b"{}")
    await writer.aclose()
    assert len(caplog.records) == 2


async def test_a_disk_without_inodes_is_a_full_disk(open_log):
    def disk(operation, /, *args, **kwargs):
        if operation is not os.statvfs:
            return operation(*args, **kwargs)
        return type("Free", (), {"f_bavail": 2**40, "f_frsize": 1, "f_files": 10**6, "f_favail": 3})

    writer = await open_log(disk=disk)

    with pytest.raises(LogUnavailable, match="3 inodes free"):
        writer.append(Kind.PREDICTION, b"{}")
    await writer.aclose()


async def test_a_writer_opens_on_a_full_disk_refuses_and_serves_when_there_is_space(
    open_log, fault_disk, tmp_path, until
):
    disk = fault_disk(range(1, 4), 28, os.posix_fallocate)
    writer = await open_log(disk=disk)
    assert not writer.available
    with pytest.raises(LogUnavailable, match="free space"):
        writer.append(Kind.PREDICTION, b"{}")

    await until(lambda: writer.available)
    await writer.append(Kind.PREDICTION, b"{}")
    await writer.aclose()

    assert disk.calls >= 4
    (log,) = verify(tmp_path / "spool").logs
    assert (log.records, log.ok) == (1, True)
    assert not list((tmp_path / "spool").rglob("*.tmp"))


async def test_a_failed_write_goes_whole_into_a_fresh_segment(open_log, fault_disk, tmp_path):
    disk = fault_disk(range(0), 5, os.pwrite)
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b'"first"')
    await writer._world.background.settle()
    disk.failing = range(disk.calls + 1, disk.calls + 2)

    assert await append_all(writer, [b'"second"', b'"third"']) == [None, None]
    await writer.aclose()

    (log,) = verify(tmp_path / "spool").logs
    assert writer.failures == 1
    assert (log.records, log.ok, log.state) == (3, True, "sealed")
    assert [finding.kind for finding in log.findings] == [FindingKind.TORN_TAIL]


async def test_where_the_witness_fails_the_batch_is_written_again_and_read_once(open_log, fault_disk, tmp_path):
    disk = fault_disk(range(0), 5, os.pwrite)
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b'"first"')
    await writer._world.background.settle()
    disk.failing = range(disk.calls + 2, disk.calls + 3)

    await writer.append(Kind.PREDICTION, b'"second"')
    await writer.append(Kind.PREDICTION, b'"third"')
    await writer.aclose()

    assert [entry.payload for entry in read(tmp_path / "spool")] == [b'"first"', b'"second"', b'"third"']
    (log,) = verify(tmp_path / "spool").logs
    assert (log.chain_ok, log.ok) == (True, True)


async def test_refused_records_are_told_to_the_callers_and_named_in_the_log(open_log, fault_disk, tmp_path, until):
    disk, writer = await one_written(open_log, fault_disk)
    disk.failing = range(disk.calls + 1, disk.calls + 4)

    results = await append_all(writer, [b'"lost1"', b'"lost2"'])
    assert [type(result) for result in results] == [LogUnavailable, LogUnavailable]
    assert writer.refused == 2

    await until(lambda: writer.available)
    await writer.append(Kind.PREDICTION, b'"after"')
    await writer.aclose()

    (log,) = verify(tmp_path / "spool").logs
    assert [(entry.seq, entry.payload) for entry in read(tmp_path / "spool")] == [(1, b'"first"'), (4, b'"after"')]
    assert (log.refused, log.gaps, log.ok) == ([(2, 3)], [], True)


async def test_where_two_segments_in_a_row_fail_another_boot_is_in_no_doubt(open_log, fault_disk, tmp_path, until):
    """The third one goes on with the next seq, so nothing can have stood at the ends of the two before it."""
    disk, writer = await one_written(open_log, fault_disk)
    disk.failing = range(disk.calls + 1, disk.calls + 4)
    await append_all(writer, [b'"lost"'])
    await until(lambda: writer.available)
    await writer.append(Kind.PREDICTION, b'"after"')
    await writer.aclose()

    (log,) = verify(tmp_path / "spool", boot=4711).logs
    assert [finding.kind for finding in log.findings if finding.kind is not FindingKind.REFUSED] == [
        FindingKind.TORN_TAIL,
        FindingKind.TORN_TAIL,
    ]
    assert (log.refused, log.records, log.ok) == ([(2, 2)], 2, True)


async def test_a_spare_that_its_writer_takes_back_meanwhile_is_no_trouble_for_a_reader(
    open_log, fault_disk, tmp_path, die, monkeypatch
):
    disk, writer = await one_written(open_log, fault_disk)
    disk.failing = range(disk.calls + 1, 2**60)
    await append_all(writer, [b'"lost"'])
    await die(writer)
    monkeypatch.setattr(
        "prediction_log.spool.tail.segment_numbers", lambda directory: [*segment_numbers(directory), 99]
    )

    assert [entry.payload for entry in read(tmp_path / "spool")] == [b'"first"']


async def test_records_refused_last_are_named_when_the_log_is_closed(open_log, fault_disk, tmp_path, until):
    disk, writer = await one_written(open_log, fault_disk)
    disk.failing = range(disk.calls + 1, disk.calls + 4)
    await append_all(writer, [b'"lost"'])
    await until(lambda: writer.available)

    await writer.aclose()

    (log,) = verify(tmp_path / "spool").logs
    assert (log.refused, log.records, log.state, log.ok) == ([(2, 2)], 1, "sealed", True)


async def test_a_spool_that_vanishes_is_not_silently_made_again(open_log, tmp_path, clock):
    writer = await open_log()
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    clock.ns += 1_000_000_000

    with pytest.raises(LogUnavailable, match="full or gone"):
        await writer.append(Kind.PREDICTION, b"{}")
    await asyncio.sleep(0.01)

    assert not writer.available
    assert not (tmp_path / "spool").exists()
    await writer.aclose()


async def test_a_spool_that_cannot_be_made_is_refused_by_name(open_log, tmp_path):
    (tmp_path / "spool").write_text("a file")

    with pytest.raises(LogUnavailable, match="cannot make the log directory"):
        await open_log()
