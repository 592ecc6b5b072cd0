"""The writer: one write a tick, nobody hears "stored" too early, and everybody hears something."""

import asyncio
import os

import pytest

from contracts.errors import InvalidInput, LogUnavailable
from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.spool.places import log_directories, segment_numbers, segment_path, writer_lives
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import BATCH_RECORDS_MAX, PAYLOAD_BYTES_MAX, Kind
from prediction_log.spool.writer import LATER_BYTES_MAX, PENDING_BYTES_MAX

pytestmark = pytest.mark.anyio

ENOUGH = 100_000


class Recorder:
    """Remembers the calls that pass, and what had been acknowledged when they did."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, operation, /, *args, **kwargs):
        result = operation(*args, **kwargs)
        self.calls.append((operation.__name__, args))
        return result

    def names(self):
        return [name for name, _ in self.calls]


def read(spool):
    return SpoolReader(spool, {}).poll(ENOUGH)


async def append_all(writer, payloads):
    return await asyncio.gather(
        *(writer.append(Kind.PREDICTION, payload) for payload in payloads), return_exceptions=True
    )


async def test_what_was_appended_is_read_in_order_with_its_kind(open_log, tmp_path):
    writer = await open_log()
    await append_all(writer, [b'{"a":1}', b'{"b":2}'])
    await writer.append(Kind.LABEL, b'{"c":3}')
    await writer.append(Kind.AUDIT, b'{"d":4}')

    entries = read(tmp_path / "spool")

    log_id = writer.log_id
    assert [entry[:4] for entry in entries] == [
        (log_id, 1, Kind.PREDICTION, b'{"a":1}'),
        (log_id, 2, Kind.PREDICTION, b'{"b":2}'),
        (log_id, 3, Kind.LABEL, b'{"c":3}'),
        (log_id, 4, Kind.AUDIT, b'{"d":4}'),
    ]
    assert (writer.last_seq, writer.answers, writer.commits) == (4, 4, 3)
    await writer.aclose()


async def test_all_appends_of_one_tick_are_one_write_of_records_and_one_of_the_witness(open_log):
    disk = Recorder()
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    disk.calls.clear()

    await append_all(writer, [b"{}"] * 500)

    writes = [args[1] for name, args in disk.calls if name == "pwrite"]
    assert [len(data) > 500 * 34 for data in writes] == [True, False]
    assert writer.commits == 2
    await writer.aclose()


async def test_a_tick_with_more_than_a_batch_holds_becomes_several(open_log, tmp_path):
    writer = await open_log(segment_bytes=2**20)

    await append_all(writer, [b"{}"] * (2 * BATCH_RECORDS_MAX + 1))

    assert writer.commits == 3
    assert len(read(tmp_path / "spool")) == 2 * BATCH_RECORDS_MAX + 1
    await writer.aclose()


async def test_level_process_does_not_sync_for_an_append(open_log):
    disk = Recorder()
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    disk.calls.clear()

    await writer.append(Kind.PREDICTION, b"{}")

    assert disk.names() == ["pwrite", "pwrite"]
    await writer.aclose()


async def test_level_power_syncs_every_batch_before_anybody_hears_of_it(open_log):
    disk = Recorder()
    writer = await open_log(disk=disk, durability="power")
    await writer.append(Kind.PREDICTION, b"{}")
    await writer._world.background.settle()
    for _ in range(5):
        disk.calls.clear()
        await writer.append(Kind.PREDICTION, b"{}")

        assert disk.names() == ["pwrite", "fdatasync", "pwrite"]
    await writer.aclose()


async def test_at_level_power_what_comes_while_a_sync_runs_is_one_batch(open_log, tmp_path):
    import threading

    gate = threading.Event()

    def slow(operation, /, *args, **kwargs):
        if operation is os.fdatasync:
            gate.wait(30)
        return operation(*args, **kwargs)

    writer = await open_log(disk=slow, durability="power")
    first = writer.append(Kind.PREDICTION, b'{"first":1}')
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [writer.append(Kind.PREDICTION, b"{}") for _ in range(20)]
    await asyncio.sleep(0)
    assert not first.done()
    gate.set()

    await asyncio.gather(first, *others)

    assert writer.commits == 2
    assert len(read(tmp_path / "spool")) == 21
    await writer.aclose()


async def test_a_caller_that_is_cancelled_takes_nobody_along_and_leaves_its_record(open_log, tmp_path):
    writer = await open_log()

    async def one(payload):
        await writer.append(Kind.PREDICTION, payload)

    tasks = [asyncio.create_task(one(b'{"n":%d}' % number)) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(result) for result in results] == [type(None), asyncio.CancelledError, type(None)]
    assert len(read(tmp_path / "spool")) == 3
    await writer.aclose()


async def test_a_record_nobody_waits_for_rides_with_the_next_commit(open_log, tmp_path):
    writer = await open_log()

    assert writer.append_later(Kind.PREDICTION, b'{"shadow":1}')
    await writer.append(Kind.PREDICTION, b'{"answer":1}')

    assert writer.commits == 1
    assert (writer.last_seq, writer.answers) == (2, 1)
    assert [entry.payload for entry in read(tmp_path / "spool")] == [b'{"shadow":1}', b'{"answer":1}']
    await writer.aclose()


async def test_a_record_nobody_waits_for_is_written_even_where_no_commit_comes(open_log, until):
    writer = await open_log()

    writer.append_later(Kind.PREDICTION, b"{}")
    await until(lambda: writer.last_seq == 1)

    await writer.aclose()


async def test_records_nobody_waits_for_are_shed_first_and_counted(open_log):
    writer = await open_log(segment_bytes=64 * 2**20)
    big = bytes(LATER_BYTES_MAX // 2)

    assert [writer.append_later(Kind.PREDICTION, big) for _ in range(3)] == [True, True, False]
    assert writer.shed == 1
    waiter = writer.append(Kind.PREDICTION, b"{}")
    await waiter

    assert writer.last_seq == 3
    await writer.aclose()


async def test_beyond_what_may_wait_an_append_is_refused_at_once(open_log, tmp_path):
    writer = await open_log(segment_bytes=64 * 2**20)
    big = bytes(PENDING_BYTES_MAX // 4)
    waiters = [writer.append(Kind.PREDICTION, big) for _ in range(4)]

    with pytest.raises(LogUnavailable, match="wait for the disk"):
        writer.append(Kind.PREDICTION, b"{}")
    await asyncio.gather(*waiters)

    assert writer.last_seq == 4
    assert [len(entry.payload) for entry in read(tmp_path / "spool")] == [len(big)] * 4
    await writer.aclose()


async def test_a_record_beyond_the_largest_frame_is_refused_by_its_size(open_log):
    writer = await open_log()

    with pytest.raises(InvalidInput, match=str(PAYLOAD_BYTES_MAX)):
        writer.append(Kind.PREDICTION, bytes(PAYLOAD_BYTES_MAX + 1))
    assert not writer.append_later(Kind.PREDICTION, bytes(PAYLOAD_BYTES_MAX + 1))

    await writer.aclose()


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
    disk = fault_disk(range(0), 28, os.pwrite)
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b'"first"')
    await writer._world.background.settle()
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


async def test_records_refused_last_are_named_when_the_log_is_closed(open_log, fault_disk, tmp_path, until):
    disk = fault_disk(range(0), 28, os.pwrite)
    writer = await open_log(disk=disk)
    await writer.append(Kind.PREDICTION, b'"first"')
    await writer._world.background.settle()
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
