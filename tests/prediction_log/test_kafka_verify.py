"""The certificate from the topics alone: n of n, or the name of every gap, whatever was sent twice, lost, or forged."""

import json

import pytest
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition

from contracts.errors import Unavailable
from prediction_log.certificate.kafka_counted import Hole
from prediction_log.certificate.kafka_verify import verify_kafka
from prediction_log.finding import FindingKind
from prediction_log.kafka.message import headers_of
from prediction_log.spool.segment import Kind
from tests.prediction_log.kafka_admin import admin_of
from tests.prediction_log.kafka_messages import LOG, OTHER_LOG, lane, prediction, prediction_id, small, some

pytestmark = pytest.mark.anyio


async def manifest(host, *logs):
    await host.control("manifest", {"host": "h", "at_us": 1, "logs": list(logs)})


def said(host, log_id=LOG, *, acked, committed=None):
    lanes = {}
    for topic, partition, _, _ in host.sent[log_id].values():
        letter = {name: letter for letter, name in zip("pla", host.topics[:3], strict=True)}[topic]
        lanes[f"{letter}{partition}"] = host.last[log_id, topic, partition]
    return {
        "slot": "w",
        "log_id": log_id,
        "segment": 1,
        "committed": committed or acked,
        "acked": acked,
        "lanes": lanes,
    }


async def test_topics_in_which_nothing_lies_are_complete(certify):
    certificate = await certify()

    assert (certificate.logs, certificate.records, certificate.ok, certificate.complete) == ([], 0, True, True)


async def test_a_whole_log_is_certified_from_the_topics_alone(host, certify):
    await some(host)
    await host.seal()

    certificate = await certify()

    (log,) = certificate.logs
    assert (log.slot, log.log_id, log.source, log.records, log.last_seq) == ("worker-0", LOG, "topics", 41, 41)
    assert log.kinds == {"audit": 1, "label": 10, "prediction": 30}
    assert (log.missing, log.holes, log.duplicates, log.pending, log.ok) == ([], [], 0, 0, True)
    assert (certificate.counted, certificate.ok, certificate.complete) == (None, True, True)


async def test_what_was_sent_again_is_counted_beside_the_records(host, certify):
    await some(host)
    await some(host)
    await host.seal()
    await host.seal()
    await host.send(Kind.PREDICTION, prediction(3), 3)

    certificate = await certify()

    assert (certificate.records, certificate.duplicates, certificate.complete) == (41, 42, True)


async def test_missing_records_are_named_exactly_and_so_is_where_readers_see_the_gap(host, certify):
    await some(host, leave_out={5, 6, 7, 35, 41})
    await host.seal()

    certificate = await certify()

    (log,) = certificate.logs
    assert (log.missing, certificate.missing) == ([(5, 7), (35, 35), (41, 41)], 5)
    assert {hole.lane for hole in log.holes} == {f"p{lane(n)}" for n in (5, 6, 7)} | {f"l{lane(5)}", "a0"}
    for hole in log.holes:
        for first, last in hole.ranges:
            assert any(first <= seq <= last for seq in (5, 6, 7, 35, 41))
    assert (log.ok, certificate.complete) == (False, False)


async def test_a_seal_that_counts_more_than_there_is_proves_a_loss(host, certify):
    for seq in (1, 2, 3):
        await host.send(Kind.PREDICTION, prediction(1), seq)
    topic, partition, place = host.place(Kind.PREDICTION, prediction(1), 3)
    await host.control("seal", {"slot": "w"}, topic, partition, place._replace(pseq=5))

    (log,) = (await certify()).logs

    assert (log.missing, log.holes, log.ok) == ([], [Hole(lane=f"p{partition}", ranges=[], messages=2)], False)

    topic, partition, place = host.place(Kind.PREDICTION, prediction(1), 6)
    await host.control("seal", {"slot": "w"}, topic, partition, place._replace(after=6))

    (log,) = (await certify()).logs
    assert (log.missing, log.holes, log.ok) == ([(4, 6)], [Hole(lane=f"p{partition}", ranges=[(4, 6)])], False)


async def test_a_count_that_is_reached_at_the_second_sending_is_no_loss(host, certify):
    for seq in (1, 2, 3):
        host.place(Kind.PREDICTION, prediction(1), seq)
    await host.send(Kind.PREDICTION, prediction(1), 1)
    await host.seal()
    for seq in (1, 2, 3):
        await host.send(Kind.PREDICTION, prediction(1), seq)
    await host.seal()

    certificate = await certify()

    assert (certificate.records, certificate.duplicates, certificate.complete) == (3, 1, True)


async def test_a_log_of_which_nothing_ever_arrived_is_missed_by_its_hosts_manifest(host, certify):
    await some(host)
    for seq in range(1, 8):
        host.place(Kind.PREDICTION, prediction(seq), seq, OTHER_LOG)
    await manifest(host, said(host, acked=41), said(host, OTHER_LOG, acked=7, committed=9))

    certificate = await certify()

    whole, absent = certificate.logs
    assert (whole.log_id, whole.source, whole.ok) == (LOG, "host", True)
    assert (absent.log_id, absent.slot, absent.records, absent.missing) == (OTHER_LOG, "w", 0, [(1, 7)])
    assert (absent.pending, certificate.pending) == (2, 2)
    assert {hole.lane for hole in absent.holes} == {f"p{lane(n)}" for n in range(1, 8)}


async def test_what_is_under_way_is_pending_and_not_missing(host, certify):
    """Lanes overtake each other: seq 41 may be there before seq 12."""
    await some(host, leave_out={12})
    await manifest(host, said(host, acked=11, committed=50) | {"lanes": {}})

    (log,) = (await certify()).logs

    assert (log.missing, log.pending) == ([], 10)


async def test_a_tombstone_stands_for_its_record_and_is_told(host, certify):
    for seq in (1, 2):
        await host.send(Kind.PREDICTION, prediction(1), seq)
    await host.tombstone(Kind.PREDICTION, prediction(1), 3)
    await host.tombstone(Kind.PREDICTION, prediction(1), 3)
    await host.send(Kind.PREDICTION, prediction(1), 4)
    await host.seal()

    certificate = await certify()

    (log,) = certificate.logs
    assert (log.records, log.dead, log.missing, log.duplicates, log.ok) == (3, [(3, 3)], [], 1, True)
    assert certificate.complete


@pytest.mark.parametrize(("kind", "missing", "ok"), [("loss", [(5, 7)], False), ("refused", [], True)])
async def test_what_a_host_could_not_read_is_lost_and_what_it_refused_is_not(host, certify, kind, missing, ok):
    for seq in (1, 2, 3, 4, 8, 9):
        await host.send(Kind.PREDICTION, prediction(seq), seq)
    content = {
        "slot": "w",
        "log_id": LOG,
        "segment": 1,
        "offset": 128,
        "kind": kind,
        "first": 5,
        "last": 7,
        "detail": "d",
    }
    await host.control("loss", content)
    await host.control("loss", content)
    await host.seal()

    (log,) = (await certify()).logs

    assert (log.missing, log.refused, log.ok) == (missing, [(5, 7)] if ok else [], ok)
    assert [finding.kind for finding in log.findings] == ([] if ok else [FindingKind.LOSS])


async def test_a_loss_that_was_sent_before_the_disk_forgot_it_is_none(host, certify):
    await some(host)
    await host.control("loss", {"log_id": LOG, "kind": "loss", "segment": 1, "offset": 128, "first": 5, "last": 7})

    (log,) = (await certify()).logs

    assert (log.missing, log.findings, log.ok) == ([], [], True)


async def test_a_tail_that_nobody_can_judge_stays_a_doubt(host, certify):
    await some(host)
    await host.control("loss", {"log_id": LOG, "kind": "tail_unknown", "segment": 1, "offset": 9, "first": 42})

    (log,) = (await certify()).logs

    assert ([finding.kind for finding in log.findings], log.ok) == ([FindingKind.TAIL_UNKNOWN], False)


async def test_a_record_in_two_partitions_counts_twice_and_one_that_links_deny_never(host, certify):
    await host.send(Kind.PREDICTION, prediction(1), 1)
    await host.send(Kind.PREDICTION, prediction(1), 5)
    topic, partition, place = host.place(Kind.PREDICTION, prediction(1), 5)
    other = next(n for n in range(2, 99) if lane(n) != partition)
    await host.raw(
        topic,
        prediction(other),
        prediction_id(other).encode(),
        lane(other),
        headers_of("w", Kind.PREDICTION, place),
    )
    await host.raw(
        topic,
        prediction(1),
        prediction_id(1).encode(),
        partition,
        headers_of("w", Kind.PREDICTION, place._replace(seq=3, after=1)),
    )

    (log,) = (await certify()).logs

    assert (log.twice, log.masked, log.ok) == ([(5, 5)], [(3, 3)], False)


async def test_garbage_is_counted_by_reason_and_spoils_nothing(host, certify):
    await some(host)
    await host.seal()
    topics = host.topics
    await host.raw(topics.predictions, None, b"k")
    await host.raw(topics.predictions, b"x" * (2 * 2**20), b"k")
    await host.raw(topics.labels, b"{}", prediction_id(1).encode(), lane(1))
    await host.raw(topics.labels, b"\xff", None)
    await host.raw(topics.audit, b"{}", None)
    await host.control("manifest", {"logs": [{"log_id": 7}]})
    await host.control("loss", {"log_id": LOG, "kind": "unheard of"})
    await host.broken(topics.predictions, 2, b"k")

    certificate = await certify()

    assert certificate.unreadable == {"broken": 1, "keyless": 1, "misplaced": 1, "unreadable": 5}
    assert (certificate.records, certificate.complete) == (41, True)


async def test_labels_from_outside_are_counted_beside_the_logs(host, certify):
    for number in range(5):
        value = json.dumps({"prediction_id": prediction_id(number), "label": 1}).encode()
        await host.raw(host.topics.labels, value, prediction_id(number).encode(), lane(number))

    certificate = await certify()

    assert (certificate.external, certificate.records, certificate.logs, certificate.complete) == (5, 0, [], True)


async def test_what_retention_took_is_expired_and_not_missing(kafka, host, certify):
    await some(host)
    await host.seal()
    await host.producer.flush()
    cut = lane(1)
    async with admin_of(kafka.address) as admin:
        place = TopicPartition(host.topics.predictions, cut)
        await admin.delete_records({place: RecordsToDelete(before_offset=2)})

    certificate = await certify()

    gone = [seq for seq in range(1, 31) if lane(seq) == cut][:2]
    (log,) = certificate.logs
    assert [first for first, last in log.expired for first in range(first, last + 1)] == gone
    assert (log.missing, log.holes, log.ok, certificate.expired) == ([], [], True, 2)


async def test_topics_that_are_not_there_are_no_certificate(kafka):
    with pytest.raises(Unavailable, match="there are no topics"):
        await verify_kafka(kafka.address, small(kafka.prefix()))
