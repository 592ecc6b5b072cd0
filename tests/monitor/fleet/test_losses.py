"""What is missing in Kafka is said, exactly and once, and what is not missing never is."""

import asyncio

import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from contracts.settings import Settings
from monitor.fleet.losses import Claims
from prediction_log.kafka.message import Control
from prediction_log.kafka.partitioning import partitions_of
from tests.monitor.fleet.conftest import LOG_A, LOG_B, LOG_C


def lost(status):
    """{(log, first, last)} of what `/status` says is lost."""
    return {
        (one["log_id"], one["first_seq"], one["last_seq"])
        for one in status.get("findings", ())
        if one["kind"] == "loss"
    }


def manifest(log_id, lanes):
    """What a forwarder says of one log."""
    log = {"slot": "worker-0", "log_id": log_id, "segment": 1, "committed": 9, "acked": 9, "lanes": lanes}
    return Control("manifest", None, {"host": "h", "at_us": 1, "logs": [log]})


def test_records_that_never_came_are_named_when_their_segment_is_sealed(fleet, history):
    worker = fleet.worker("worker")
    predictions = history.predictions(400)

    async def scenario():
        async with fleet.filler() as filler:
            first = filler.messages(LOG_A, [fleet.remember(LOG_A, one) for one in predictions[:200]])
            await filler.send(first)
            messages = filler.messages(LOG_A, [fleet.remember(LOG_A, one) for one in predictions[200:]])
            gone = {50, 51, 120}
            await filler.send(one for place, one in enumerate(messages) if place not in gone)
            await filler.send(filler.seals(LOG_A))
            return [messages[place] for place in sorted(gone)]

    missing = asyncio.run(scenario())

    ranges = set()
    for message in missing:
        headers = dict(message.headers)
        ranges.add((LOG_A, int(headers["after"]) + 1, int(headers["seq"])))
    fleet.wait_for(lambda: lost(fleet.status(worker)), lambda found: found == ranges)
    assert f'pointsman_log_findings_total{{kind="loss"}} {float(len(ranges))}' in worker.get("/metrics").text
    gone = {dict(message.headers)["seq"] for message in missing}
    fleet.entries = [entry for entry in fleet.entries if str(entry.seq).encode() not in gone]
    fleet.counted_as_the_oracle(worker)


def test_a_segment_of_which_nothing_came_is_missed_by_the_manifest(fleet, history):
    worker = fleet.worker("worker")

    async def scenario():
        async with fleet.filler() as filler:
            await fleet.fill(filler, LOG_A, history.predictions(200))
            fleet.counted_as_the_oracle(worker)
            for number, lanes in enumerate([{"p1": 3, "l3": 1, "a0": 9}, {"p1": 7, "l3": 1, "a0": 9}], 1):
                await filler.send([filler.control(manifest(LOG_B, lanes), fleet.topics.audit)])
                fleet.wait_for(lambda: fleet.read_up_to(worker, 0, fleet.topics.audit), number.__eq__)

    asyncio.run(scenario())

    expected = {(LOG_B, 4, 7)}
    fleet.wait_for(lambda: lost(fleet.status(worker)), lambda found: found == expected)


def test_manifests_of_what_came_or_was_gone_before_the_worker_started_are_no_losses(fleet, history):
    async def scenario():
        async with fleet.filler() as filler:
            messages = filler.messages(LOG_A, [fleet.remember(LOG_A, one) for one in history.predictions(400)])
            await filler.send(messages[200:])
            lanes = {}
            for message in messages:
                lanes[f"p{message.partition}"] = int(dict(message.headers)["seq"])
            told = [manifest(LOG_A, lanes), manifest(LOG_C, {"p0": 100})]
            await filler.send([filler.control(one, fleet.topics.audit) for one in told])
            await filler.send(filler.seals(LOG_A))

    asyncio.run(scenario())
    fleet.entries = fleet.entries[200:]
    worker = fleet.worker("worker")

    fleet.counted_as_the_oracle(worker)
    assert lost(fleet.status(worker)) == set()


def test_what_a_host_lost_and_what_it_kept_back_is_told_once(fleet, history):
    loss = Control("loss", None, {"log_id": LOG_B, "segment": 2, "offset": 64, "kind": "loss", "first": 3, "last": 5})

    async def scenario():
        async with fleet.filler() as filler:
            await filler.send([filler.control(loss, fleet.topics.audit)] * 2)
            messages = filler.messages(LOG_A, [fleet.remember(LOG_A, one) for one in history.predictions(40)])
            place = filler.place_of(messages[20])
            content = {"reason": "the message is too large"}
            tombstone = filler.control(Control("tombstone", place, content), messages[20].topic, messages[20].partition)
            await filler.send([*messages[:20], tombstone, *messages[21:]])
            await filler.send(filler.seals(LOG_A))
            return place.seq

    seq = asyncio.run(scenario())
    worker = fleet.worker("worker")

    expected = {(LOG_B, 3, 5), (LOG_A, seq, seq)}
    fleet.wait_for(lambda: lost(fleet.status(worker)), lambda found: found == expected)
    assert worker.stop() == 0
    other = fleet.worker("other")
    fleet.wait_for(lambda: lost(fleet.status(other)), lambda found: found == expected)
    fleet.entries = [entry for entry in fleet.entries if entry.seq != seq]
    fleet.counted_as_the_oracle(other)


def test_a_retention_that_overtakes_the_worker_is_a_loss_and_never_a_silent_jump(fleet, history):
    worker = fleet.worker("worker")

    async def delete(offsets):
        admin = AIOKafkaAdminClient(bootstrap_servers=fleet.address)
        await admin.start()
        try:
            await admin.delete_records(
                {TopicPartition(fleet.topics.predictions, part): RecordsToDelete(at) for part, at in offsets.items()}
            )
        finally:
            await admin.close()

    async def scenario(amount):
        async with fleet.filler() as filler:
            messages = filler.messages(LOG_A, [fleet.remember(LOG_A, one) for one in history.predictions(amount)])
            await filler.send(messages)
            return messages

    asyncio.run(scenario(200))
    fleet.counted_as_the_oracle(worker)
    before = dict.fromkeys(range(fleet.options.partitions), 0)
    for entry in fleet.entries:
        (part,) = partitions_of([msgspec.json.decode(entry.payload)["prediction_id"].encode()], len(before))
        before[part] += 1
    assert worker.stop() == 0
    asyncio.run(scenario(200))
    asyncio.run(delete({2: before[2] + 10}))
    worker.start()

    topic = f"{fleet.topics.predictions}/2"
    expected = {(topic, before[2], before[2] + 9)}
    fleet.wait_for(lambda: lost(fleet.status(worker)), lambda found: expected <= found)
    behind = [
        entry
        for entry in fleet.entries[200:]
        if partitions_of([msgspec.json.decode(entry.payload)["prediction_id"].encode()], len(before)) == [2]
    ]
    gone = {entry.seq for entry in behind[:10]}
    fleet.entries = [entry for entry in fleet.entries if entry.seq not in gone]
    fleet.counted_as_the_oracle(worker)


@pytest.mark.parametrize("damage", ["monitor.sqlite", "published.sqlite"])
def test_a_broken_state_is_put_aside_and_restored_from_what_was_published(fleet, history, damage):
    worker = fleet.worker("worker")

    async def scenario():
        async with fleet.filler() as filler:
            predictions = history.predictions(400)
            await fleet.fill(filler, LOG_A, predictions[:300])
            await fleet.fill(filler, LOG_B, history.labels(predictions))
            await fleet.fill(filler, LOG_A, predictions[300:])

    asyncio.run(scenario())
    fleet.counted_as_the_oracle(worker)
    assert worker.stop() == 0
    state = worker.state_dir / "monitor" / "1" / damage
    state.write_bytes(b"no database, but just as long" * 400)
    for beside in state.parent.glob(f"{damage}-*"):
        beside.unlink()
    asyncio.run(scenario())
    worker.start()

    fleet.counted_as_the_oracle(worker)
    assert (worker.state_dir / "monitor" / "1.broken").is_dir()


# --- claims ---------------------------------------------------------------------------------------------------------


def holes(found):
    return [(one.first_seq, one.last_seq) for one in found]


def test_a_seal_names_the_holes_before_it_once():
    claims, seen = Claims("partition 0"), {"p:a": [(1, 4), (7, 9)]}
    claims.begin({})
    claims.met(seen, ["p:a"], at_end=True)

    claims.sealed("p:a", 12)

    assert holes(claims.due(seen, {})) == [(5, 6), (10, 12)]
    claims.sealed("p:a", 12)
    assert claims.due(seen, {}) == []


def test_a_manifest_is_held_against_the_counts_only_when_all_it_speaks_of_must_have_been_read():
    claims, seen = Claims("partition 0"), {"p:a": [(1, 4)]}
    claims.begin(seen)

    claims.manifest({"p:a": 9}, {"predictions": 100})

    assert claims.due(seen, {"predictions": 99}) == []
    assert holes(claims.due(seen, {"predictions": 100})) == [(5, 9)]


def test_a_stream_that_began_before_the_worker_is_asked_for_its_middle_only():
    claims, seen = Claims("partition 0"), {"p:a": [(50, 60), (70, 80)]}
    claims.begin({})
    claims.met(seen, ["p:a"], at_end=True)
    claims.manifest({"p:a": 80, "p:never": 5}, {})
    claims.manifest({"p:never": 8}, {})

    assert holes(claims.due(seen, {})) == [(61, 69), (6, 8)]


def test_a_stream_that_begins_under_our_eyes_is_asked_for_its_beginning():
    claims, seen = Claims("partition 0"), {"p:a": [(50, 60)]}
    claims.begin({})
    claims.met({}, [], at_end=True)
    claims.met(seen, ["p:a"], at_end=False)

    claims.sealed("p:a", 60)

    assert holes(claims.due(seen, {})) == [(1, 49)]


def test_what_a_real_forwarder_claims_is_never_a_loss_as_long_as_nothing_is_lost(fleet, history, tmp_path, monkeypatch):
    from prediction_log.forward import forwarding
    from prediction_log.spool.writer import open_writer

    monkeypatch.setattr(forwarding, "MANIFEST_SECONDS", 0.5)
    worker = fleet.worker("worker")
    settings = Settings(state_dir=tmp_path / "host", kafka=fleet.address, kafka_options=fleet.options)

    async def scenario():
        stop = asyncio.Event()
        sending = asyncio.create_task(forwarding.serve_forwarder(settings, stop))
        for _ in range(3):  # three writers, one after the other, each sealed
            writer = await open_writer(settings.state_dir / "spool", "worker-0")
            predictions = history.predictions(200)
            records = [*predictions, *history.labels(predictions)]
            for start in range(0, len(records), 40):
                kept = [fleet.remember(writer.log_id, record) for record in records[start : start + 40]]
                await asyncio.gather(*(writer.append(*one) for one in kept))
                await asyncio.sleep(0.1)
            await writer.aclose()
        await asyncio.to_thread(fleet.counted_as_the_oracle, worker)
        seen = await asyncio.to_thread(fleet.read_up_to, worker, 0, fleet.topics.audit)
        holds = (seen + 3).__le__
        await asyncio.to_thread(fleet.wait_for, lambda: fleet.read_up_to(worker, 0, fleet.topics.audit), holds)
        stop.set()
        await sending

    asyncio.run(scenario())

    assert lost(fleet.status(worker)) == set()
