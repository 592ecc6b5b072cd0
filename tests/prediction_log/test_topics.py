"""Topics are made where they are missing, looked at where they are there, and never changed."""

import asyncio

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from contracts.errors import InvalidSettings, Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.topics import ensure_topics, topics_of
from tests.services.ports import free_ports

pytestmark = pytest.mark.anyio


async def described(address, prefix):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        names = list(topics_of(prefix))
        widths = {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics(names)}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        configs = {
            name: {entry[0]: entry[1] for entry in entries}
            for answer in await admin.describe_configs(resources)
            for _, _, _, name, entries in answer.resources
        }
    finally:
        await admin.close()
    return widths, configs


async def make(address, name, partitions, configs):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=configs)])
    await admin.close()


def options_for(prefix, **more):
    return KafkaOptions(prefix=prefix, partitions=3, **more)


async def test_all_topics_are_made_by_several_programs_at_once(kafka):
    prefix = kafka.prefix()
    options = options_for(prefix)

    warnings = await asyncio.gather(*(ensure_topics(kafka.address, options, 30.0) for _ in range(4)))

    assert warnings == [[]] * 4
    widths, configs = await described(kafka.address, prefix)
    topics = topics_of(prefix)
    assert [widths[name] for name in topics] == [3, 3, 1, 3, 1, 1]
    assert configs[topics.summaries]["cleanup.policy"] == "compact"
    assert configs[topics.predictions]["retention.ms"] == str(37 * 86_400_000)
    assert {configs[name]["message.timestamp.type"] for name in topics} == {"LogAppendTime"}


async def test_a_topic_with_fewer_partitions_than_the_law_cannot_be_used(kafka):
    prefix = kafka.prefix()
    await ensure_topics(kafka.address, options_for(prefix), 30.0)

    with pytest.raises(InvalidSettings, match=r"predictions has 3 partitions, kafka_options.partitions = 4"):
        await ensure_topics(kafka.address, msgspec.structs.replace(options_for(prefix), partitions=4), 30.0)


async def test_what_is_odd_and_can_be_used_is_a_warning(kafka):
    prefix = kafka.prefix()
    await make(kafka.address, f"{prefix}.labels", 5, {"retention.ms": "86400000"})

    warnings = await ensure_topics(kafka.address, options_for(prefix), 30.0)

    assert len(warnings) == 2
    assert "labels has 5 partitions, and the first 3 are used" in warnings[0]
    assert "labels keeps records for 1 days" in warnings[1]


@pytest.mark.parametrize(
    ("name", "policy"), [("predictions", "compact"), ("summaries", "delete"), ("summaries", "compact,delete")]
)
async def test_a_topic_that_would_forget_the_wrong_things_cannot_be_used(kafka, name, policy):
    prefix = kafka.prefix()
    await make(kafka.address, f"{prefix}.{name}", 3, {"cleanup.policy": policy})

    with pytest.raises(InvalidSettings, match=f"{name} has cleanup.policy = {policy}"):
        await ensure_topics(kafka.address, options_for(prefix), 30.0)


async def test_a_kafka_that_is_away_or_refuses_is_unavailable(kafka):
    with pytest.raises(Unavailable, match="Unable to bootstrap"):
        await ensure_topics(f"127.0.0.1:{free_ports(1)[0]}", options_for("p"), 30.0)
    with pytest.raises(Unavailable, match="cannot be made: InvalidReplicationFactor"):
        await ensure_topics(kafka.address, options_for(kafka.prefix(), replication_factor=9), 30.0)
