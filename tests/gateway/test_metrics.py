"""The metrics page adds up all workers of the host, survives them, and its label sets are bounded."""

import pytest

from contracts.plan import VersionRef
from gateway.exposition import page
from gateway.metrics import LABEL_SETS_MAX, LATENCY_BOUNDS_US, Gauges, Meter, Snapshot, load, save
from gateway.traffic.routing import Variant


def count(meter, total_us=1_200, version="1", status="ok"):
    """One record of a champion."""
    variant = Variant("champion", VersionRef(version=version, digest="d"), "champion", 1.0)
    meter.observe("m", variant, status, None)
    if status == "ok":
        meter.time("m", variant, [total_us])


def lines(tmp_path, *slots):
    return page(tmp_path, slots).decode().splitlines()


def test_the_page_adds_up_all_slots(tmp_path):
    for slot, records in (("worker-0", 3), ("worker-1", 4)):
        meter = Meter(Snapshot())
        for _ in range(records):
            count(meter)
        meter.reject(400, "invalid_input")
        save(
            tmp_path, slot, meter.snapshot(Gauges(revisions={"m": records}, loaded={"m": 2}, log_bytes=10, log_shed=2))
        )

    shown = lines(tmp_path, "worker-0", "worker-1")

    labels = 'model="m",role="champion",status="ok",variant="champion",version="1"'
    assert f"pointsman_predictions_total{{{labels}}} 7.0" in shown or any(
        line.startswith("pointsman_predictions_total") and line.endswith(" 7.0") for line in shown
    )
    assert 'pointsman_rejections_total{code="400",reason="invalid_input"} 2.0' in shown
    assert 'pointsman_plan_revision{model="m"} 3.0' in shown, "the slowest worker's"
    assert 'pointsman_loaded_versions{model="m"} 4.0' in shown
    assert "pointsman_log_written_bytes 20.0" in shown
    assert "pointsman_log_shed_records 4.0" in shown
    assert "pointsman_workers 2.0" in shown


def test_the_page_tells_each_worker_s_revision_and_who_stays_behind_and_why(tmp_path):
    meter = Meter(Snapshot())
    told = {
        "worker-0": Gauges(revisions={"m": 41, "n": 1}),
        "worker-1": Gauges(revisions={"m": 40}, behind={"m": True}),
        "worker-2": Gauges(revisions={"m": 39}, behind={"m": False}, store_reached=False),
    }
    for slot, gauges in told.items():
        save(tmp_path, slot, meter.snapshot(gauges))

    shown = lines(tmp_path, *told)

    for line in (
        'pointsman_worker_plan_revision{model="m",worker="worker-0"} 41.0',
        'pointsman_worker_plan_revision{model="n",worker="worker-0"} 1.0',
        'pointsman_worker_plan_revision{model="m",worker="worker-2"} 39.0',
        'pointsman_plan_behind_workers{model="m"} 2.0',
        'pointsman_plan_behind_workers{model="n"} 0.0',
        'pointsman_plan_refused_workers{model="m"} 1.0',
        "pointsman_plan_store_reached 0.0",
    ):
        assert line in shown, line


def test_a_new_worker_goes_on_from_the_counts_of_its_slot(tmp_path):
    first = Meter(Snapshot())
    count(first)
    save(tmp_path, "worker-0", first.snapshot(Gauges()))

    second = Meter(load(tmp_path, "worker-0"))
    count(second)
    save(tmp_path, "worker-0", second.snapshot(Gauges()))

    assert any(
        line.startswith("pointsman_predictions_total") and line.endswith(" 2.0") for line in lines(tmp_path, "worker-0")
    )


def test_counts_do_not_go_back_while_a_worker_is_started_again(tmp_path):
    for slot in ("worker-0", "worker-1"):
        meter = Meter(Snapshot())
        count(meter)
        meter.reject(503, "overloaded")
        save(tmp_path, slot, meter.snapshot(Gauges(revisions={"m": 1}, log_bytes=10, log_writable=slot == "worker-0")))

    shown = lines(tmp_path, "worker-0")

    assert 'pointsman_rejections_total{code="503",reason="overloaded"} 2.0' in shown
    assert any(line.startswith("pointsman_predictions_total") and line.endswith(" 2.0") for line in shown)
    assert 'pointsman_request_duration_seconds_count{model="m",variant="champion",version="1"} 2.0' in shown
    for line in ("pointsman_workers 1.0", "pointsman_log_writable 1.0", "pointsman_log_written_bytes 10.0"):
        assert line in shown, f"{line}: gauges are those of living workers"


@pytest.mark.parametrize("total_us", [0, 99, 100, 101, 1_200, 5_000_000, 99_000_000])
def test_a_latency_falls_into_the_buckets_at_and_above_it(tmp_path, total_us):
    meter = Meter(Snapshot())
    count(meter, total_us)
    save(tmp_path, "w", meter.snapshot(Gauges()))

    counts = {}
    for line in lines(tmp_path, "w"):
        if line.startswith("pointsman_request_duration_seconds_bucket"):
            bound = line.split('le="')[1].split('"')[0]
            counts[bound] = float(line.rsplit(" ", 1)[1])
    expected = {str(bound / 1e6): float(total_us <= bound) for bound in LATENCY_BOUNDS_US} | {"+Inf": 1.0}
    assert counts == expected


def test_label_sets_are_bounded():
    meter = Meter(Snapshot())
    for number in range(LABEL_SETS_MAX + 50):
        count(meter, version=str(number))

    snapshot = meter.snapshot(Gauges())

    assert len(snapshot.predictions) == LABEL_SETS_MAX + 1
    assert dict(snapshot.predictions)[("other",) * 5] == 50
    assert len(snapshot.latency) == LABEL_SETS_MAX + 1


def test_a_slot_whose_file_is_no_snapshot_starts_anew(tmp_path):
    (tmp_path / "worker-0.json").write_bytes(b"{")

    assert load(tmp_path, "worker-0") == Snapshot()
    assert load(tmp_path, "worker-1") == Snapshot()


def test_counts_in_other_buckets_than_ours_are_none(tmp_path):
    labels = ("m", "1", "champion")
    save(tmp_path, "worker-0", Snapshot(latency=[(labels, [1, 2, 3])]))

    assert load(tmp_path, "worker-0") == Snapshot()
    assert "pointsman_workers 1.0" in lines(tmp_path, "worker-0")
