"""The writer: one write a tick, nobody hears "stored" too early, and everybody hears something."""

import asyncio
import os

import pytest

from contracts.errors import InvalidInput, LogUnavailable
from prediction_log.spool.segment import BATCH_RECORDS_MAX, PAYLOAD_BYTES_MAX, Kind
from prediction_log.spool.writer import LATER_BYTES_MAX, PENDING_BYTES_MAX
from tests.prediction_log.spool_kit import Recorder, append_all, read

pytestmark = pytest.mark.anyio


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


async def test_who_knows_that_no_more_comes_has_it_written_before_the_step_is_over(open_log, tmp_path):
    writer, heard = await open_log(), []
    writer.append_all([(Kind.PREDICTION, b"", b"1")], lambda refused: heard.append((refused, writer.last_seq)))
    writer.append_all([(Kind.PREDICTION, b"", b"2")], lambda refused: heard.append((refused, writer.last_seq)))
    assert heard == []

    writer.commit()
    assert heard == [(None, 2), (None, 2)]
    writer.commit()
    later = writer.append(Kind.PREDICTION, b"3")
    await later

    assert [entry.payload for entry in read(tmp_path / "spool")] == [b"1", b"2", b"3"]
    assert (writer.commits, writer.answers) == (2, 3)
    await writer.aclose()


async def test_at_level_power_nobody_hears_of_a_commit_before_its_sync(open_log):
    writer, heard = await open_log(durability="power"), []
    writer.append_all([(Kind.PREDICTION, b"", b"1")], heard.append)

    writer.commit()
    assert heard == []
    await writer.append(Kind.PREDICTION, b"2")

    assert heard == [None]
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
