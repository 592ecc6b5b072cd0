"""The certificate against what the monitors say they counted: each record once, or the name of those that were not."""

import json

import pytest

from prediction_log.certificate.kafka_counted import Hole, Published
from prediction_log.kafka.message import headers_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, lane, prediction, prediction_id, some

pytestmark = pytest.mark.anyio


@pytest.fixture
def counted(host, certify):
    """The certificate where each partition's owner counted everything but what a test takes away."""

    async def ask(change=lambda _: None, **more):
        await host.producer.flush()
        published = {p: Published({}, dict.fromkeys(host.topics[:2], 10**6)) for p in range(4)}
        for log_id, sent in host.sent.items():
            for topic, partition, _, _ in sent.values():
                if topic != host.topics.audit:
                    letter = "p" if topic == host.topics.predictions else "l"
                    last = host.last[log_id, topic, partition]
                    published[partition].seen[f"{letter}:{log_id}"] = [(1, last)]
        change(published)

        async def monitors():
            return published

        return await certify(ask_monitors=monitors, **more)

    return ask


async def test_each_record_counted_once_is_certified(host, counted):
    await some(host)

    certificate = await counted()

    assert (certificate.counted, certificate.behind, certificate.complete) == (40, 0, True)


async def test_records_that_a_monitor_passed_over_are_named(host, counted):
    await some(host)
    where = f"p:{LOG}"
    last = host.last[LOG, host.topics.predictions, lane(1)]

    def forget(published):
        published[lane(1)].seen[where] = [(2, last)]

    (log,) = (await counted(forget)).logs

    assert (log.uncounted, log.ok) == ([Hole(lane=f"p{lane(1)}", ranges=[(1, 1)])], False)


async def test_what_a_monitor_counted_and_nobody_sent_is_named(host, counted):
    for seq in (1, 2, 3):
        await host.send(Kind.PREDICTION, prediction(1), seq)

    def invent(published):
        published[lane(1)].seen[f"p:{LOG}"] = [(1, 9)]

    assert (await counted(invent)).complete, "what a monitor counted beyond our reading came after it"

    topic, partition, place = host.place(Kind.PREDICTION, prediction(1), 9)
    headers = headers_of("w", Kind.PREDICTION, place._replace(after=6))
    await host.raw(topic, prediction(1), prediction_id(1).encode(), partition, headers)
    (log,) = (await counted(invent)).logs
    assert log.counted_unknown == [Hole(lane=f"p{lane(1)}", ranges=[(4, 6)])]


async def test_what_the_monitors_have_not_read_yet_is_behind_and_not_wrong(host, counted):
    await some(host)

    def stop(published):
        for one in published.values():
            one.seen.clear()
            one.positions.clear()

    certificate = await counted(stop)

    assert (certificate.behind, certificate.ok, certificate.complete, certificate.counted) == (40, True, False, 0)


async def test_partitions_of_which_nobody_published_anything_are_behind(host, counted):
    await some(host)

    certificate = await counted(lambda published: published.clear())

    assert (certificate.behind, certificate.ok, certificate.complete) == (40, True, False)


async def test_a_label_from_outside_that_was_not_counted_is_noticed(host, counted):
    value = json.dumps({"prediction_id": prediction_id(1), "label": 1}).encode()
    offset = await host.raw(host.topics.labels, value, prediction_id(1).encode(), lane(1))

    assert not (await counted()).ok

    def count(published):
        published[lane(1)].seen["x:labels"] = [(1, offset + 1)]

    assert (await counted(count)).complete
