"""Killed writers leave two preallocated segments each; the next writer of their slot gives the zeros back, only those."""

import os

import pytest

from prediction_log.spool.disk import data_end
from prediction_log.spool.places import log_directories, segment_numbers, segment_path
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from prediction_log.spool.trimming import trim_orphans

pytestmark = pytest.mark.anyio


def sizes(spool):
    return [
        segment_path(log.path, number).stat().st_size
        for log in log_directories(spool)
        for number in segment_numbers(log.path)
    ]


@pytest.mark.parametrize("length", [1, 3000, *range(3820, 3832), 70_000])
async def test_an_orphan_is_cut_to_what_was_written_and_reads_the_same(open_log, die, tmp_path, length):
    writer = await open_log(segment_bytes=2**20)
    await writer.append(Kind.PREDICTION, b"x" * length)
    await die(writer)
    assert sizes(tmp_path / "spool") == [2**20, 2**20]
    before = SpoolReader(tmp_path / "spool", {}).poll(10)

    await (await open_log(segment_bytes=4096)).aclose()

    orphan = [size for size in sizes(tmp_path / "spool") if size != 192]
    assert sum(orphan) <= length + 3 * 4096
    reader = SpoolReader(tmp_path / "spool", {})
    assert reader.poll(10) == before
    assert reader.findings == []


async def test_a_payload_that_ends_in_zeros_is_written_and_stays(open_log, die, tmp_path):
    writer = await open_log(segment_bytes=2**20)
    await writer.append(Kind.PREDICTION, bytes(100_000))
    await die(writer)

    await (await open_log()).aclose()

    assert [entry.payload for entry in SpoolReader(tmp_path / "spool", {}).poll(10)] == [bytes(100_000)]


async def test_the_log_of_a_living_writer_and_those_of_other_slots_are_left_alone(open_log, die, tmp_path):
    living = await open_log("worker-0")
    await living.append(Kind.PREDICTION, b"{}")
    await living._world.background.settle()
    other = await open_log("worker-1")
    await other.append(Kind.PREDICTION, b"{}")
    await die(other)
    before = sizes(tmp_path / "spool")

    newcomer = await open_log("worker-0")

    assert sorted(sizes(tmp_path / "spool")) == sorted([*before, 64 * 1024])
    await newcomer.aclose()
    await living.aclose()


async def test_trimming_what_is_trimmed_changes_nothing(open_log, die, tmp_path):
    writer = await open_log()
    await writer.append(Kind.PREDICTION, b"{}")
    await die(writer)
    await (await open_log()).aclose()
    before = sizes(tmp_path / "spool")

    await (await open_log()).aclose()

    assert sorted(sizes(tmp_path / "spool")) == sorted([*before, 192])


async def test_a_start_does_not_read_through_what_was_sealed_or_trimmed_before(open_log, die, monkeypatch):
    """It would take longer with every day that is logged, and nothing is served meanwhile."""
    writer = await open_log(segment_bytes=16 * 1024)
    for _ in range(20):
        await writer.append(Kind.PREDICTION, b"x" * 4000)
        await writer._world.background.settle()
    await die(writer)
    read = []
    monkeypatch.setattr("prediction_log.spool.trimming.data_end", lambda fd: read.append(fd) or data_end(fd))

    await (await open_log()).aclose()
    assert len(read) == 2, "the one it wrote to and the spare"
    await (await open_log()).aclose()
    assert len(read) == 2


async def test_a_segment_that_the_forwarder_removes_meanwhile_keeps_no_other_from_being_trimmed(
    open_log, die, tmp_path
):
    writer = await open_log(segment_bytes=2**20)
    await writer.append(Kind.PREDICTION, b"{}")
    await die(writer)
    (log,) = log_directories(tmp_path / "spool")
    first, second = (segment_path(log.path, number) for number in segment_numbers(log.path))

    def disk(operation, /, *args, **kwargs):
        if args[0] == first and operation is os.open:
            first.unlink()
        return operation(*args, **kwargs)

    assert trim_orphans(disk, tmp_path / "spool", "worker-0") > 0
    assert second.stat().st_size < 2**20
