"""A producer is let go within a bound and leaves nothing behind, whatever Kafka does: no task, no batch, no complaint."""

import asyncio
import gc

import pytest

from contracts.errors import Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.producer import let_go, open_producer
from prediction_log.kafka.topics import topics_of
from tests.prediction_log.kafka_messages import made
from tests.services.ports import free_ports

pytestmark = pytest.mark.anyio


async def begin(producer, topic, batches=3):
    """Send a few batches; how they end is for whoever waits."""
    sent = []
    for _ in range(batches):
        batch = producer.create_batch()
        batch.append(timestamp=None, key=b"k", value=b"v" * 1000)
        sent.append(asyncio.ensure_future(producer.send_batch(batch, topic, partition=0)))
    await asyncio.sleep(0.05)
    for task in sent:
        task.cancel()
    await asyncio.gather(*sent, return_exceptions=True)


async def test_what_can_be_delivered_in_time_is(kafka):
    options = KafkaOptions(prefix=kafka.prefix(), partitions=1)
    await made(kafka.address, options)
    producer = await open_producer(kafka.address, options)
    batch = producer.create_batch()
    batch.append(timestamp=None, key=b"k", value=b"v")
    acknowledged = await producer.send_batch(batch, topics_of(options.prefix).labels, partition=0)
    await let_go(producer, 60.0)

    assert acknowledged.done()
    assert acknowledged.result().offset == 0


@pytest.mark.parametrize("how", ["silent", "stopped"])
async def test_what_cannot_is_given_up(own_kafka, make_proxy, monkeypatch, how):
    monkeypatch.setattr("prediction_log.kafka.producer.REQUEST_MS_MAX", 600_000)
    cluster = own_kafka(1)
    broker = cluster.brokers[0]
    options = KafkaOptions(prefix="p", partitions=1)
    await made(cluster.address, options)
    proxy = make_proxy(broker.behind_port, broker.through_port)
    producer = await open_producer(broker.through, options)
    await begin(producer, topics_of("p").labels, 1)
    before = asyncio.all_tasks()
    if how == "silent":
        proxy.silent = True
    else:
        broker.kill()
    await begin(producer, topics_of("p").labels)

    async with asyncio.timeout(60):  # nothing waits for requests to be over
        await let_go(producer, 0.2)

    del producer
    async with asyncio.timeout(60):
        while asyncio.all_tasks() - before - {asyncio.current_task()}:  # requests under way end with their connection
            await asyncio.sleep(0.05)
    gc.collect()  # nobody may complain about what nobody asked for: warnings are errors here


async def test_a_kafka_that_is_away_is_unavailable_at_once(kafka):
    with pytest.raises(Unavailable, match="Unable to bootstrap"):
        await open_producer(f"127.0.0.1:{free_ports(1)[0]}", KafkaOptions())
