"""Three brokers, three copies: each killed in turn, then two at once, then one too many for `min.insync.replicas`.

Leaders move, copies lag, the log waits; serving does not notice, and what was acknowledged is neither missing nor double.
"""

import asyncio
import time

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from prediction_log.forward.status import read_status
from prediction_log.kafka.topics import topics_of
from tests.services.fleet import Fleet, summaries

CLIENTS = 4
REST_SECONDS = 0.02
AWAY_SECONDS = 2.0


@pytest.mark.timeout(900)
def test_brokers_that_die_cost_no_record_and_no_request(start, load, own_kafka, redis_server, until, tmp_path):
    kafka = own_kafka(3)
    prefix = kafka.prefix()
    fleet = Fleet(start, tmp_path, kafka.address, prefix, redis_server.url, replication_factor=3)
    host, monitor = fleet.add_host("a"), fleet.add_monitor("monitor-0")
    fleet.ready()
    traffic = load(host, pause=REST_SECONDS)
    forwarder = Forwarder(host.state, traffic, until)

    def kill_brokers():
        forwarder.sends_on("before anything happened")
        for broker in kafka.brokers:
            broker.kill()
            time.sleep(AWAY_SECONDS)
            broker.start()
        forwarder.sends_on("after each broker was away")
        for broker in kafka.brokers[:2]:
            broker.kill()
        forwarder.waits("two of three brokers are away")
        kafka.start(kafka.brokers[:2])
        forwarder.sends_on("after two brokers were away")
        asyncio.run(demand_copies(kafka.address, prefix, 3))
        kafka.brokers[2].kill()
        forwarder.waits("two copies, and three are demanded")
        kafka.brokers[2].start()
        forwarder.sends_on("with all copies again")

    asyncio.run(traffic.during(CLIENTS, kill_brokers))
    assert fleet.stop("a") == [0]
    certificate = fleet.certified()
    expected = fleet.oracle()
    view = next(monitor.state.rglob("view.sqlite"))
    until(lambda: summaries(view) == expected, seconds=120, every=0.5, what="the counts of one undisturbed pass")

    assert fleet.stop("a-forward", "monitor-0") == [0, 0]
    assert (traffic.failures, traffic.resets) == ([], 0)
    assert certificate["records"] >= len(traffic.answers) > 300
    print(f"\n{len(traffic.answers)} answers, {certificate['records']} records in Kafka, none missing, ", end="")
    print(f"{certificate['duplicates']} duplicates dropped; {forwarder.told}")


class Forwarder:
    """What the forwarder of a host says of itself, while requests are answered."""

    def __init__(self, state, traffic, until):
        self.state, self.traffic, self.until = state, traffic, until
        self.told = {}

    def sends_on(self, when):
        """Kafka acknowledges records that were answered after now."""
        began = time.monotonic()
        acked = self._status().acked
        self.until(lambda: self._status().acked > acked + 50, seconds=120, every=0.1, what=f"records sent {when}")
        self.told[when] = f"{time.monotonic() - began:.1f} s"

    def waits(self, why):
        """Nothing is acknowledged, much waits, and requests are answered all the same."""
        began, answered = time.monotonic(), len(self.traffic.answers)

        def waiting():
            status = self._status()
            return status.state in {"waiting", "connecting"} and status.backlog_records > 100

        self.until(waiting, seconds=120, every=0.1, what=f"the forwarder waits: {why}")
        self.until(lambda: len(self.traffic.answers) > answered + 100, what=f"answers all the same: {why}")
        self.told[why] = f"waits after {time.monotonic() - began:.1f} s"

    def _status(self):
        return self.until(lambda: read_status(self.state), what="a status")


async def demand_copies(address, prefix, number):
    """From now on a record is acknowledged only when so many brokers have it."""
    topics = topics_of(prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        for name in (topics.predictions, topics.labels):
            resource = ConfigResource(ConfigResourceType.TOPIC, name, configs={"min.insync.replicas": str(number)})
            [answer] = await admin.alter_configs([resource])
            assert all(code == 0 for code, *_ in answer.resources), answer
    finally:
        await admin.close()
