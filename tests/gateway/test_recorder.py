"""Records of attempts that came together: each caller hears of its own, and a record too large for the log refuses nobody else."""

import asyncio
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DeadlineExceeded, InvalidInput, LogUnavailable, ModelFailed, Overloaded
from contracts.plan import VersionRef
from contracts.prediction import Prediction
from contracts.wire import decode
from gateway import recorder as recording
from gateway.attempt import Attempt
from gateway.clock import Clock, system_clock
from gateway.metrics import Gauges, Meter, Snapshot
from gateway.recorder import Recorder
from gateway.records import Origin, in_runs
from gateway.traffic.routing import Route, Variant
from prediction_log.spool import writer as writing
from prediction_log.spool.segment import Kind
from prediction_log.spool.writer import open_writer


def failed(request_id, prediction_id="p"):
    """An attempt that failed, whose caller sent this id."""
    call = SimpleNamespace(
        prediction_id=prediction_id, request_id=request_id, received_us=1, event_us=1, model="m", arrived_ns=0,
        request=SimpleNamespace(rows=1), caller=SimpleNamespace(gone=False),
    )  # fmt: skip
    variant = Variant("champion", VersionRef(version="1", digest="d"), "champion", 1.0)
    serving = SimpleNamespace(points=SimpleNamespace(plan=SimpleNamespace(revision=1)))
    attempt = Attempt(call, serving, Route(variant, 7, "request_id", "s", 1.0, "hash"), 0)
    attempt.end(ModelFailed("no"))
    return attempt


@pytest.mark.parametrize("large", [0, 1, 2])
def test_a_record_too_large_for_the_log_is_refused_alone(tmp_path, monkeypatch, large):
    for module in (recording, writing):
        monkeypatch.setattr(module, "PAYLOAD_BYTES_MAX", 2_000)
    attempts = [failed("x" * (5_000 if number == large else 1)) for number in range(3)]
    heard = {}

    async def run():
        log = await open_writer(tmp_path, "worker-0", disk_reserve_bytes=0)
        recorder = Recorder(log, Meter(Snapshot()), system_clock(), Origin("w", "0"))
        recorder.durably(
            attempts, lambda those, refused: heard.update(dict.fromkeys(map(attempts.index, those), refused))
        )
        await asyncio.sleep(0.05)
        await log.aclose()
        return log.last_seq

    assert asyncio.run(run()) == 2
    assert isinstance(heard.pop(large), InvalidInput)
    assert list(heard.values()) == [None, None]


def test_records_that_are_together_more_than_may_wait_are_stored_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "PENDING_BYTES_MAX", 6_000)
    monkeypatch.setattr(recording, "BATCH_BYTES_MAX", 1_000, raising=False)
    attempts = [failed("x" * 2_000) for _ in range(4)]
    heard = []

    async def run():
        log = await open_writer(tmp_path, "worker-0", disk_reserve_bytes=0)
        recorder = Recorder(log, Meter(Snapshot()), system_clock(), Origin("w", "0"))
        recorder.durably(attempts, lambda those, refused: heard.extend((attempts.index(one), refused) for one in those))
        recorder.commit()
        await log.aclose()
        return log.last_seq

    assert asyncio.run(run()) == 4
    assert heard == [(number, None) for number in range(4)]


def test_what_the_log_does_not_take_is_not_counted_as_a_record(tmp_path):
    meter = Meter(Snapshot())
    heard = []

    async def run():
        log = await open_writer(tmp_path, "worker-0", disk_reserve_bytes=0)
        recorder = Recorder(log, meter, system_clock(), Origin("w", "0"))
        recorder.durably([failed(None)], lambda _, refused: heard.append(refused))
        recorder.commit()
        await log.aclose()
        recorder.durably([failed(None), failed(None)], lambda _, refused: heard.append(refused))

    asyncio.run(run())

    assert [type(refused) for refused in heard] == [type(None), LogUnavailable]
    assert [count for _, count in meter.snapshot(Gauges()).predictions] == [1]


def test_the_time_of_an_answer_ends_when_its_record_is_durable(tmp_path, monkeypatch):
    meter = Meter(Snapshot())
    now_ns = [1_000_000]
    attempt = failed(None)
    attempt.failure, attempt.answered, attempt.ran = None, True, object()

    async def run():
        log = await open_writer(tmp_path, "worker-0", disk_reserve_bytes=0, durability="power")
        recorder = Recorder(log, meter, Clock(now_us=int, mono_ns=lambda: now_ns[0], new_id=str), Origin("w", "0"))
        monkeypatch.setattr(recorder, "_records", lambda _: [(Kind.PREDICTION, b"", b"{}")])
        recorder.durably([attempt], lambda _, __: None)
        now_ns[0] = 3_000_000_000  # a disk that takes its time
        await log.aclose()

    asyncio.run(run())

    ((_, cells),) = meter.snapshot(Gauges()).latency
    assert cells[-1] == 3_000_000


VARIANTS = [
    Variant("champion", VersionRef(version="1", digest="d"), "champion", 1.0),
    Variant("shadow-2", VersionRef(version="2", digest="e"), "shadow", 0.5),
]
SERVINGS = [SimpleNamespace(points=SimpleNamespace(plan=SimpleNamespace(revision=revision))) for revision in (1, 2)]
STATUS = {ModelFailed: "error", Overloaded: "refused", DeadlineExceeded: "timeout"}
KINDS = st.fixed_dictionaries(
    {
        "variant": st.sampled_from(VARIANTS),
        "serving": st.sampled_from(SERVINGS),
        "failure": st.sampled_from(
            [ModelFailed("a"), ModelFailed("a"), ModelFailed("b"), Overloaded("a"), DeadlineExceeded("t")]
        ),
        "skipped": st.booleans(),
        "answered": st.booleans(),
        "fallback_from": st.sampled_from([None, "canary-2"]),
        "request_id": st.sampled_from([None, 'mine "quoted"']),
        "rows": st.integers(1, 3),
    }
)


def attempt_of(number, kind):
    """The attempt number so-and-so, that ended like this."""
    attempt = failed(kind["request_id"], f"p{number}")
    attempt.call.request = SimpleNamespace(rows=kind["rows"])
    attempt.route = Route(kind["variant"], number, "request_id", "s", 1.0, "hash")
    attempt.serving, attempt.failure = kind["serving"], kind["failure"]
    attempt.skipped, attempt.answered, attempt.fallback_from = kind["skipped"], kind["answered"], kind["fallback_from"]
    return attempt


@given(st.lists(KINDS, min_size=1, max_size=8))
def test_each_failure_has_a_record_of_its_own_whatever_it_shares_with_others(kinds):
    attempts = [attempt_of(number, kind) for number, kind in enumerate(kinds)]
    recorder = Recorder(None, Meter(Snapshot()), system_clock(), Origin("w", "0"))

    records = recorder._records(in_runs(attempts))

    for number, (kind, (_, shared, own)) in enumerate(zip(kinds, records, strict=True)):
        said = decode(Prediction, shared + own)
        assert (said.prediction_id, said.request_id, said.rows) == (f"p{number}", kind["request_id"], kind["rows"])
        assert (said.version, said.variant, said.role) == (
            kind["variant"].ref.version,
            kind["variant"].name,
            kind["variant"].role,
        )
        assert (said.revision, said.answered) == (kind["serving"].points.plan.revision, kind["answered"])
        assert said.fallback_from == kind["fallback_from"]
        assert (said.error, said.error_code) == (str(kind["failure"]), kind["failure"].code)
        assert said.status == ("skipped" if kind["skipped"] else STATUS[type(kind["failure"])])
        assert said.assignment.unit_hash == f"{number:016x}"
        assert (said.features, said.outputs, said.batch_rows, said.latency.run_us) == ({}, {}, 0, 0)


def test_failures_of_one_kind_begin_alike_and_are_counted_together():
    meter = Meter(Snapshot())
    recorder = Recorder(None, meter, system_clock(), Origin("w", "0"))
    kind = {
        "variant": VARIANTS[1],
        "serving": SERVINGS[0],
        "skipped": True,
        "answered": False,
        "fallback_from": None,
        "request_id": None,
        "rows": 1,
    }
    attempts = [attempt_of(number, kind | {"failure": Overloaded("too many")}) for number in range(5)]

    records = recorder._records(in_runs(attempts))
    recorder.later(attempts)

    assert len({shared for _, shared, _ in records}) == 1
    assert b"too many" in records[0][1]
    assert [count for labels, count in meter.snapshot(Gauges()).predictions if "skipped" in labels] == [5]


def test_without_a_log_attempts_are_counted_and_no_record_is_made(monkeypatch):
    monkeypatch.setattr(recording, "failure_records", None)
    meter = Meter(Snapshot())
    recorder = Recorder(None, meter, system_clock(), Origin("w", "0"))
    attempts = [failed(None), failed(None)]
    heard = []

    recorder.durably(attempts, lambda those, refused: heard.append((those, refused)))
    recorder.later(attempts)
    recorder.commit()

    assert heard == [(attempts, None)]
    assert [count for labels, count in meter.snapshot(Gauges()).predictions if "error" in labels] == [4]
