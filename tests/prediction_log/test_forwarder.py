"""The forwarder against a real Kafka: everything arrives, once after deduplication, and its links and seals prove it."""

import asyncio
import json
import os

import pytest

from contracts.errors import InvalidSettings
from prediction_log.forward.cursor import cursor_of
from prediction_log.forward.status import read_status
from prediction_log.kafka.message import key_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.places import log_directories
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_kit import (
    PARTITIONS,
    WAIT_SECONDS,
    Journal,
    acked,
    all_done,
    forwarding,
    receive,
    settings_for,
    until,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "spool")


async def test_what_was_committed_arrives_once_in_the_partition_of_its_key(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    await journal.write(3000, slots=2, size=300)

    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    assert set(received.counts().values()) == {1}
    assert received.others == []
    received.assert_unbroken()
    for topic, partition, entry in received.entries:
        assert topic == topics_of(prefix).predictions
        assert [partition] == partitions_of([key_of(Kind.PREDICTION, entry.payload)], PARTITIONS)


async def test_every_kind_has_its_topic_and_labels_lie_with_their_prediction(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    writer = await journal.open()
    await writer.append(Kind.PREDICTION, b'{"prediction_id":"one"}')
    await writer.append(Kind.LABEL, b'{"prediction_id":"one#3","label":1}')
    await writer.append(Kind.AUDIT, b'{"model":"m"}')
    await writer.aclose()

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    topics = topics_of(prefix)
    places = {entry.kind: (topic, partition) for topic, partition, entry in received.entries}
    assert {kind: topic for kind, (topic, _) in places.items()} == {
        Kind.PREDICTION: topics.predictions,
        Kind.LABEL: topics.labels,
        Kind.AUDIT: topics.audit,
    }
    assert places[Kind.PREDICTION][1] == places[Kind.LABEL][1]
    keys = {message.key for _, _, message in received.raw if dict(message.headers)["ce_type"].endswith(b"label.v1")}
    assert keys == {b"one"}


async def test_each_lane_gets_a_seal_with_its_count_for_each_segment(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    await journal.write(2000, size=300, segment_bytes=128 * 1024)

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    counted = {}
    for topic, partition, entry in received.entries:
        lane = (topic, partition, entry.segment)
        counted[lane] = counted.get(lane, 0) + 1
    sealed = {(topic, partition, c.place.segment): c.place.pseq for topic, partition, c in received.controls}
    assert len({segment for _, _, segment in counted}) > 3
    assert sealed == counted
    ends = {c.place.segment: c.place.seq for _, _, c in received.controls if c.kind == "seal"}
    last = {}
    for _, _, entry in received.entries:
        last[entry.segment] = max(last.get(entry.segment, 0), entry.seq)
    assert ends == last


async def test_pseq_counts_up_in_each_lane_of_a_segment(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    await journal.write(500, size=10)

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    for number in range(PARTITIONS):
        headers = [dict(m.headers) for t, p, m in received.raw if p == number and t.endswith("predictions")]
        records = [h for h in headers if h["ce_type"] == b"pointsman.prediction.v1"]
        assert [int(h["pseq"]) for h in records] == list(range(1, len(records) + 1))
        assert headers[-1]["ce_type"] == b"pointsman.seal.v1"


async def test_a_living_writer_is_followed(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    async with forwarding(settings):
        writer = await journal.open()
        for start in range(0, 500, 100):
            await journal.append(writer, range(start, start + 100))
            await until(lambda: acked(journal.spool) == len(journal.records))
        await writer.aclose()
        await until(lambda: all_done(journal.spool))

    assert (await receive(kafka.address, prefix)).payloads() == journal.records


async def test_a_restart_goes_on_where_the_cursor_is_and_sends_nothing_twice(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    writer = await journal.open()
    for start in range(0, 900, 300):
        await journal.append(writer, range(start, start + 300))
        async with forwarding(settings):
            await until(lambda: acked(journal.spool) == len(journal.records))
    await writer.aclose()
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    assert set(received.counts().values()) == {1}
    received.assert_unbroken()


async def test_a_stop_first_sends_what_is_committed(kafka, tmp_path, journal, monkeypatch):
    monkeypatch.setattr("prediction_log.forward.forwarder.DRAIN_SECONDS", 40.0)
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    await journal.write(10)
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))
        writer = await journal.open("late")
        await journal.append(writer, range(1000, 3000))

    assert acked(journal.spool) == len(journal.records)
    await writer.aclose()


async def test_a_second_forwarder_of_the_same_spool_is_refused(kafka, tmp_path, journal):
    settings = settings_for(tmp_path, kafka.address, kafka.prefix())
    async with forwarding(settings) as first:
        await until(lambda: read_status(tmp_path) is not None)
        with pytest.raises(InvalidSettings, match="is being forwarded already, by process"):
            async with forwarding(settings):
                await asyncio.sleep(1)
        assert not first.done()


async def test_without_kafka_in_the_settings_there_is_nothing_to_do(tmp_path):
    with pytest.raises(InvalidSettings, match="kafka is not set"):
        async with forwarding(settings_for(tmp_path, "", "p")):
            await asyncio.sleep(1)


async def test_a_record_without_a_key_is_kept_aside_and_a_tombstone_takes_its_place(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    writer = await journal.open()
    await journal.append(writer, range(3))
    await writer.append(Kind.PREDICTION, b'{"no": "id"}')
    await writer.append(Kind.PREDICTION, b"\xff not even JSON")
    await journal.append(writer, range(3, 6))
    await writer.aclose()

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    assert {tombstone.place.seq for tombstone in received.of("tombstone")} == {4, 5}
    received.assert_unbroken()
    kept = {path.name.rpartition(".")[2]: path.read_bytes() for path in (tmp_path / "dead").iterdir()}
    assert kept == {"4": b'{"no": "id"}', "5": b"\xff not even JSON"}
    assert read_status(tmp_path).dead == 2


async def test_a_record_that_kafka_refuses_becomes_a_tombstone_and_the_others_arrive(
    kafka, tmp_path, journal, make_topics
):
    prefix = kafka.prefix()
    await make_topics(prefix, {"max.message.bytes": "20000"})
    writer = await journal.open(segment_bytes=2**20)
    await journal.append(writer, range(50))
    # Kafka compresses what it is given: a record that is too large is one that does not compress.
    huge = json.dumps({"prediction_id": "huge", "data": list(range(20_000))}).encode()
    await writer.append(Kind.PREDICTION, huge)
    await journal.append(writer, range(50, 100))
    await writer.aclose()

    async with forwarding(settings_for(tmp_path, kafka.address, prefix, compression="none")):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    (tombstone,) = {control.place for control in received.of("tombstone")}
    assert tombstone.seq == 51
    received.assert_unbroken()
    status = read_status(tmp_path)
    assert (status.dead, status.trouble) == (1, None)
    assert [path.read_bytes() for path in (tmp_path / "dead").iterdir()] == [huge]


async def test_what_the_reader_found_goes_to_the_audit_topic(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    await journal.write(200, size=100)
    (log,) = log_directories(journal.spool)
    segment = log.path / "00000001.seg"
    data = bytearray(segment.read_bytes())
    data[20_000] ^= 0xFF
    segment.write_bytes(data)

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    lost = {seq for _, seq in journal.records} - {seq for _, seq in received.payloads()}
    losses = [control.content for control in received.of("loss") if control.content["kind"] == "loss"]
    told = {seq for loss in losses for seq in range(loss["first"], loss["last"] + 1)}
    assert len(lost) == 1
    assert told == lost
    received.assert_unbroken()


async def test_the_law_of_partitions_changes_between_segments_only(kafka, tmp_path, journal, grow_topics):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix, partitions=2)
    writer = await journal.open(segment_bytes=64 * 1024)
    await journal.append(writer, range(100), size=200)
    async with forwarding(settings):
        await until(lambda: acked(journal.spool) == len(journal.records))
    await grow_topics(prefix, 6)
    await journal.append(writer, range(100, 1000), size=200)
    async with forwarding(settings_for(tmp_path, kafka.address, prefix, partitions=6)):
        await writer.aclose()
        await until(lambda: all_done(journal.spool))
        later = await journal.open()
        await journal.append(later, range(1000, 1100), size=200)
        await later.aclose()
        await until(lambda: acked(journal.spool) == len(journal.records))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    assert set(received.counts().values()) == {1}
    received.assert_unbroken()
    widths = {}
    for _, partition, entry in received.entries:
        number = partitions_of([key_of(entry.kind, entry.payload)], 2)[0]
        widths.setdefault((entry.log_id, entry.segment), set()).add(2 if number == partition else 6)
    assert all(width == {2} for (log_id, _), width in widths.items() if log_id == writer.log_id)
    assert 6 in widths[later.log_id, 1]


async def test_topics_that_are_too_narrow_are_told_and_waited_for(kafka, tmp_path, journal, grow_topics, make_topics):
    prefix = kafka.prefix()
    await make_topics(prefix, {})
    await journal.write(20)
    async with forwarding(settings_for(tmp_path, kafka.address, prefix, partitions=6)):
        await until(lambda: "has 4 partitions" in str(read_status(tmp_path)))
        await grow_topics(prefix, 6)
        await until(lambda: all_done(journal.spool))

    assert (await receive(kafka.address, prefix)).payloads() == journal.records


async def test_both_slots_of_a_cursor_gone_means_everything_once_more(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    await journal.write(300)
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))
    (log,) = log_directories(journal.spool)
    path = log.path / "cursor"
    path.write_bytes(bytes(len(path.read_bytes())))
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))
    received = await receive(kafka.address, prefix)

    assert received.payloads() == journal.records
    assert set(received.counts().values()) == {2}
    received.assert_unbroken()
    assert read_status(tmp_path).repairs == 1


async def test_a_cursor_beyond_the_data_is_clamped_and_counted(kafka, tmp_path, journal):
    prefix = kafka.prefix()
    settings = settings_for(tmp_path, kafka.address, prefix)
    writer = await journal.open()
    await journal.append(writer, range(100), size=100)
    async with forwarding(settings):
        await until(lambda: acked(journal.spool) == 100)
    await writer.aclose()
    (log,) = log_directories(journal.spool)
    os.truncate(log.path / "00000001.seg", 5000)  # as after power was lost: the cursor was synced, the data not
    async with forwarding(settings):
        await until(lambda: all_done(journal.spool))

    status = read_status(tmp_path)
    assert (status.repairs, status.sent) == (1, 0)
    assert cursor_of(log.path, log.log_id).position.seq == 100
    received = await receive(kafka.address, prefix)
    assert received.payloads() == journal.records


async def test_a_manifest_tells_how_far_each_log_is(kafka, tmp_path, journal, monkeypatch):
    monkeypatch.setattr("prediction_log.forward.forwarding.MANIFEST_SECONDS", 0.5)
    prefix = kafka.prefix()
    writer = await journal.open()
    await journal.append(writer, range(100))
    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: acked(journal.spool) == 100)
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                manifests = (await receive(kafka.address, prefix)).of("manifest")
                logs = [log for manifest in manifests for log in manifest.content["logs"] if log["acked"] == 100]
                if logs:
                    break
    await writer.aclose()

    told = logs[0]
    assert (told["slot"], told["log_id"], told["segment"], told["committed"]) == ("worker-0", writer.log_id, 1, 100)
    assert max(told["lanes"].values()) == 100
