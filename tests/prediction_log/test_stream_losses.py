"""What a stream says of records that were taken back, cut off or deleted, and of topics and brokers that are away."""

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from contracts.errors import Unavailable
from prediction_log.finding import FindingKind
from prediction_log.kafka.message import headers_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_admin import admin_of, delete
from tests.prediction_log.kafka_messages import OTHER_LOG, Host, prediction, prediction_id, small
from tests.prediction_log.stream_member import Member

pytestmark = pytest.mark.anyio


async def test_what_a_transaction_took_back_is_never_read(kafka, host, member):
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=host.options.prefix)
    await producer.start()
    try:
        key = prediction_id(1).encode()
        for seq, whole in ((1, False), (2, True)):
            await producer.begin_transaction()
            topic, partition, place = host.place(Kind.PREDICTION, prediction(1), seq)
            headers = headers_of("worker-0", Kind.PREDICTION, place)
            await producer.send_and_wait(topic, prediction(1), key, partition, headers=headers)
            await (producer.commit_transaction() if whole else producer.abort_transaction())
    finally:
        await producer.stop()

    async with member() as one:
        await one.until_read(1)
        await one.until(lambda: any(batch.caught_up for p, batch in one.batches if p == partition))

    assert [entry.seq for entry in one.all("entries")] == [2]
    assert dict(one.batches)[partition].positions[host.topics.predictions] == 4, "both markers are passed over"


async def test_offsets_that_retention_took_are_told_as_lost(kafka, host, member):
    for seq in range(1, 11):
        await host.send(Kind.PREDICTION, prediction(1), seq)
    await host.producer.flush()
    (partition,) = partitions_of([prediction_id(1).encode()], 4)
    async with member(records_max=3) as first:
        await first.until_read(3)
    saved = dict(first.saved)
    read = len(first.all("entries"))
    topic = host.topics.predictions
    async with admin_of(kafka.address) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=8)})

    async with member(saved=saved) as second:
        await second.until_read(2)

    (finding,) = second.all("findings")
    assert (finding.kind, finding.log_id) == (FindingKind.LOSS, f"{topic}/{partition}")
    assert (finding.first_seq, finding.last_seq) == (read, 7)
    assert [entry.seq for entry in second.all("entries")] == [9, 10]


async def test_a_topic_that_was_made_anew_is_told_and_read_from_its_beginning(kafka, host, member):
    for seq in range(1, 11):
        await host.send(Kind.PREDICTION, prediction(1), seq)
    await host.producer.flush()
    async with member() as first:
        await first.until_read(10)
    async with admin_of(kafka.address) as admin:
        await delete(admin, host.topics.predictions)
    async with Host(kafka.address, host.options) as again:
        await again.send(Kind.PREDICTION, prediction(1), 1, OTHER_LOG)

    async with member(saved=first.saved) as second:
        await second.until_read(1)

    (finding,) = second.all("findings")
    assert (finding.kind, finding.first_seq, finding.offset) == (FindingKind.LOSS, None, 10)
    assert "made anew" in finding.detail
    assert [entry.log_id for entry in second.all("entries")] == [f"p:{OTHER_LOG}"]


async def test_a_topic_that_goes_away_is_not_taken_for_silence(kafka, host, member):
    async with member() as one:
        await one.until(lambda: one.stream.held)
        async with admin_of(kafka.address) as admin:
            await admin.delete_topics([host.topics.labels])
        one.stream._consumer._client.force_metadata_update()  # it asks by itself every five minutes
        with pytest.raises(Unavailable, match="is not there"):
            await one.until(lambda: False)


async def test_a_kafka_that_is_away_is_said_to_be(kafka):
    from tests.services.ports import free_ports

    one = Member(f"127.0.0.1:{free_ports(1)[0]}", small("nobody"))
    with pytest.raises(Unavailable, match="asked again"):
        await one.stream.start()
    await one.stream.aclose()
