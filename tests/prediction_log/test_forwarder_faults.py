"""The forwarder under kills, outages, bad networks and refusals: everything still arrives, once after deduplication."""

import asyncio
import zlib

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import OutOfOrderSequenceNumber, TopicAuthorizationFailedError, UnknownError

from prediction_log.forward.status import read_status
from prediction_log.kafka.producer import open_producer
from prediction_log.spool.places import log_directories
from tests.prediction_log.kafka_kit import (
    WAIT_SECONDS,
    Journal,
    acked,
    all_done,
    forwarding,
    kill,
    receive,
    settings_for,
    start_process,
    until,
)
from tests.services.ports import free_ports

pytestmark = pytest.mark.anyio

SWEEP = "from prediction_log.forward import forwarding; forwarding.SWEEP_SECONDS = forwarding.WATCH_SECONDS = 0.05"
HOLD = """
import os, signal
from prediction_log.forward.feeds import Feeds
honest = Feeds.save
def held(feeds, now_us):
    honest(feeds, now_us)
    os.kill(os.getpid(), signal.SIGSTOP)
Feeds.save = held
"""
"""It stands still as soon as a cursor is stored: the rest is on its way, however late the kill comes."""
DIE_AT = """
import os, signal
from prediction_log.spool import disk
from prediction_log.forward import forwarding
forwarding.SWEEP_SECONDS = forwarding.WATCH_SECONDS = 0.05
left = {number}
def dying(operation, *args, **kwargs):
    global left
    left -= operation in (os.unlink, os.rmdir)
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return operation(*args, **kwargs)
honest = serve_forwarder
serve_forwarder = lambda settings, stop: honest(settings, stop, disk=dying)
"""


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "spool")


async def everything_arrived(address, prefix, journal):
    received = await receive(address, prefix)
    assert received.payloads() == journal.records
    received.assert_unbroken()
    return received


async def test_kill_9_in_the_middle_of_sending_loses_nothing(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    await journal.write(15_000, slots=2, size=400, segment_bytes=4 * 2**20)
    kills = 0
    while not all_done(journal.spool):
        before = acked(journal.spool)
        process = start_process(settings, patch=HOLD if kills < 2 else "")
        try:
            await until(lambda: acked(journal.spool) > before or all_done(journal.spool))  # noqa: B023 - asked at once
            if kills >= 3:
                await until(lambda: all_done(journal.spool))
        finally:
            kill(process)
        kills += 1
    received = await everything_arrived(kafka.address, prefix, journal)

    assert kills >= 2
    seals = {(t, p, c.place.log_id, c.place.segment): c.place.pseq for t, p, c in received.controls if c.kind == "seal"}
    counted = {}
    for (topic, partition, log_id), places in received.lanes().items():
        segments = {
            entry.seq: entry.segment
            for t, p, entry in received.entries
            if (t, p, entry.log_id) == (topic, partition, log_id)
        }
        for seq, _ in places:
            lane = (topic, partition, log_id, segments[seq])
            counted[lane] = counted.get(lane, 0) + 1
    assert seals == counted


async def test_kill_9_between_the_cursor_and_any_removal_leaves_no_file_for_ever(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix, spool_retain_hours=0.0)
    await journal.write(200, size=100, segment_bytes=16 * 1024)
    for number in (1, 2, 5):
        process = start_process(settings, "forwarding", DIE_AT.format(number=number))
        try:
            await until(lambda: process.poll() is not None)  # noqa: B023 - asked at once
        finally:
            kill(process)
        assert log_directories(journal.spool), number
    process = start_process(settings, "forwarding", SWEEP)
    try:
        await until(lambda: not log_directories(journal.spool))
    finally:
        kill(process)

    await everything_arrived(kafka.address, prefix, journal)


async def test_kafka_may_be_away_at_the_start_and_go_and_come_back(own_kafka, tmp_path, journal):
    cluster = own_kafka(1)
    (broker,) = cluster.brokers
    broker.kill()
    settings = settings_for(tmp_path, cluster.address, "p")
    writer = await journal.open()
    await journal.append(writer, range(1000))
    async with forwarding(settings) as task:
        await until(lambda: (status := read_status(tmp_path)) is not None and status.trouble is not None)
        status = read_status(tmp_path)
        assert (status.state, status.backlog_records, status.oldest_unsent_us) == ("connecting", 1000, 1_000_000)
        await asyncio.to_thread(broker.start)
        await until(lambda: acked(journal.spool) == 1000)
        broker.kill()
        await journal.append(writer, range(1000, 2000))
        await until(lambda: read_status(tmp_path).backlog_records == 1000)
        await asyncio.to_thread(broker.start)
        await until(lambda: acked(journal.spool) == 2000)
        broker.pause()
        await journal.append(writer, range(2000, 3000))
        await asyncio.sleep(1)
        broker.go_on()
        await writer.aclose()
        await until(lambda: all_done(journal.spool))
        await until(lambda: read_status(tmp_path).trouble is None)
        assert not task.done()

    await everything_arrived(cluster.address, "p", journal)


async def test_a_slow_and_narrow_network_gets_everything_in_the_end(
    own_kafka, make_proxy, tmp_path, journal, monkeypatch
):
    cluster = own_kafka(1)
    (broker,) = cluster.brokers
    proxy = make_proxy(broker.behind_port, broker.through_port)
    monkeypatch.setattr("prediction_log.forward.forwarder.STALL_SECONDS", 4.0)
    settings = settings_for(tmp_path, broker.through, "p", compression="none")
    await journal.write(3000, size=1000, segment_bytes=2**20)
    with proxy.being(latency_s=0.1, bytes_per_second=50_000):
        async with forwarding(settings):
            await until(lambda: acked(journal.spool) > 50, 2 * WAIT_SECONDS)
            assert not all_done(journal.spool)
            proxy.latency_s, proxy.bytes_per_second = 0.0, 0
            await until(lambda: all_done(journal.spool))

    await everything_arrived(cluster.address, "p", journal)


@pytest.mark.parametrize("how", ["silent", "lost_replies"])
async def test_a_network_that_swallows_is_noticed_and_everything_sent_again(
    own_kafka, make_proxy, tmp_path, journal, monkeypatch, how
):
    cluster = own_kafka(1)
    (broker,) = cluster.brokers
    proxy = make_proxy(broker.behind_port, broker.through_port)
    stall = "prediction_log.forward.forwarder.STALL_SECONDS"
    monkeypatch.setattr(stall, 600.0)
    settings = settings_for(tmp_path, broker.through, "p")
    writer = await journal.open()
    await journal.append(writer, range(100))
    async with forwarding(settings):
        await until(lambda: acked(journal.spool) == 100)
        with proxy.being(**{how: True}):
            await journal.append(writer, range(100, 1100))
            async with asyncio.timeout(WAIT_SECONDS):
                while how == "lost_replies" and len((await receive(cluster.address, "p")).entries) == 100:
                    await asyncio.sleep(0.1)
            monkeypatch.setattr(stall, 1.0)
            await until(lambda: read_status(tmp_path).rebuilds > 0)
            assert read_status(tmp_path).trouble is not None
            monkeypatch.setattr(stall, 30.0)
        proxy.cut()
        await writer.aclose()
        await until(lambda: all_done(journal.spool))

    received = await everything_arrived(cluster.address, "p", journal)
    if how == "lost_replies":
        assert 2 in received.counts().values()


async def test_a_stop_is_over_in_time_whatever_kafka_does_and_the_rest_stays(
    own_kafka, make_proxy, tmp_path, journal, monkeypatch
):
    cluster = own_kafka(1)
    (broker,) = cluster.brokers
    proxy = make_proxy(broker.behind_port, broker.through_port)
    settings = settings_for(tmp_path, broker.through, "p")
    await journal.write(100)
    with monkeypatch.context() as patch:  # by themselves requests end, or are given up, long after `forwarding` does
        patch.setattr("prediction_log.kafka.producer.REQUEST_MS_MAX", 600_000)
        patch.setattr("prediction_log.forward.forwarder.STALL_SECONDS", 600.0)
        async with forwarding(settings):
            await until(lambda: all_done(journal.spool))
            writer = await journal.open("late")
            proxy.silent = True
            await journal.append(writer, range(1000, 2000))
            await asyncio.sleep(0.5)
    await writer.aclose()
    proxy.silent = False
    proxy.cut()
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))

    await everything_arrived(cluster.address, "p", journal)


async def test_a_stop_while_kafka_is_away_does_not_wait_for_it(tmp_path, journal):
    await journal.write(10)
    async with forwarding(settings_for(tmp_path, f"127.0.0.1:{free_ports(1)[0]}", "p")):
        await until(lambda: (status := read_status(tmp_path)) is not None and status.trouble is not None)

    assert read_status(tmp_path).state == "stopped"


@pytest.mark.parametrize(
    "error", [TopicAuthorizationFailedError("t"), OutOfOrderSequenceNumber(), UnknownError()], ids=repr
)
async def test_what_is_not_the_record_s_fault_never_costs_a_record(kafka, tmp_path, journal, monkeypatch, error):
    """Brokers of the tests refuse nobody; so the third batch of each of the first three producers is refused here."""
    producers, honest, sent = [], open_producer, AIOKafkaProducer.send_batch

    async def counted(*args, **terms):
        producers.append(await honest(*args, **terms))
        return producers[-1]

    async def refusing(self, batch, topic, *, partition):
        self.batches = getattr(self, "batches", 0) + 1
        if len(producers) <= 3 and self.batches == 3:
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(error)
            return refused
        return await sent(self, batch, topic, partition=partition)

    monkeypatch.setattr("prediction_log.forward.forwarding.open_producer", counted)
    monkeypatch.setattr(AIOKafkaProducer, "send_batch", refusing)
    prefix = kafka.prefix()
    await journal.write(500)
    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
        await until(lambda: read_status(tmp_path).rebuilds == 3)

    received = await everything_arrived(kafka.address, prefix, journal)
    assert len(producers) == 4
    assert received.of("tombstone") == []
    assert not (tmp_path / "dead").exists()


async def test_a_log_that_cannot_be_read_holds_up_no_other(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    await journal.write(50, slots=2)
    first, _ = log_directories(journal.spool)
    segment = first.path / "00000001.seg"
    ours = segment.read_bytes()
    fields = ours[:4] + (9).to_bytes(2, "little") + ours[6:60]  # another version of the format
    segment.write_bytes(fields + zlib.crc32(fields).to_bytes(4, "little") + ours[64:])
    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: acked(journal.spool) == 50)
        await until(lambda: "segment format" in str(read_status(tmp_path)))
        segment.write_bytes(ours)
        await until(lambda: all_done(journal.spool))

    await everything_arrived(kafka.address, prefix, journal)
