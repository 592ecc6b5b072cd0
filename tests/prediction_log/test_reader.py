"""The reader: every committed record once, in order, whatever the log does meanwhile."""

import asyncio
import tracemalloc

import msgspec
import pytest

from contracts.errors import CorruptLog
from prediction_log.finding import FindingKind
from prediction_log.spool.places import log_directories, segment_path
from prediction_log.spool.reader import Position, SpoolReader
from prediction_log.spool.segment import DATA_START, HEADER_BYTES, Kind
from prediction_log.spool.window import WINDOW_BYTES

pytestmark = pytest.mark.anyio

ENOUGH = 100_000


async def append(writer, *payloads):
    await asyncio.gather(*(writer.append(Kind.PREDICTION, payload) for payload in payloads))


def payloads_of(entries):
    return [entry.payload for entry in entries]


def test_a_spool_that_is_not_there_yet_holds_no_record(tmp_path):
    assert SpoolReader(tmp_path / "nowhere", {}).poll(ENOUGH) == []


async def test_every_record_is_given_once_while_the_log_grows_and_rotates(open_log, tmp_path):
    reader = SpoolReader(tmp_path / "spool", {})
    writer = await open_log(segment_bytes=4096)
    read, written = [], []
    for number in range(60):
        payload = b'{"n":%d,"pad":"%s"}' % (number, b"x" * (37 * number % 900))
        await append(writer, payload)
        written.append(payload)
        read += reader.poll(ENOUGH)
        assert payloads_of(read) == written
    await writer.aclose()

    assert reader.poll(ENOUGH) == []
    assert reader.findings == []
    assert reader.positions[writer.log_id].ended


async def test_logs_that_appear_later_are_found(open_log, tmp_path):
    reader = SpoolReader(tmp_path / "spool", {})
    first = await open_log("worker-0")
    await append(first, b'"1"')
    assert payloads_of(reader.poll(ENOUGH)) == [b'"1"']

    second = await open_log("admin")
    await append(second, b'"2"')
    third = await open_log("worker-0")
    await append(third, b'"3"')

    assert sorted(payloads_of(reader.poll(ENOUGH))) == [b'"2"', b'"3"']
    for writer in (first, second, third):
        await writer.aclose()


async def test_positions_go_through_json_and_another_reader_goes_on_from_them(open_log, tmp_path):
    writer = await open_log(segment_bytes=4096)
    read, positions, steps = [], {}, 0
    while steps < 40:
        await append(writer, *[b'{"step":%d,"n":%d,"pad":"%s"}' % (steps, n, b"x" * 200) for n in range(5)])
        reader = SpoolReader(tmp_path / "spool", positions)
        read += reader.poll(1 + steps % 7)
        positions = msgspec.json.decode(msgspec.json.encode(reader.positions), type=dict[str, Position])
        assert reader.findings == []
        steps += 1
    await writer.aclose()
    reader = SpoolReader(tmp_path / "spool", positions)
    while more := reader.poll(3):
        read += more

    assert [entry.seq for entry in read] == list(range(1, 201))
    assert SpoolReader(tmp_path / "spool", reader.positions).poll(ENOUGH) == []


async def test_a_poll_never_gives_more_than_it_was_asked_for_and_forgets_no_log(open_log, tmp_path):
    writers = [await open_log(f"worker-{number}") for number in range(5)]
    for writer in writers:
        await append(writer, *[b"{}"] * 20)
    reader = SpoolReader(tmp_path / "spool", {})

    polls = []
    while entries := reader.poll(3):
        polls.append(entries)

    assert all(len(entries) <= 3 for entries in polls)
    assert len({entry.log_id for entries in polls[:3] for entry in entries}) == 5
    counts = {writer.log_id: [e.seq for es in polls for e in es if e.log_id == writer.log_id] for writer in writers}
    assert all(seqs == list(range(1, 21)) for seqs in counts.values())
    for writer in writers:
        await writer.aclose()


async def test_what_idle_logs_leave_goes_to_the_one_with_a_backlog(open_log, tmp_path):
    writers = [await open_log(f"worker-{number}") for number in range(4)]
    await append(writers[2], *[b"{}"] * 500)

    assert len(SpoolReader(tmp_path / "spool", {}).poll(400)) == 400

    for writer in writers:
        await writer.aclose()


async def test_a_write_under_way_is_waited_for_and_is_no_finding(open_log, tmp_path):
    """Every prefix of a batch, as a reader may see it while the writer writes."""
    writer = await open_log()
    await append(writer, b'"first"')
    await writer._world.background.settle()
    (log,) = log_directories(tmp_path / "spool")
    path = segment_path(log.path, 1)
    before = path.read_bytes()
    await append(writer, b'"second"', b'"third"')
    after = path.read_bytes()
    first_end, end = len(before.rstrip(b"\0")) + 3, len(after.rstrip(b"\0")) + 3
    for cut in range(first_end, end - 3):
        with path.open("r+b") as file:
            file.write(before[:DATA_START] + after[DATA_START:cut] + before[cut:])
        reader = SpoolReader(tmp_path / "spool", {})
        assert payloads_of(reader.poll(ENOUGH)) == [b'"first"']
        assert reader.findings == []
        with path.open("r+b") as file:
            file.write(after)
        assert payloads_of(reader.poll(ENOUGH)) == [b'"second"', b'"third"']
        assert reader.findings == []
    await writer.aclose()


async def test_damage_in_a_log_that_is_still_written_is_told_at_once_and_reading_goes_on(open_log, tmp_path):
    writer = await open_log()
    await append(writer, b'"first"')
    await append(writer, b'"second"')
    (log,) = log_directories(tmp_path / "spool")
    path = segment_path(log.path, 1)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(content.index(b'"second"'))
        file.write(b"X")
    reader = SpoolReader(tmp_path / "spool", {})

    assert payloads_of(reader.poll(ENOUGH)) == [b'"first"']
    assert [(f.kind, f.first_seq, f.last_seq) for f in reader.findings] == [(FindingKind.LOSS, 2, 2)]
    await append(writer, b'"third"')

    assert payloads_of(reader.poll(ENOUGH)) == [b'"third"']
    assert reader.findings == []
    await writer.aclose()


async def test_a_log_whose_writer_was_killed_is_read_to_its_end_and_then_left_alone(open_log, die, tmp_path):
    writer = await open_log()
    await append(writer, b'"answered"')
    reader = SpoolReader(tmp_path / "spool", {})
    assert payloads_of(reader.poll(ENOUGH)) == [b'"answered"']
    assert not reader.positions[writer.log_id].ended

    await die(writer)

    assert reader.poll(ENOUGH) == []
    assert reader.findings == []
    assert reader.positions[writer.log_id].ended


async def test_a_segment_that_is_gone_is_a_loss_by_name(open_log, tmp_path):
    writer = await open_log(segment_bytes=4096)
    for number in range(12):
        await append(writer, b'{"n":%d,"pad":"%s"}' % (number, b"x" * 1000))
    await writer.aclose()
    (log,) = log_directories(tmp_path / "spool")
    segment_path(log.path, 2).unlink()
    reader = SpoolReader(tmp_path / "spool", {})

    seqs = [entry.seq for entry in reader.poll(ENOUGH)]

    (finding,) = reader.findings
    assert finding.kind is FindingKind.LOSS
    assert seqs == [s for s in range(1, 13) if not finding.first_seq <= s <= finding.last_seq]
    assert len(seqs) < 12


async def test_a_last_segment_that_is_gone_leaves_a_doubt(open_log, die, tmp_path):
    writer = await open_log(segment_bytes=4096)
    for number in range(12):
        await append(writer, b'{"n":%d,"pad":"%s"}' % (number, b"x" * 1000))
    await writer._world.background.settle()
    await die(writer)
    (log,) = log_directories(tmp_path / "spool")
    for number in range(3, 10):
        segment_path(log.path, number).unlink(missing_ok=True)
    reader = SpoolReader(tmp_path / "spool", {})
    read = reader.poll(ENOUGH)

    (finding,) = reader.findings
    assert (finding.kind, finding.first_seq) == (FindingKind.TAIL_UNKNOWN, len(read) + 1)


async def test_an_unknown_format_is_refused_by_its_version_and_not_taken_for_damage(open_log, tmp_path):
    from prediction_log.spool.segment import crc32

    writer = await open_log()
    await append(writer, b"{}")
    await writer.aclose()
    (log,) = log_directories(tmp_path / "spool")
    path = segment_path(log.path, 1)
    content = bytearray(path.read_bytes())
    content[4:6] = (9).to_bytes(2, "little")
    content[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(content[: HEADER_BYTES - 4]).to_bytes(4, "little")
    path.write_bytes(content)

    with pytest.raises(CorruptLog, match="version 9"):
        SpoolReader(tmp_path / "spool", {}).poll(1)


async def test_frames_of_another_log_never_pass(open_log, tmp_path):
    writer, other = await open_log("worker-0"), await open_log("worker-1")
    await append(writer, b'"mine"')
    await append(other, b'"not mine"')
    await writer.aclose()
    await other.aclose()
    mine, theirs = log_directories(tmp_path / "spool")
    segment_path(theirs.path, 1).replace(segment_path(mine.path, 1))
    reader = SpoolReader(tmp_path / "spool", {})

    assert reader.poll(ENOUGH) == []
    assert {FindingKind.ROT, FindingKind.TAIL_UNKNOWN} <= {finding.kind for finding in reader.findings}


async def test_a_backlog_is_read_in_bounded_steps(open_log, tmp_path):
    writer = await open_log(segment_bytes=2**20)
    for _ in range(60):
        await append(writer, *[b"x" * 1000] * 100)
    await writer.aclose()
    reader = SpoolReader(tmp_path / "spool", {})
    tracemalloc.start()
    total = 0
    while entries := reader.poll(100):
        total += len(entries)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert total == 6_000
    assert peak < 6 * WINDOW_BYTES  # of 6 MB


async def test_a_batch_larger_than_the_window_is_read(open_log, tmp_path):
    writer = await open_log(segment_bytes=4096)
    big = [b"a" * (3 * WINDOW_BYTES), b"b", b"c" * (5 * WINDOW_BYTES)]
    await append(writer, *big)
    await append(writer, b"d")
    await writer.aclose()

    assert payloads_of(SpoolReader(tmp_path / "spool", {}).poll(ENOUGH)) == [*big, b"d"]
