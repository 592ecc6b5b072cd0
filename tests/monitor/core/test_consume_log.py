"""From a real spool into the state: every record counted exactly once, through restarts, kills and damaged records."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from contracts.wire import encode
from monitor.counts.state import FILE_NAME, counted
from monitor.pages.queries import open_reader
from prediction_log.certificate.spool import verify
from prediction_log.finding import FindingKind
from prediction_log.spool.reader import SpoolReader
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer

CHILD = """
import sys
from pathlib import Path
from contracts.reference import Reference
from contracts.wire import decode
from monitor.counts.catalogue import Catalogue
from monitor.counts.consume import Consumer
from monitor.counts.spool_source import SpoolCounter, SpoolSource
from prediction_log.spool.reader import SpoolReader

state, spool = Path(sys.argv[1]), Path(sys.argv[2])
reference = decode(Reference, Path(sys.argv[3]).read_bytes())
catalogue = Catalogue(lambda *_: reference, lambda *_: None)
source = SpoolSource(lambda at: SpoolReader(spool, at))
counter = SpoolCounter(source, Consumer(state, catalogue, horizon_days=2.0), records_max=20)
while sys.stdin.readline():
    counter.tick(0)
    print("ticked", flush=True)
"""


async def write(spool, slot, payloads):
    """A log of one writer incarnation: (kind, payload) each."""
    writer = await open_writer(spool, slot, segment_bytes=64 * 1024)
    for start in range(0, len(payloads), 7):
        await asyncio.gather(*(writer.append(kind, payload) for kind, payload in payloads[start : start + 7]))
    await writer.aclose()
    return writer.log_id


def as_payloads(world, records):
    return [(world.entry("", 0, record).kind, encode(record)) for record in records]


def records_of(world, count, seed=1):
    """Predictions with labels in disorder, some twice."""
    dice, records = random.Random(seed), []
    for i in range(count):
        prediction_id = world.uuid7(world.T0 // 1000 + i, seed * 1000 + i)
        event_us = world.T0 + i * 40_000_000
        records.append(
            world.make_prediction(prediction_id, event_us=event_us, features={"x": [i % 5], "c": ["ab"[i % 2]]})
        )
        labels = [
            world.make_label(prediction_id, dice.random() < 0.4, label_version=v) for v in range(dice.randrange(3))
        ]
        records.extend(labels)
    dice.shuffle(records)
    return records


def consume(world, state, spool, references, records_max=50):
    consumer = world.make_spool_counter(state, spool, world.make_catalogue(references), records_max)
    ticks = [consumer.tick(world.T0)]
    while not ticks[-1].caught_up:
        ticks.append(consumer.tick(world.T0))
    consumer.close()
    return ticks


@pytest.fixture
def references(world):
    return {("m", "1"): world.make_reference("binary")}


def test_what_two_workers_logged_is_counted_and_certified(world, tmp_path, references):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    records = records_of(world, 60)
    logs = [asyncio.run(write(spool, f"worker-{half}", as_payloads(world, records[half::2]))) for half in (0, 1)]

    ticks = consume(world, state, spool, references)

    entries = [world.entry("x", i, record) for i, record in enumerate(records)]
    assert world.read_counts(state) == world.oracle(entries, references)
    assert sum(tick.predictions + tick.labels for tick in ticks) == len(records)
    assert counted(state) == {log_id: [(1, len(records[half::2]))] for half, log_id in enumerate(logs)}
    assert verify(spool, counted(state)).ok


def test_a_restart_between_any_two_ticks_reads_nothing_twice(world, tmp_path, references):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    records = records_of(world, 30)
    asyncio.run(write(spool, "worker-0", as_payloads(world, records)))
    for _ in range(len(records)):
        consumer = world.make_spool_counter(state, spool, world.make_catalogue(references), 5)
        tick = consumer.tick(world.T0)
        consumer.close()
        assert tick.duplicates == 0

    entries = [world.entry("x", i, record) for i, record in enumerate(records)]
    assert world.read_counts(state) == world.oracle(entries, references)


def test_reading_the_whole_log_again_counts_nothing_again(world, tmp_path, references):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    records = records_of(world, 20)
    asyncio.run(write(spool, "worker-0", as_payloads(world, records)))
    consume(world, state, spool, references)
    before = world.read_counts(state), world.read_counters(state)

    again = lambda _positions: SpoolReader(spool, {})  # noqa: E731
    consumer = world.make_spool_counter(state, again, world.make_catalogue(references))
    tick = consumer.tick(world.T0)
    consumer.close()

    assert tick.duplicates == len(records)
    assert (world.read_counts(state), world.read_counters(state)) == before


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "prediction"),
        (b"{}", "prediction"),
        (b"null", "prediction"),
        (b"\xff\xfe", "prediction"),
        (b'{"schema":2}', "prediction"),
        (b"[" * 100_000, "prediction"),
        ("early", "out_of_range"),
        ("late", "out_of_range"),
        ("rows", "out_of_range"),
        ("more rows than bytes", "out_of_range"),
        ("id", "out_of_range"),
    ],
)
def test_a_record_that_cannot_be_counted_is_tallied_and_stops_nothing(world, tmp_path, references, payload, reason):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    bad = {
        "early": world.make_prediction(world.uuid7(1, 1), event_us=-1),
        "late": world.make_prediction(world.uuid7(1, 1), event_us=2**70),
        "rows": world.make_prediction(world.uuid7(1, 1), rows=10**12),
        "more rows than bytes": world.make_prediction(world.uuid7(1, 1), rows=60_000),
        "id": world.make_prediction("i" * 1000),
    }
    good = as_payloads(world, [world.make_prediction(world.uuid7(1, 2)), world.make_label(world.uuid7(1, 2), 1)])
    odd = (Kind.PREDICTION, payload if isinstance(payload, bytes) else encode(bad[payload]))
    asyncio.run(write(spool, "worker-0", [good[0], odd, good[1]]))

    consume(world, state, spool, references)

    counters = {key: value for key, value in world.read_counters(state).items() if not key[0].startswith("labels")}
    assert counters == {("records_undecodable", "", "", reason): 1}
    statuses_ok = [count for (key, cell), count in world.read_counts(state).items() if key.slice == "all" and cell == 0]
    assert statuses_ok == [1]
    assert verify(spool, counted(state)).ok


def test_a_label_that_cannot_be_read_and_an_audit_record_are_seen_and_not_counted(world, tmp_path, references):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    log_id = asyncio.run(write(spool, "admin", [(Kind.LABEL, b'{"label": 1}'), (Kind.AUDIT, b"anything")]))

    consume(world, state, spool, references)

    assert world.read_counters(state) == {("records_undecodable", "", "", "label"): 1}
    assert counted(state) == {log_id: [(1, 2)]}


def test_a_torn_log_is_told_and_the_rest_is_counted(world, tmp_path, references):
    spool, state = tmp_path / "spool", tmp_path / FILE_NAME
    records = records_of(world, 20)
    log_id = asyncio.run(write(spool, "worker-0", as_payloads(world, records)))
    segment = next((spool / "worker-0" / log_id).glob("*.seg"))
    data = bytearray(segment.read_bytes())
    data[len(data) // 8] ^= 1
    segment.write_bytes(data)

    consume(world, state, spool, references)

    reader = open_reader(state)
    kinds = {msgspec.json.decode(finding)["kind"] for finding in reader.findings()}
    reader.close()
    assert kinds & {FindingKind.LOSS, FindingKind.ROT, FindingKind.CHAIN_BROKEN}
    assert not verify(spool, counted(state)).ok


def go_on(child):
    """One tick more, and no other: whoever kills it may be late."""
    child.stdin.write(b"\n")
    child.stdin.flush()


def test_a_monitor_that_is_killed_again_and_again_counts_every_record_once(world, tmp_path, references):
    spool, state, told = tmp_path / "spool", tmp_path / FILE_NAME, tmp_path / "reference.json"
    records = records_of(world, 400)
    asyncio.run(write(spool, "worker-0", as_payloads(world, records[::2])))
    asyncio.run(write(spool, "worker-1", as_payloads(world, records[1::2])))
    told.write_bytes(encode(references["m", "1"]))
    command = [sys.executable, "-c", CHILD, str(state), str(spool), str(told)]
    for ticks in (0, 1, 4, 2, 3):  # then somewhere in the next one
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
        ) as child:
            for _ in range(ticks):
                go_on(child)
                child.stdout.readline()
            go_on(child)
            time.sleep(ticks / 1000)
            child.kill()
        assert child.returncode == -signal.SIGKILL
    before = sum(last - first + 1 for intervals in counted(state).values() for first, last in intervals)
    consume(world, state, spool, references)

    entries = [world.entry("x", i, record) for i, record in enumerate(records)]
    assert 0 < before < len(records)
    assert world.read_counts(state) == world.oracle(entries, references)
    assert verify(spool, counted(state)).ok
