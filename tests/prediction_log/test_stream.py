"""Records come out of Kafka as they went in, from where each partition was left, and each partition to one member."""

import asyncio

import pytest

from prediction_log.kafka.message import Place
from prediction_log.kafka.partitioning import partitions_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_messages import LOG, label, place_headers, prediction, prediction_id

pytestmark = pytest.mark.anyio


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


async def test_headers_in_another_order_and_beside_others_say_the_same(host, member):
    key = prediction_id(1).encode()
    headers = [("traceparent", b"00-1"), *reversed(place_headers())]
    await host.raw(host.topics.predictions, prediction(1), key, partitions_of([key], 4)[0], headers)

    async with member() as one:
        await one.until_read(1)

    (entry,) = one.all("entries")
    assert (entry.log_id, entry.seq, entry.after, entry.segment) == (f"p:{LOG}", 1, 0, 1)


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
