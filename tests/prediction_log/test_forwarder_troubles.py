"""What the forwarder says while something is wrong: of every log, as long as it is wrong, and no longer."""

import errno
import logging
import os
from pathlib import Path

import pytest

from contracts.errors import Unavailable
from prediction_log.forward.feed import World
from prediction_log.forward.feeds import HALT_SECONDS, Feeds
from prediction_log.forward.status import read_status
from prediction_log.kafka.producer import open_producer
from prediction_log.spool.disk import boot_of_this_machine, direct
from prediction_log.spool.places import log_directories
from tests.prediction_log.kafka_kit import Journal, forwarding, settings_for, until
from tests.services.ports import free_ports

pytestmark = pytest.mark.anyio


class Time:
    """Moves only when told to; in seconds."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "spool")


def feeds_of(journal, mono):
    return Feeds(journal.spool, World(direct, boot_of_this_machine(), 4, journal.spool.parent / "dead"), mono)


def is_told(tmp_path, trouble):
    status = read_status(tmp_path)
    return status is not None and trouble in str(status.trouble)


async def test_logs_that_are_begun_while_kafka_is_away_have_a_backlog(tmp_path, journal):
    async with forwarding(settings_for(tmp_path, f"127.0.0.1:{free_ports(1)[0]}", "p")):
        await until(lambda: is_told(tmp_path, "Kafka at"))
        writer = await journal.open()
        await journal.append(writer, range(100))
        await until(lambda: read_status(tmp_path).backlog_records == 100)

    assert read_status(tmp_path).oldest_unsent_us == 1_000_000
    await writer.aclose()


async def test_a_log_that_cannot_be_opened_is_told_of_once_and_taken_up_when_it_can_be(journal, caplog):
    await journal.write(10, slots=2)
    first, second = log_directories(journal.spool)
    (first.path / "cursor").mkdir()
    time = Time()
    feeds = feeds_of(journal, time)

    for _ in range(3):
        feeds.discover()
        time.now += HALT_SECONDS

    assert [feed.log for feed in feeds.active] == [second]
    (trouble,) = feeds.troubles
    assert first.log_id in trouble
    assert "Is a directory" in trouble
    assert len(caplog.records) == 1
    (first.path / "cursor").rmdir()
    feeds.discover()
    assert {feed.log for feed in feeds.active} == {first, second}
    assert feeds.troubles == []


async def test_a_log_that_is_taken_away_is_no_trouble_any_more(journal):
    await journal.write(10)
    (log,) = log_directories(journal.spool)
    (log.path / "cursor").mkdir()
    feeds = feeds_of(journal, Time())
    feeds.discover()
    assert len(feeds.troubles) == 1

    log.path.rename(journal.spool.parent / "archived")
    feeds.discover()

    assert feeds.troubles == []


async def test_a_log_that_cannot_be_removed_holds_up_no_other(journal):
    await journal.write(300, slots=3, size=150, segment_bytes=16 * 1024)
    feeds = feeds_of(journal, Time())
    feeds.discover()
    for feed in feeds.active:
        while not feed.is_done:
            feed.acknowledge(feed.next_part(2**20))
    feeds.save(1_000_000)
    feeds.discover()
    first, *_ = log_directories(journal.spool)
    segments = sum(len(list(log.path.glob("*.seg"))) for log in log_directories(journal.spool))
    (first.path / "a note of its operator").touch()

    with pytest.raises(OSError, match="not empty"):
        feeds.sweep(2**60)

    assert log_directories(journal.spool) == [first]
    assert feeds.removed == segments
    (first.path / "a note of its operator").unlink()
    feeds.sweep(2**60)
    assert log_directories(journal.spool) == []


async def test_a_trouble_is_over_when_kafka_takes_a_manifest(kafka, tmp_path, journal, monkeypatch):
    """No record comes that would tell: it is night."""
    away = True

    async def opened(*args, **terms):
        if away:
            raise Unavailable("Kafka is away, says this test")
        return await open_producer(*args, **terms)

    monkeypatch.setattr("prediction_log.forward.forwarding.open_producer", opened)
    monkeypatch.setattr("prediction_log.forward.forwarding.MANIFEST_SECONDS", 0.1)
    journal.spool.mkdir()
    async with forwarding(settings_for(tmp_path, kafka.address, kafka.prefix())):
        await until(lambda: is_told(tmp_path, "says this test"))
        away = False
        await until(lambda: read_status(tmp_path).trouble is None)


async def test_a_cursor_that_cannot_be_stored_is_told_of_until_it_can_be(kafka, tmp_path, journal, caplog):
    caplog.set_level(logging.INFO)
    broken = True

    def disk(operation, /, *args, **kwargs):
        if broken and operation is os.open and Path(args[0]).name == "cursor":
            raise OSError(errno.EIO, "injected")
        return operation(*args, **kwargs)

    writer = await journal.open()
    await journal.append(writer, range(100))
    async with forwarding(settings_for(tmp_path, kafka.address, kafka.prefix()), disk=disk):
        await until(lambda: is_told(tmp_path, "cursor cannot be stored"))
        await journal.append(writer, range(100, 200))
        await until(lambda: read_status(tmp_path).acked == 200)

        assert is_told(tmp_path, "cursor cannot be stored")
        assert "forwarding again" not in caplog.text
        assert caplog.text.count("cursor cannot be stored") == 1
        broken = False
        await until(lambda: read_status(tmp_path).trouble is None)
    await writer.aclose()
