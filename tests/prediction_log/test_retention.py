"""What Kafka has may go: after its time, behind a cursor that is on the disk, and readers are told where it went."""

import asyncio
import os

import pytest

from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.forward.cursor import CURSOR_NAME, Cursor, cursor_of
from prediction_log.forward.feed import Feed, World
from prediction_log.forward.retention import left_behind, mark_acknowledged, remove_log, remove_segments
from prediction_log.position import Position
from prediction_log.spool.disk import boot_of_this_machine, direct
from prediction_log.spool.listing import list_segments
from prediction_log.spool.places import log_directories, segment_numbers, segment_path
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import DATA_START
from tests.prediction_log.kafka_kit import Journal, all_done, forwarding, receive, settings_for, until

pytestmark = pytest.mark.anyio

SEGMENT = 32 * 1024


@pytest.fixture
def log(tmp_path):
    """A sealed log of several segments."""
    journal = Journal(tmp_path / "spool")
    asyncio.run(journal.write(600, size=150, segment_bytes=SEGMENT))
    (directory,) = log_directories(journal.spool)
    return directory


def forwarded(log, segments=None, disk=direct, now_us=1_000_000):
    """A feed all of whose parts, or those of the first segments, are acknowledged and saved."""
    feed = Feed(log, World(disk, boot_of_this_machine(), 4, log.path.parents[2] / "dead"))
    feed.open()
    while not feed.is_done and (segments is None or feed.acked.position.segment <= segments or feed.acked.segment):
        feed.acknowledge(feed.next_part(2**20))
    feed.save(now_us)
    return feed


def test_only_what_the_stored_cursor_left_goes_and_only_after_its_time(log):
    feed = forwarded(log, segments=2, now_us=5_000_000)
    numbers = segment_numbers(log.path)

    assert left_behind(log.path, feed.saved) == [1, 2]
    assert remove_segments(direct, log.path, feed.saved, 5_000_000) == 0
    assert remove_segments(direct, log.path, feed.saved, 5_000_001) == 2
    assert segment_numbers(log.path) == numbers[2:]
    assert not remove_log(direct, log.path, feed.saved)


def test_a_segment_whose_seals_are_not_out_stays(log):
    feed = forwarded(log, segments=2)
    unsealed = Cursor(position=feed.saved.position, segment=2, partitions=4)

    assert left_behind(log.path, unsealed) == [1]


def test_a_log_that_is_done_goes_as_a_whole_and_not_while_somebody_holds_it(log):
    feed = forwarded(log)
    assert remove_segments(direct, log.path, feed.saved, 2**60) > 3
    with (log.path / "lock").open() as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert not remove_log(direct, log.path, feed.saved)
    (log.path / "00000009.tmp").touch()

    assert remove_log(direct, log.path, feed.saved)
    assert not log.path.exists()


def test_the_cursor_is_on_the_disk_before_any_segment_goes_and_the_directory_is_synced_after(log):
    calls = []

    def recording(operation, *args, **kwargs):
        calls.append((operation.__name__, args))
        return operation(*args, **kwargs)

    feed = forwarded(log, disk=recording)
    saved = [name for name, _ in calls].index("fdatasync")
    remove_segments(recording, log.path, feed.saved, 2**60)
    names = [name for name, _ in calls]

    assert saved < names.index("unlink")
    assert names[len(names) - names[::-1].index("unlink") :] == ["open", "fsync", "close"]


class Killed(BaseException):
    """The process is gone."""


async def test_a_kill_at_any_call_loses_nothing_and_leaves_nothing_for_ever(tmp_path):
    number = 0
    while True:
        number += 1
        journal = Journal(tmp_path / str(number) / "spool")
        await journal.write(120, size=150, segment_bytes=8 * 1024)
        (log,) = log_directories(journal.spool)
        left = number

        def dying(operation, *args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return operation(*args, **kwargs)

        try:
            retire(log, dying)
        except Killed:
            certain = cursor_of(log.path, log.log_id)
            there = {entry.seq for entry in SpoolReader(journal.spool, {}).poll(10_000)}
            gone = {seq for _, seq in journal.records} - there
            if certain is None:  # nothing is stored yet, or the log itself is all but gone
                assert not gone or not segment_numbers(log.path)
            else:
                assert not gone or max(gone) <= certain.position.seq
            if log.path.exists():
                retire(log, direct)
            assert not log.path.exists()
        else:
            assert not log.path.exists()
            break
    assert number > 20


def retire(log, disk):
    feed = forwarded(log, disk=disk)
    remove_segments(disk, log.path, feed.saved, 2**60)
    assert remove_log(disk, log.path, feed.saved)


def test_readers_that_start_at_the_beginning_are_told_that_kafka_has_it(log):
    feed = forwarded(log, segments=3)
    handed = feed.saved.position.seq
    remove_segments(direct, log.path, feed.saved, 2**60)
    spool = log.path.parents[1]

    reader = SpoolReader(spool, {})
    entries = reader.poll(10_000)
    certificate = verify(spool)

    assert [entry.seq for entry in entries] == list(range(handed + 1, 601))
    assert [(f.kind, f.first_seq, f.last_seq) for f in reader.findings] == [(FindingKind.FORWARDED, 1, handed)]
    assert certificate.ok
    assert (certificate.records, certificate.missing) == (600 - handed, 0)
    assert certificate.logs[0].forwarded == [(1, handed)]
    assert certificate.logs[0].chain_ok
    assert len(list_segments(spool)) == len(segment_numbers(log.path))
    counted = verify(spool, {log.log_id: [(1, 600)]})
    assert counted.ok


def test_a_reader_that_was_overtaken_is_told_too(log):
    spool = log.path.parents[1]
    reader = SpoolReader(spool, {})
    reader.poll(50)
    feed = forwarded(log, segments=3)
    remove_segments(direct, log.path, feed.saved, 2**60)

    entries = reader.poll(10_000)

    handed = feed.saved.position.seq
    assert [(f.kind, f.first_seq, f.last_seq) for f in reader.findings] == [(FindingKind.FORWARDED, 51, handed)]
    assert [entry.seq for entry in entries] == list(range(handed + 1, 601))


def test_a_spare_that_its_writer_takes_back_meanwhile_is_no_trouble(log):
    """The log has ended with its seal, and the spare goes a moment later."""
    spare = segment_path(log.path, 99)

    def late(operation, *args, **kwargs):
        if args[0] == spare:
            spare.unlink()
        return operation(*args, **kwargs)

    spare.touch()
    feed = forwarded(log, disk=late)
    assert feed.is_saved
    numbers = segment_numbers(log.path)
    spare.touch()

    assert remove_segments(late, log.path, feed.saved, 2**60) == len(numbers)
    assert segment_numbers(log.path) == []


def test_a_segment_that_goes_while_a_log_is_certified_is_no_trouble(log, monkeypatch):
    monkeypatch.setattr(
        "prediction_log.certificate.spool.segment_numbers", lambda directory: [*segment_numbers(directory), 99]
    )

    assert verify(log.path.parents[1]).ok


def test_a_log_whose_segments_are_all_gone_is_all_forwarded(log):
    feed = forwarded(log)
    remove_segments(direct, log.path, feed.saved, 2**60)

    (certified,) = verify(log.path.parents[1]).logs
    assert (certified.ok, certified.state, certified.forwarded) == (True, "ended", [(1, 600)])


def test_what_is_gone_without_the_cursor_s_word_is_still_a_loss(log):
    feed = forwarded(log, segments=2)
    handed = feed.saved.position.seq
    for number in (1, 2, 3):
        (log.path / f"{number:08d}.seg").unlink()

    certificate = verify(log.path.parents[1])

    assert not certificate.ok
    assert certificate.logs[0].forwarded == [(1, handed)]
    assert certificate.logs[0].gaps[0][0] == handed + 1

    (log.path / CURSOR_NAME).unlink()
    assert verify(log.path.parents[1]).logs[0].gaps[0][0] == 1


def test_a_damaged_record_behind_the_cursor_is_a_loss_and_not_forwarded(log):
    forwarded(log)
    path = log.path / "00000002.seg"
    data = bytearray(path.read_bytes())
    data[10_000] ^= 0xFF
    path.write_bytes(data)

    certificate = verify(log.path.parents[1])
    assert certificate.missing == 1
    assert certificate.logs[0].forwarded == []


def test_damage_where_the_log_begins_now_is_a_loss_and_what_was_before_it_is_not(log):
    feed = forwarded(log, segments=2)
    handed = feed.saved.position.seq
    remove_segments(direct, log.path, feed.saved, 2**60)
    path = log.path / "00000003.seg"
    data = bytearray(path.read_bytes())
    data[DATA_START + 60] ^= 0xFF
    path.write_bytes(data)

    certificate = verify(log.path.parents[1])

    assert certificate.logs[0].forwarded == [(1, handed)]
    assert certificate.logs[0].gaps == [(handed + 1, handed + 1)]
    assert certificate.missing == 1


def test_marks_follow_the_acknowledgement_and_not_the_writing(log):
    before = Cursor(position=Position(segment=1), segment=1, partitions=4)
    after = Cursor(position=Position(segment=3), segment=3, partitions=4)
    mark_acknowledged(direct, log.path, before, after, 77_000_000)

    stamps = {number: (log.path / f"{number:08d}.seg").stat().st_mtime_ns for number in (1, 2, 3)}
    assert (stamps[1], stamps[2]) == (77_000_000_000, 77_000_000_000)
    assert stamps[3] != 77_000_000_000


async def test_the_forwarder_removes_what_is_over_and_keeps_what_is_not(kafka, tmp_path, monkeypatch):
    monkeypatch.setattr("prediction_log.forward.forwarding.SWEEP_SECONDS", 0.1)
    prefix = kafka.prefix()
    journal = Journal(tmp_path / "spool")
    await journal.write(600, slots=2, size=150, segment_bytes=SEGMENT)
    living = await journal.open("living", segment_bytes=SEGMENT)
    await journal.append(living, range(5000, 5600), size=150)

    async with forwarding(settings_for(tmp_path, kafka.address, prefix, spool_retain_hours=0.0)):
        await until(lambda: [log.log_id for log in log_directories(journal.spool)] == [living.log_id])
        (log,) = log_directories(journal.spool)
        await until(lambda: min(segment_numbers(log.path)) == cursor_of(log.path, log.log_id).position.segment > 2)
        await journal.append(living, range(5600, 5700), size=150)
        await until(lambda: cursor_of(log.path, log.log_id).position.seq == 700)
    assert verify(journal.spool).ok
    await living.aclose()

    received = await receive(kafka.address, prefix)
    assert received.payloads() == journal.records


async def test_with_hours_to_keep_nothing_is_removed(kafka, tmp_path, monkeypatch):
    monkeypatch.setattr("prediction_log.forward.forwarding.SWEEP_SECONDS", 0.1)
    journal = Journal(tmp_path / "spool")
    await journal.write(300, size=150, segment_bytes=SEGMENT)
    (log,) = log_directories(journal.spool)
    numbers = segment_numbers(log.path)
    os.utime(log.path / "00000001.seg", ns=(0, 0))  # written long ago: it is the acknowledgement that counts

    async with forwarding(settings_for(tmp_path, kafka.address, kafka.prefix(), spool_retain_hours=1.0)):
        await until(lambda: all_done(journal.spool))
        await asyncio.sleep(1.5)

    assert segment_numbers(log.path) == numbers
