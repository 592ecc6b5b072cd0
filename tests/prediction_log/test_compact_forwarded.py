"""What stands in the spool in compact form leaves it as JSON: with the same key, in the same place, at its real size."""

import asyncio

import msgspec
import pytest

from contracts.wire import encode
from prediction_log.forward.backlog import backlog_of
from prediction_log.forward.cursor import Cursor
from prediction_log.forward.feed import Feed, World
from prediction_log.forward.tally import Tally
from prediction_log.kafka.message import key_of
from prediction_log.spool.disk import boot_of_this_machine, direct
from prediction_log.spool.places import log_directories
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer
from tests.prediction_log.compact_kit import plain_twin
from tests.prediction_log.kafka_kit import all_done, forwarding, receive, settings_for, until

BOOT = boot_of_this_machine()


async def write(spool, payloads, kind=Kind.PREDICTION):
    writer = await open_writer(spool, "worker-0", disk_reserve_bytes=0)
    for start in range(0, len(payloads), 50):
        await asyncio.gather(*(writer.append(kind, payload) for payload in payloads[start : start + 50]))
    await writer.aclose()


def feed_of(tmp_path, payloads):
    asyncio.run(write(tmp_path / "spool", payloads))
    (log,) = log_directories(tmp_path / "spool")
    feed = Feed(log, World(direct, BOOT, 4, tmp_path / "dead"))
    feed.open()
    return feed


def parts_of(feed, bytes_max=2**20):
    parts = []
    while not feed.is_done:
        parts.append(feed.next_part(bytes_max))
        feed.acknowledge(parts[-1])
    return parts


def test_the_messages_are_those_that_json_in_the_spool_would_have_made(tmp_path):
    twins = [
        plain_twin(number, size=number % 5, variant=("champion", "challenger")[number % 3 == 0])
        for number in range(200)
    ]
    (tmp_path / "json").mkdir()
    (tmp_path / "mixed").mkdir()
    jsons = [encode(twin.prediction) for twin in twins]
    mixed = [twin.payload if number % 4 else json for number, (twin, json) in enumerate(zip(twins, jsons, strict=True))]

    plain = [m for part in parts_of(feed_of(tmp_path / "json", jsons)) for m in part.messages]
    compact = [m for part in parts_of(feed_of(tmp_path / "mixed", mixed)) for m in part.messages]

    records = [message for message in compact if message.seq]
    assert [message.value for message in records] == jsons
    assert [(m.lane, m.key, m.value, m.seq) for m in plain if m.seq] == [
        (m.lane, m.key, m.value, m.seq) for m in records
    ]
    assert [message.key for message in records] == [key_of(Kind.PREDICTION, json) for json in jsons]


def test_the_key_of_a_compact_record_is_its_id():
    twin = plain_twin(5)

    assert key_of(Kind.PREDICTION, twin.payload) == twin.prediction.prediction_id.encode()


def test_one_that_cannot_be_expanded_is_told_of_and_kept_and_stops_nobody(tmp_path, caplog):
    good, bad = plain_twin(1).payload, plain_twin(2).payload[:-3]
    feed = feed_of(tmp_path, [good, bad, b"\x01", good])
    parts = parts_of(feed)

    messages = [message for part in parts for message in part.messages if message.seq]
    tombstones = [message for message in messages if message.alone]
    assert [message.seq for message in messages] == [1, 2, 3, 4]
    assert [message.seq for message in tombstones] == [2, 3]
    contents = [msgspec.json.decode(message.value) for message in tombstones]
    assert [content["bytes"] for content in contents] == [len(bad), 1]
    assert "ends within section" in contents[0]["reason"]
    assert sum(part.dead for part in parts) == 2
    kept = {path.name.rpartition(".")[2]: path.read_bytes() for path in (tmp_path / "dead").iterdir()}
    assert kept == {"2": bad, "3": b"\x01"}


def test_one_that_kafka_refuses_is_kept_as_json(tmp_path):
    twin = plain_twin(1)
    feed = feed_of(tmp_path, [twin.payload])
    assert feed.condemn(1, "Kafka refuses it: too large")
    part = next(part for part in parts_of(feed) if part.records)

    assert part.dead == 1
    assert part.messages[0].key == twin.prediction.prediction_id.encode()
    assert msgspec.json.decode(part.messages[0].value)["bytes"] == len(encode(twin.prediction))
    (kept,) = (tmp_path / "dead").iterdir()
    assert kept.read_bytes() == encode(twin.prediction)


def test_a_part_is_as_large_as_its_json(tmp_path):
    twins = [plain_twin(number) for number in range(600)]
    feed = feed_of(tmp_path, [twin.payload for twin in twins])
    json_bytes = sum(len(encode(twin.prediction)) for twin in twins)
    asked = json_bytes // 4
    parts = [part for part in parts_of(feed, asked) if part.records]
    batch = 50 * max(len(encode(twin.prediction)) for twin in twins)

    assert sum(part.bytes for part in parts) == json_bytes
    (log,) = log_directories(tmp_path / "spool")
    assert sum(part.stored for part in parts) == backlog_of(log, Cursor(), BOOT).bytes < json_bytes
    assert all(part.bytes <= asked + batch for part in parts[1:])
    assert [part.more for part in parts[:3]] == [True] * 3
    tally = Tally()
    for part in parts:
        tally.acknowledged(part)
    assert tally.growth == pytest.approx(json_bytes / tally.stored)


def test_the_backlog_knows_when_a_compact_record_was_received(tmp_path):
    feed_of(tmp_path, [plain_twin(7).payload])
    (log,) = log_directories(tmp_path / "spool")

    assert backlog_of(log, Cursor(), BOOT).oldest_us == 1_000_007


def test_the_backlog_is_counted_where_a_record_does_not_say(tmp_path):
    feed_of(tmp_path, [plain_twin(7).payload[:20]])
    (log,) = log_directories(tmp_path / "spool")

    backlog = backlog_of(log, Cursor(), BOOT)
    assert (backlog.records, backlog.oldest_us) == (1, None)


@pytest.mark.anyio
async def test_kafka_has_the_json_of_what_the_spool_has_in_short(kafka, tmp_path):
    prefix = kafka.prefix()
    twins = [plain_twin(number) for number in range(500)]
    await write(tmp_path / "spool", [twin.payload for twin in twins])

    async with forwarding(settings_for(tmp_path, kafka.address, prefix)):
        await until(lambda: all_done(tmp_path / "spool"))
    received = await receive(kafka.address, prefix)

    values = {message.key: message.value for topic, _, message in received.raw if topic.endswith("predictions")}
    expected = {twin.prediction.prediction_id.encode(): encode(twin.prediction) for twin in twins}
    assert {key: value for key, value in values.items() if key in expected} == expected
    assert received.others == []
    received.assert_unbroken()
