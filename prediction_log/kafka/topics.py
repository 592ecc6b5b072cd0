"""The topics of a fleet: their names, their making where they are missing, and what is wrong with those that are there.

Enters: the brokers' address, the options and how long labels may come after their predictions. Leaves: warnings for
people; `Unavailable` where Kafka is away or forbids it; `InvalidSettings` where a topic cannot be used as it is. Never
changes a topic that exists.

Records are stamped by the broker as they are appended: a host whose clock is wrong can neither be refused for it nor have
its records kept shorter or longer than the others'.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from contracts.errors import InvalidSettings, Unavailable
from contracts.settings import KafkaOptions
from prediction_log.kafka.client import client_options
from prediction_log.spool.segment import FRAME_BYTES_MAX

DAY_MS: Final = 86_400_000
MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + 2**20
"""What new topics take: the largest record of the spool with its key and headers, uncompressed."""
RETENTION_SPARE_DAYS: Final = 7.0
"""Beyond the labels' horizon: a monitor that was away for some days still finds everything it needs."""
KEEP_DAYS: Final = 400.0
"""How long verdicts, audit records and dead letters stay: more than a year's audit."""
ADMIN_SECONDS_MAX: Final = 30.0

_NO_ERROR: Final = 0
_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36
_WAITS: Final = 100
_WAIT_SECONDS: Final = 0.05


class Topics(NamedTuple):
    """The names."""

    predictions: str
    labels: str
    audit: str
    summaries: str
    verdicts: str
    dead: str


class Found(NamedTuple):
    """What a topic is like."""

    partitions: int
    replicas: int
    configs: Mapping[str, str]


def topics_of(prefix: str) -> Topics:
    """The names of a fleet's topics."""
    return Topics(*(f"{prefix}.{name}" for name in Topics._fields))


async def ensure_topics(address: str, options: KafkaOptions, horizon_days: float) -> list[str]:
    """Make the topics that are missing, look at those that are there; warnings."""
    admin = AIOKafkaAdminClient(**client_options(address, options), request_timeout_ms=10_000)
    try:
        async with asyncio.timeout(ADMIN_SECONDS_MAX):
            await admin.start()
            found = await _made(admin, options, horizon_days)
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"Kafka at {address}: {error!r}; it is asked again") from error
    finally:
        await admin.close()
    topics = topics_of(options.prefix)
    return [warning for name in topics for warning in judge_topic(name, found[name], options, horizon_days)]


async def _made(admin: AIOKafkaAdminClient, options: KafkaOptions, horizon_days: float) -> dict[str, Found]:
    names = topics_of(options.prefix)
    there = await _partitions(admin, names)
    wanted = wanted_topics(options, horizon_days)
    missing = [
        NewTopic(name, partitions, options.replication_factor, topic_configs=configs)
        for name, (partitions, configs) in wanted.items()
        if name not in there
    ]
    if missing:
        answer = await admin.create_topics(missing)
        for topic, code, *message in answer.topic_errors:
            if code not in {_NO_ERROR, _TOPIC_EXISTS}:
                raise Unavailable(f"topic {topic} cannot be made: {_reason(code, message)}; make it or allow it")
    for _ in range(_WAITS):  # another broker may hear of a new topic a little later
        there = await _partitions(admin, names)
        if len(there) == len(names):
            break
        await asyncio.sleep(_WAIT_SECONDS)
    else:
        raise Unavailable(
            f"topics {sorted(set(names) - set(there))} were made and are not there yet; they are asked again"
        )
    configs = await _configs(admin, names)
    return {name: Found(*there[name], configs.get(name, {})) for name in names}


def wanted_topics(options: KafkaOptions, horizon_days: float) -> dict[str, tuple[int, dict[str, str]]]:
    """How new topics are made: partitions and configuration."""
    topics = topics_of(options.prefix)
    shared = {"max.message.bytes": str(MESSAGE_BYTES_MAX), "message.timestamp.type": "LogAppendTime"}
    if options.replication_factor >= 3:  # with two copies, one broker's absence would stop the fleet's log
        shared["min.insync.replicas"] = "2"
    streams = {**shared, "retention.ms": _milliseconds(horizon_days + RETENTION_SPARE_DAYS)}
    kept = {**shared, "retention.ms": _milliseconds(KEEP_DAYS)}
    compacted = {**shared, "cleanup.policy": "compact"}
    return {
        topics.predictions: (options.partitions, streams),
        topics.labels: (options.partitions, streams),
        topics.audit: (1, kept),
        topics.summaries: (options.partitions, compacted),
        topics.verdicts: (1, kept),
        topics.dead: (1, kept),
    }


def judge_topic(name: str, found: Found, options: KafkaOptions, horizon_days: float) -> list[str]:
    """What people should know about a topic. Raises InvalidSettings where it cannot be used."""
    topics = topics_of(options.prefix)
    law = options.partitions if name in {topics.predictions, topics.labels, topics.summaries} else 1
    if found.partitions < law:
        raise InvalidSettings(
            f"topic {name} has {found.partitions} partitions, kafka_options.partitions = {options.partitions}: give it"
            " more, or set what it has, in every program of the fleet"
        )
    policy = found.configs.get("cleanup.policy", "")
    if policy and policy != ("compact" if name == topics.summaries else "delete"):
        need = "compact: old summaries must not expire" if name == topics.summaries else "delete: each record counts"
        raise InvalidSettings(f"topic {name} has cleanup.policy = {policy}; it needs {need}")
    return _warnings(name, found, options, law, horizon_days)


def _warnings(name: str, found: Found, options: KafkaOptions, law: int, horizon_days: float) -> list[str]:
    warnings = []
    if found.partitions > law:
        warnings.append(
            f"topic {name} has {found.partitions} partitions, and the first {law} are used; a label producer of your own"
            " has to know that"
        )
    if found.replicas < options.replication_factor:
        warnings.append(f"topic {name} has {found.replicas} copies of each record, not {options.replication_factor}")
    retention = int(found.configs.get("retention.ms", "-1"))
    needed = _milliseconds(horizon_days)
    if name in topics_of(options.prefix)[:2] and 0 <= retention < int(needed):
        warnings.append(
            f"topic {name} keeps records for {retention / DAY_MS:g} days; labels may come {horizon_days:g} days after their"
            f" predictions: set retention.ms to {needed} or more"
        )
    return warnings


def _milliseconds(days: float) -> str:
    return str(int(days * DAY_MS))


async def _partitions(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Partitions and replicas of the topics that exist."""
    found = {}
    for topic in await admin.describe_topics(list(names)):
        code, partitions = topic["error_code"], topic["partitions"]
        if code == _NO_ERROR and partitions:
            found[topic["topic"]] = (len(partitions), min(len(one["replicas"]) for one in partitions))
        elif code not in {_NO_ERROR, _UNKNOWN_TOPIC} and not for_code(code).retriable:
            raise Unavailable(f"topic {topic['topic']}: {_reason(code, [])}; allow it, or correct the prefix")
    return found


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Configuration by topic; none of a topic whose configuration we may not read."""
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, _, _, name, entries in answer.resources:
            if code == _NO_ERROR:
                found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


def _reason(code: int, message: Sequence[Any]) -> str:
    said = next((str(part) for part in message if part), "")
    return f"{for_code(code).__name__}{': ' + said if said else ''}"


async def partitions_there(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> list[TopicPartition]:
    """All partitions of the topics; the admin client is started and closed. Raises Unavailable where a topic is absent."""
    try:
        await admin.start()
        described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics(list(topics))}
    finally:
        await admin.close()
    absent = [topic for topic in topics if not described.get(topic)]
    if absent:
        raise Unavailable(f"there are no topics {absent}: see to kafka_options.prefix, or start a forwarder")
    return [TopicPartition(topic, row["partition"]) for topic in topics for row in described[topic]]
