"""Compact records are counted as the same records as JSON: the same counts, counters and join rows, bit for bit."""

import asyncio
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.wire import encode
from monitor.counts import gather_sheet, intake
from monitor.counts.rejoin import Rejoin
from monitor.counts.state import FILE_NAME, counted
from monitor.counts.state_export import exported
from prediction_log.certificate.spool import verify
from prediction_log.spool.reader import Entry
from prediction_log.spool.segment import Kind as RecordKind
from prediction_log.spool.writer import open_writer
from tests.prediction_log.compact_kit import Kind, plain_twin, twins

T0 = 1_700_000_100_000_000
TIMES = st.one_of(st.integers(T0, T0 + 2_000_000_000), st.sampled_from([-1, 2**63 - 1]))
NAMED = st.lists(st.sampled_from(["x", "c", "other"]), unique=True, max_size=3)
FACTS = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "version": st.sampled_from("12"),
        "digest": st.just("d1"),
        "variant": st.sampled_from(["champion", "canary"]),
        "worker": st.sampled_from(["worker-0", "worker-1"]),
    }
)
OF_ONE_ROW = Kind(rows=st.just(1), tails=st.just(()), features=NAMED, outputs=st.just(["p"]), times=TIMES, facts=FACTS)
OF_ANY = OF_ONE_ROW._replace(
    rows=st.integers(0, 3),
    tails=st.sampled_from([(), (1,), (2,), (3,), (0,), (2, 2)]),
    outputs=st.lists(st.sampled_from(["p", "q"]), unique=True),
)


def counted_of(world, path, payloads, labels, kind, records_max):
    """Everything that a state says after these records."""
    entries = [Entry("log", seq, RecordKind.PREDICTION, payload) for seq, payload in enumerate(payloads, 1)]
    entries += [world.entry("log", len(payloads) + seq, label) for seq, label in enumerate(labels, 1)]
    references = {("m", version): world.make_reference(kind, version) for version in "12"}
    world.run(world.make_consumer(path, entries, world.make_catalogue(references), records_max=records_max))
    return world.read_counts(path), world.read_counters(path), world.read_join_rows(path), counted(path)


@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=12)
@given(st.lists(st.one_of(twins(OF_ONE_ROW), twins(OF_ANY)), min_size=1, max_size=6), st.data())
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_both_forms_are_counted_alike(world, tmp_path_factory, kind, several, data):
    path = tmp_path_factory.mktemp("forms")
    wanted = data.draw(st.lists(st.booleans(), min_size=len(several), max_size=len(several)))
    records_max = data.draw(st.integers(1, 10))
    jsons = [encode(twin.prediction) for twin in several]
    mixed = [twin.payload if compact else json for twin, json, compact in zip(several, jsons, wanted, strict=True)]
    truth = {"binary": 1, "multiclass": "green", "regression": 1.5}[kind]
    labels = [
        world.make_label(f"{twin.prediction.prediction_id}#{twin.prediction.rows // 2}", truth) for twin in several
    ]

    plain = counted_of(world, path / "plain.sqlite", jsons, labels, kind, records_max)
    compact = counted_of(world, path / "compact.sqlite", [twin.payload for twin in several], labels, kind, records_max)
    both = counted_of(world, path / "mixed.sqlite", mixed, labels, kind, records_max)

    assert compact == plain
    assert both == plain


def test_a_damaged_record_is_tallied_and_stops_nothing(world, tmp_path):
    good = [plain_twin(number, version="1").payload for number in range(1, 6)]
    damaged = [good[0][:-1], good[1] + b"\0", b"\x01", good[2].replace(b'"model"', b'"modem"'), good[3][:200]]
    late = plain_twin(9, version="1").payload.replace((1_000_009).to_bytes(8, "little"), (2**62).to_bytes(8, "little"))
    payloads = [*itertools.chain.from_iterable(zip(good, damaged, strict=True)), late]

    counts, counters, _, seen = counted_of(world, tmp_path / FILE_NAME, payloads, [], "binary", 1000)

    assert sum(count for (key, _), count in counts.items() if key.slice == "all") > 0
    assert counters["records_undecodable", "", "", "prediction"] == 5
    assert counters["records_undecodable", "", "", "out_of_range"] == 1
    assert seen == {"log": [(1, 11)]}
    assert counts == counted_of(world, tmp_path / "good.sqlite", good, [], "binary", 1000)[0]


async def write(spool, payloads):
    writer = await open_writer(spool, "worker-0")
    await asyncio.gather(*(writer.append(RecordKind.PREDICTION, payload) for payload in payloads))
    await writer.aclose()


def test_a_spool_of_both_forms_is_counted_and_certified(world, tmp_path):
    state, spool = tmp_path / FILE_NAME, tmp_path / "spool"
    twins_ = [plain_twin(number, version="1", worker=f"worker-{number % 2}") for number in range(300)]
    payloads = [twin.payload if number % 3 else encode(twin.prediction) for number, twin in enumerate(twins_)]
    asyncio.run(write(spool, payloads))

    catalogue = world.make_catalogue({("m", "1"): world.make_reference("binary")})
    counter = world.make_spool_counter(state, spool, catalogue)
    world.run(counter)

    assert verify(spool, counted(state)).ok
    entries = [Entry("x", seq, RecordKind.PREDICTION, encode(twin.prediction)) for seq, twin in enumerate(twins_)]
    assert world.read_counts(state) == world.oracle(entries, {("m", "1"): world.make_reference("binary")})


def test_the_join_store_is_rebuilt_from_compact_records(world, tmp_path):
    path = tmp_path / FILE_NAME
    payloads = [plain_twin(number, version=str(1 + number % 2)).payload for number in range(40)]
    _, _, rows, _ = counted_of(world, path, payloads, [], "binary", 7)
    with exported(path):
        pass

    rejoin = Rejoin(path)
    rejoin.open()
    taken = rejoin.take([Entry("log", seq, RecordKind.PREDICTION, payload) for seq, payload in enumerate(payloads, 1)])
    rejoin.finish()

    assert taken == 40
    assert {key: value for key, value in world.read_join_rows(path).items() if key[:1] == b"r"} == {
        key: value for key, value in rows.items() if key[:1] == b"r"
    }


def test_no_value_of_a_numeric_block_is_looked_at_by_itself(world, tmp_path, monkeypatch):
    monkeypatch.setattr(gather_sheet, "parse_numbers", None)
    monkeypatch.setattr(intake, "_decoded_singly", None)
    payloads = [plain_twin(number, version="1").payload for number in range(40)]

    counts, *_ = counted_of(world, tmp_path / FILE_NAME, payloads, [], "binary", 100)

    assert counts
