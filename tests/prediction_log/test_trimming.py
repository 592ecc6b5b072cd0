"""Killed writers leave two preallocated segments each; the next writer of their slot gives the zeros back, only those."""

import pytest

from prediction_log.spool.places import log_directories, segment_numbers, segment_path
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind

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
