"""Records come out of Kafka as they went in, each partition to one member, and whatever else lies there is told."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from contracts.errors import Unavailable
from contracts.label import Label
from contracts.wire import decode
from prediction_log.finding import FindingKind
from prediction_log.kafka.message import Place, headers_of
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.kafka.stream import KafkaStream
from prediction_log.kafka.topics import topics_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, OTHER_LOG, Host, label, prediction, prediction_id, small

pytestmark = pytest.mark.anyio


class Member:
    """One member that starts every partition at its saved offsets, and keeps everything it is given."""

    def __init__(self, address, options, name="one", saved=None, records_max=1000, **more):
        self.saved = {} if saved is None else saved
        self.told = []
        self.batches = []
        self.stream = KafkaStream(
            address,
            options,
            group=f"{options.prefix}-monitor",
            member=name,
            assigned=self.assigned,
            revoked=self.revoked,
            records_max=records_max,
            **more,
        )

    async def __aenter__(self):
        await self.stream.start()
        return self

    async def __aexit__(self, *exc):
        await self.stream.aclose()

    async def assigned(self, partitions):
        self.told.append(("assigned", partitions))
        for partition in partitions:
            self.stream.seek(partition, self.saved.get(partition, {}))

    async def revoked(self, partitions):
        self.told.append(("revoked", partitions))

    async def poll(self):
        got = await self.stream.poll(200)
        for partition, batch in got.items():
            self.batches.append((partition, batch))
            self.saved[partition] = batch.positions
        return got

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                await self.poll()

    async def until_read(self, number):
        """Until so many messages came."""
        await self.until(lambda: len(self.all("entries")) + len(self.all("controls")) + len(self.dead) >= number)

    def all(self, field):
        return [one for _, batch in self.batches for one in getattr(batch, field)]

    @property
    def dead(self):
        return self.all("undecodable")


@asynccontextmanager
async def admin_of(kafka):
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@pytest.fixture
async def host(kafka):
    async with Host(kafka.address, small(kafka.prefix())) as host:
        yield host


@pytest.fixture
def member(kafka, host):
    return lambda *more, **named: Member(kafka.address, host.options, *more, **named)


async def test_records_of_both_topics_come_by_partition_number_with_their_links(host, member):
    for number in range(40):
        await host.send(Kind.PREDICTION, prediction(number), 2 * number + 1)
        await host.send(Kind.LABEL, label(number, row=0), 2 * number + 2)
    await host.producer.flush()

    async with member() as one:
        await one.until_read(80)
        await one.until(lambda: {p for p, batch in one.batches if batch.caught_up} == {0, 1, 2, 3})

    assert one.dead == []
    for partition, batch in one.batches:
        for entry in batch.entries:
            stream, log_id = entry.log_id.split(":")
            topic, where, after, _ = host.sent[LOG][entry.seq]
            assert (stream, log_id) == ("p" if entry.seq % 2 else "l", LOG)
            assert (topic, where) == (host.topics.predictions if stream == "p" else host.topics.labels, partition)
            assert (entry.after, entry.segment) == (after, 1)
            number = (entry.seq - 1) // 2
            assert entry.payload == (prediction(number) if entry.seq % 2 else label(number, row=0))
            assert entry.kind is (Kind.PREDICTION if entry.seq % 2 else Kind.LABEL)
    assert sorted(entry.seq for entry in one.all("entries")) == list(range(1, 81))
    read = dict(one.batches)
    for topic in host.topics[:2]:
        assert sum(batch.positions[topic] for batch in read.values()) == 40


async def test_a_poll_gives_at_most_so_many_records_and_the_next_goes_on(host, member):
    await host.many(range(50))

    async with member(records_max=7) as one:
        await one.until_read(50)

    assert max(len(batch.entries) for _, batch in one.batches) <= 7
    assert sorted(entry.seq for entry in one.all("entries")) == list(range(1, 51))


async def test_reading_goes_on_at_the_saved_offsets_whatever_kafka_was_told(host, member):
    await host.many(range(30))
    async with member() as first:
        await first.until_read(30)
        saved = dict(first.saved)
        await first.stream.commit({(host.topics.predictions, p): 1 for p in range(4)})
    await host.many(range(30, 40), start=31)

    async with member(saved=saved) as second:
        await second.until_read(10)

    assert sorted(entry.seq for entry in second.all("entries")) == list(range(31, 41))


async def test_a_partition_gives_nothing_before_it_is_told_where_to_start(host, member):
    await host.many(range(20))
    one = member()

    async def assigned(partitions):
        one.told.append(("assigned", partitions))

    one.stream._assigned = assigned
    async with one:
        await one.until(lambda: one.told)
        for _ in range(5):
            assert await one.poll() == {}
        one.stream.seek(2, {})
        await one.until(lambda: any(batch.caught_up for _, batch in one.batches))

        assert {partition for partition, _ in one.batches} == {2}
        assert one.all("entries")


async def test_a_paused_partition_waits_and_loses_nothing(host, member):
    async with member() as one:
        await one.until(lambda: one.told)
        await one.poll()
        one.stream.pause(1)
        await host.many(range(40))
        others = sum(partitions_of([prediction_id(n).encode()], 4) != [1] for n in range(40))
        await one.until_read(others)
        assert {entry.seq for entry in one.all("entries")} == {
            n + 1 for n in range(40) if partitions_of([prediction_id(n).encode()], 4) != [1]
        }
        one.stream.resume(1)
        await one.until_read(40)

    assert sorted(entry.seq for entry in one.all("entries")) == list(range(1, 41))


async def test_members_share_the_partitions_evenly_and_keep_what_they_had(host, member, kafka):
    async with member("one") as one:
        await one.until(lambda: one.stream.held == {0, 1, 2, 3})
        async with member("two") as two:
            await asyncio.gather(
                one.until(lambda: len(one.stream.held) == 2), two.until(lambda: len(two.stream.held) == 2)
            )
            assert one.stream.held | two.stream.held == {0, 1, 2, 3}
            assert ("revoked", {0, 1, 2, 3}) in one.told
            kept = set(one.stream.held)
            three = member("three", kept=lambda: sorted(kept))
            async with three:
                everybody = (one, two, three)
                await asyncio.gather(
                    *(
                        each.until(lambda: sum(len(m.stream.held) for m in everybody) == 4 and three.stream.held)
                        for each in everybody
                    )
                )
                assert set().union(*(m.stream.held for m in everybody)) == {0, 1, 2, 3}
                assert one.stream.held <= kept
            await asyncio.gather(
                *(each.until(lambda: len(one.stream.held) == len(two.stream.held) == 2) for each in (one, two))
            )
    assert one.told[-1][0] == "revoked", "what is held is given up on the way out"


async def test_what_goes_wrong_in_a_callback_is_the_next_polls(host, member):
    one = member()

    async def assigned(partitions):
        raise ZeroDivisionError

    one.stream._assigned = assigned
    async with one:
        with pytest.raises(ZeroDivisionError):
            await one.until(lambda: False)


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


def place_headers(**changes):
    """The headers of record 1 with some of them changed; None leaves one out."""
    headers = dict(headers_of("worker-0", Kind.PREDICTION, Place(LOG, 1, 1, 0, 1)))
    return [(name, value) for name, value in (headers | changes).items() if value is not None]


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


async def test_headers_in_another_order_and_beside_others_say_the_same(host, member):
    key = prediction_id(1).encode()
    headers = [("traceparent", b"00-1"), *reversed(place_headers())]
    await host.raw(host.topics.predictions, prediction(1), key, partitions_of([key], 4)[0], headers)

    async with member() as one:
        await one.until_read(1)

    (entry,) = one.all("entries")
    assert (entry.log_id, entry.seq, entry.after, entry.segment) == (f"p:{LOG}", 1, 0, 1)


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


async def test_control_messages_come_with_their_stream(host, member):
    await host.send(Kind.PREDICTION, prediction(1), 1)
    await host.send(Kind.LABEL, label(1), 2)
    await host.tombstone(Kind.PREDICTION, prediction(1), 3, "the broker refuses it")
    await host.seal()

    async with member() as one:
        await one.until_read(5)

    controls = sorted(one.all("controls"), key=lambda told: (told[1].kind, told[0]))
    assert [(stream, control.kind) for stream, control in controls] == [
        ("l", "seal"),
        ("p", "seal"),
        ("p", "tombstone"),
    ]
    assert controls[0][1].place == Place(LOG, 1, 3, 2, 1)
    assert controls[1][1].place == Place(LOG, 1, 3, 3, 2)
    assert controls[2][1].place == Place(LOG, 1, 3, 1, 2)
    assert controls[2][1].content == {"reason": "the broker refuses it"}


async def test_large_values_come_whole(host, member):
    large = prediction(1, text="x" * (3 * 2**20))
    await host.send(Kind.PREDICTION, large, 1)
    await host.send(Kind.PREDICTION, prediction(1), 2)

    async with member() as one:
        await one.until_read(2)

    assert [len(entry.payload) for entry in one.all("entries")] == [len(large), len(prediction(1))]


@pytest.mark.parametrize(("timestamp_ms", "taken"), [(0, True), (4_102_444_800_000, False)], ids=["1970", "2100"])
async def test_a_label_whose_time_cannot_be_believed_is_refused(kafka, timestamp_ms, taken):
    """Where a topic of somebody else's making keeps the producer's time: one label from 2100 would age all others."""
    options = small(kafka.prefix())
    configs = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": str(2**62)}
    configs["retention.ms"] = "-1"  # else a label of 1970 may be deleted before it is read
    async with admin_of(kafka) as admin:
        await admin.create_topics([NewTopic(topics_of(options.prefix).labels, 4, 1, topic_configs=configs)])
    key = prediction_id(1).encode()
    value = json.dumps({"prediction_id": prediction_id(1), "label": 1}).encode()

    async with Host(kafka.address, options) as host, Member(kafka.address, options) as one:
        await host.raw(host.topics.labels, value, key, partitions_of([key], 4)[0], timestamp_ms=timestamp_ms)
        await one.until_read(1)

    assert [decode(Label, entry.payload).received_us for entry in one.all("entries")] == ([0] if taken else [])
    assert [letter.reason.partition(":")[0] for letter in one.dead] == ([] if taken else ["ill-timed"])


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
    async with admin_of(kafka) as admin:
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
    async with admin_of(kafka) as admin:
        await admin.delete_topics([host.topics.predictions])
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
        async with admin_of(kafka) as admin:
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
