"""A consumer says when it has stopped working, and is gone when it is let go of, whatever state it is in."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from contracts.errors import Unavailable
from prediction_log.kafka.consumer import demand_alive, let_go

pytestmark = pytest.mark.anyio
GROUP = {"session_timeout_ms": 300_000, "heartbeat_interval_ms": 200, "enable_auto_commit": False}
"""Who dies without leaving the group holds up whoever joins it for longer than any test waits."""


@pytest.fixture
def topic(kafka):
    """A topic of four partitions."""
    name = kafka.prefix()

    async def make():
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
        await admin.start()
        await admin.create_topics([NewTopic(name, 4, 1)])
        await admin.close()

    asyncio.run(make())
    return name


async def joined(address, topic, **more):
    """A consumer that has partitions."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, group_id=f"{topic}-group", **GROUP, **more)
    await consumer.start()
    async with asyncio.timeout(60):
        while len(consumer.assignment()) < 4:
            await consumer.getmany(timeout_ms=100)
    return consumer


async def others():
    """The client's tasks that still run, after those that were told to end have had their turn."""
    for _ in range(1500):
        running = [task for task in asyncio.all_tasks() if not task.done()]
        left = [
            task for task in running if "aiokafka" in getattr(task.get_coro(), "cr_code", others.__code__).co_filename
        ]
        if not left:
            return []
        await asyncio.sleep(0.02)
    return left


async def dying():
    raise RuntimeError("the handler is closed")


def kill_fetching(consumer):
    """What happens where a connection breaks in a way that the client does not expect."""
    fetcher = consumer._fetcher
    fetcher._fetch_task.cancel()
    fetcher._fetch_task = asyncio.ensure_future(dying())


async def test_a_consumer_that_works_is_let_alone_and_leaves_nothing_behind(kafka, topic):
    consumer = await joined(kafka.address, topic)
    demand_alive(consumer)

    await let_go(consumer)

    assert await others() == []


async def test_a_consumer_that_has_hardly_started_is_let_go_of_without_being_taken_for_a_cancellation(kafka, topic):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.address)
    await consumer.start()
    consumer._coordinator._reset_committed_task.cancel()

    await let_go(consumer)

    assert await others() == []


@pytest.mark.parametrize("task", ["fetching", "following"])
async def test_a_consumer_whose_tasks_are_dead_says_so_and_gives_its_partitions_back(kafka, topic, task):
    consumer = await joined(kafka.address, topic)
    if task == "fetching":
        kill_fetching(consumer)
    else:
        consumer._client._sync_task.cancel()
        consumer._client._sync_task = asyncio.ensure_future(dying())
    await asyncio.sleep(0.05)

    with pytest.raises(Unavailable, match="handler is closed"):
        demand_alive(consumer)
    await let_go(consumer)

    assert await others() == []
    await let_go(await joined(kafka.address, topic))  # at once: the dead one has left the group


async def test_where_kafka_says_nothing_a_consumer_is_gone_all_the_same(own_kafka, make_proxy):
    broker = own_kafka(1).brokers[0]
    network = make_proxy(broker.behind_port, broker.through_port)
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    await admin.start()
    await admin.create_topics([NewTopic("t", 4, 1)])
    await admin.close()
    consumer = await joined(broker.through, "t", request_timeout_ms=600_000)
    network.silent = True

    async with asyncio.timeout(60):  # nothing waits for requests to be over
        await let_go(consumer, 0.5)

    assert await others() == []
