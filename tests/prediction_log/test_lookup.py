"""What a real Kafka holds of one prediction: its own records and labels, all that was audited, and what cannot be read."""

import json
import time

import pytest

from contracts.errors import Unavailable
from prediction_log.kafka.lookup import look_up
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, OTHER_LOG, Host, change, label, prediction, prediction_id, small

pytestmark = pytest.mark.anyio

AN_HOUR_US = 3_600_000_000


@pytest.fixture
def options(kafka):
    return small(kafka.prefix())


def now_us():
    return time.time_ns() // 1000


async def test_only_what_is_of_the_prediction_is_found_and_all_that_was_audited(kafka, options):
    started = now_us()
    async with Host(kafka.address, options) as host:
        for number in range(200):
            await host.send(Kind.PREDICTION, prediction(number), 2 * number + 1)
            await host.send(Kind.LABEL, label(number), 2 * number + 2)
        await host.send(Kind.PREDICTION, prediction(7, role="shadow"), 3, log_id=OTHER_LOG)
        await host.send(Kind.AUDIT, change(1), 1000)
        await host.send(Kind.AUDIT, change(2), 1001)
        sent = json.dumps({"prediction_id": prediction_id(7), "label": 0}).encode()
        partition = host.law(Kind.LABEL, prediction_id(7).encode())
        await host.raw(host.topics.labels, sent, prediction_id(7).encode(), partition)
        await host.producer.flush()

    read = []
    found = await look_up(
        kafka.address, options, prediction_id(7), started, lambda done, whole: read.append((done, whole))
    )

    placed = [(entry.kind, entry.log_id, entry.seq) for entry in found.entries]
    assert placed[:2] == [(Kind.AUDIT, LOG, 1000), (Kind.AUDIT, LOG, 1001)]
    assert {(Kind.PREDICTION, LOG, 15), (Kind.PREDICTION, OTHER_LOG, 3), (Kind.LABEL, LOG, 16)} <= set(placed)
    assert [kind for kind, log_id, _ in placed if log_id == "x:labels"] == [Kind.LABEL]
    assert len(placed) == 6
    assert found.unread == []
    assert read[-1][0] == read[-1][1] > 0


async def test_what_was_sent_long_before_the_prediction_was_made_is_not_read(kafka, options):
    async with Host(kafka.address, options) as host:
        await host.many(range(50))
        await host.send(Kind.AUDIT, change(1), 1000)
        await host.producer.flush()

    found = await look_up(kafka.address, options, prediction_id(7), now_us() + 2 * AN_HOUR_US)

    assert [entry.kind for entry in found.entries] == [Kind.AUDIT], "plans are older than predictions"


async def test_a_message_under_the_id_that_cannot_be_read_is_told_and_those_of_others_are_not(kafka, options):
    async with Host(kafka.address, options) as host:
        await host.many(range(10))
        for number in (7, 8):
            key = prediction_id(number).encode()
            await host.raw(host.topics.predictions, b"nonsense", key, host.law(Kind.PREDICTION, key))

    found = await look_up(kafka.address, options, prediction_id(7), 0)

    assert [entry.seq for entry in found.entries] == [8]
    (reason,) = found.unread
    assert f"{host.topics.predictions}, partition" in reason
    assert "no header log_id" in reason


async def test_topics_that_are_not_there_and_a_broker_that_is_away_are_errors_that_say_so(kafka, options):
    with pytest.raises(Unavailable, match="there are no topics"):
        await look_up(kafka.address, options, prediction_id(7), 0)
    with pytest.raises(Unavailable, match="ask again when it answers"):
        await look_up("127.0.0.1:9", options, prediction_id(7), 0)
