"""What others put into the topics: their labels become records, the rest becomes dead letters, and reading goes on."""

import json

import pytest
from aiokafka.admin import NewTopic

from contracts.label import Label
from contracts.wire import decode
from prediction_log.kafka.fetching import Fetching
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_admin import admin_of
from tests.prediction_log.kafka_messages import LOG, OTHER_LOG, Host, place_headers, prediction, prediction_id, small
from tests.prediction_log.stream_member import Member

pytestmark = pytest.mark.anyio


async def test_labels_from_outside_become_records_by_the_same_law_as_over_http(host, member):
    def key(number):
        return prediction_id(number).encode()

    def where(number):
        return partitions_of([key(number)], 4)[0]

    sound = {"prediction_id": f"{prediction_id(1)}#2", "label": 0.5, "observed_at": "2013-04-01T12:00:00Z"}
    offset = await host.raw(host.topics.labels, json.dumps(sound).encode(), key(1), where(1))
    for content, name, partition in [
        ({"prediction_id": prediction_id(2)}, key(2), where(2)),
        ({"prediction_id": prediction_id(3), "label": 1, "labels": 1}, key(3), where(3)),
        ({"prediction_id": prediction_id(4), "label": 1}, key(4), (where(4) + 1) % 4),
        ({"prediction_id": prediction_id(5), "label": 1}, key(6), where(6)),
        ({"prediction_id": prediction_id(7), "label": 1}, None, where(7)),
    ]:
        await host.raw(host.topics.labels, json.dumps(content).encode(), name, partition)

    async with member() as one:
        await one.until_read(6)

    (entry,) = one.all("entries")
    assert (entry.log_id, entry.seq, entry.after, entry.kind) == ("x:labels", offset + 1, 0, Kind.LABEL)
    taken = decode(Label, entry.payload)
    assert (taken.prediction_id, taken.label, taken.observed_us) == (
        f"{prediction_id(1)}#2",
        0.5,
        1_364_817_600_000_000,
    )
    assert taken.received_us > 1_700_000_000_000_000, "the time at which the broker took it"
    reasons = sorted(letter.reason for letter in one.dead)
    assert [reason.partition(":")[0] for reason in reasons] == [
        "keyless",
        "misplaced",
        "misplaced",
        "no label",
        "no label",
    ]
    assert "unknown field `labels`" in "".join(reasons)
    assert "label: missing or null" in "".join(reasons)


GARBAGE = {
    "no value": (None, place_headers()),
    "no value and no headers": (None, []),
    "not ours": (prediction(1), []),
    "not even text": (b"\xff\xfe\x00", []),
    "no log": (prediction(1), place_headers(log_id=None)),
    "a log that is none": (prediction(1), place_headers(log_id=b"../../etc/passwd")),
    "an empty header": (prediction(1), [*place_headers()[:5], ("log_id", None), *place_headers()[6:]]),
    "no seq": (prediction(1), place_headers(seq=None)),
    "seq in words": (prediction(1), place_headers(seq=b"one")),
    "seq in other digits": (prediction(1), place_headers(seq="\u0661".encode())),
    "seq with a sign": (prediction(1), place_headers(seq=b"+1")),
    "seq with an underline": (prediction(1), place_headers(seq=b"1_0")),
    "seq beyond any log": (prediction(1), place_headers(seq=b"9" * 19)),
    "seq beyond any number": (prediction(1), place_headers(seq=b"9" * 10_000)),
    "after itself": (prediction(1), place_headers(after=b"1")),
    "after what follows": (prediction(1), place_headers(after=b"7")),
    "of another version": (prediction(1), place_headers(ce_type=b"pointsman.prediction.v2")),
    "of another kind": (prediction(1), place_headers(ce_type=b"pointsman.label.v1")),
    "a control that is none": (b"[", place_headers(ce_type=b"pointsman.seal.v1")),
    "another key than its own": (prediction(2), place_headers()),
}


@pytest.mark.parametrize(("value", "headers"), GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_becomes_a_dead_letter_and_what_follows_is_read(host, member, value, headers):
    key = prediction_id(1).encode()
    (partition,) = partitions_of([key], 4)
    offset = await host.raw(host.topics.predictions, value, key, partition, headers)
    await host.send(Kind.PREDICTION, prediction(1), 2, OTHER_LOG)

    async with member() as one:
        await one.until_read(2)

    (letter,) = one.dead
    assert (letter.topic, letter.partition, letter.offset) == (host.topics.predictions, partition, offset)
    assert (letter.key, letter.value) == (key, value)
    assert letter.headers == [(name, content or b"") for name, content in headers]
    assert letter.reason.partition(":")[0] in {"unreadable", "misplaced"}
    assert [entry.log_id for entry in one.all("entries")] == [f"p:{OTHER_LOG}"]


@pytest.mark.parametrize("partition", range(4))
async def test_a_message_that_breaks_the_client_is_passed_over_alone(host, member, partition):
    """A header's name must be UTF-8, and the broker does not look: aiokafka raises in the middle of a fetch, and forgets
    what it had taken of other partitions until then.
    """
    number = next(n for n in range(100) if partitions_of([prediction_id(n).encode()], 4) == [partition])
    for seq in range(1, 6):
        await host.send(Kind.PREDICTION, prediction(number), seq)
    await host.producer.flush()
    bad = await host.broken(host.topics.predictions, partition, prediction_id(number).encode())
    for seq in range(6, 9):
        await host.send(Kind.PREDICTION, prediction(number), seq)
    await host.many(range(60), OTHER_LOG)

    async with member() as one:
        await one.until_read(69)

    (letter,) = one.dead
    assert (letter.partition, letter.offset, letter.reason.partition(":")[0]) == (partition, bad, "broken")
    assert [entry.seq for entry in one.all("entries") if entry.log_id == f"p:{LOG}"] == list(range(1, 9))
    assert sorted(entry.seq for entry in one.all("entries") if entry.log_id == f"p:{OTHER_LOG}") == list(range(1, 61))


async def test_a_partition_that_changes_hands_while_the_message_that_breaks_is_sought_holds_up_nobody(
    host, member, monkeypatch
):
    """A change of the group pauses each partition and puts it elsewhere; here it is done in its stead."""
    honest = Fetching._pass_over

    async def changed(fetching, tp, room, fetched):
        monkeypatch.setattr(Fetching, "_pass_over", honest)
        fetching._consumer.pause(tp)
        fetching._consumer.seek(tp, await fetching._consumer.position(tp))
        await honest(fetching, tp, room, fetched)
        fetching._consumer.resume(tp)

    monkeypatch.setattr(Fetching, "_pass_over", changed)
    key = prediction_id(1).encode()
    (partition,) = partitions_of([key], 4)
    bad = await host.broken(host.topics.predictions, partition, key)
    await host.send(Kind.PREDICTION, prediction(1), 1)

    async with member() as one:
        await one.until_read(2)

    assert [letter.offset for letter in one.dead] == [bad]
    assert [entry.seq for entry in one.all("entries")] == [1]


@pytest.mark.parametrize(("timestamp_ms", "taken"), [(0, True), (4_102_444_800_000, False)], ids=["1970", "2100"])
async def test_a_label_whose_time_cannot_be_believed_is_refused(kafka, timestamp_ms, taken):
    """Where a topic of somebody else's making keeps the producer's time: one label from 2100 would age all others."""
    options = small(kafka.prefix())
    configs = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**62)}
    configs["retention.ms"] = "-1"  # else a label of 1970 may be deleted before it is read
    async with admin_of(kafka.address) as admin:
        await admin.create_topics([NewTopic(topics_of(options.prefix).labels, 4, 1, topic_configs=configs)])
    key = prediction_id(1).encode()
    value = json.dumps({"prediction_id": prediction_id(1), "label": 1}).encode()

    async with Host(kafka.address, options) as host, Member(kafka.address, options) as one:
        await host.raw(host.topics.labels, value, key, partitions_of([key], 4)[0], timestamp_ms=timestamp_ms)
        await one.until_read(1)

    assert [decode(Label, entry.payload).received_us for entry in one.all("entries")] == ([0] if taken else [])
    assert [letter.reason.partition(":")[0] for letter in one.dead] == ([] if taken else ["ill-timed"])
