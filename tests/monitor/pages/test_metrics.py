"""The Prometheus page: what it says equals the summaries, its series are bounded, and nothing undefined is a sample."""

import asyncio
import math

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.statistic import Statistic
from monitor.pages import windows
from monitor.pages.metrics import FEATURES_MAX, SERIES_MAX, Snapshot, exposition
from monitor.pages.question import Question
from monitor.pages.standing import Standing


def samples_of(page):
    """{(name, labels): value} of every sample."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


@pytest.fixture
def samples(answers):
    return samples_of(exposition(answers.snapshot()))


@pytest.fixture
def nothing():
    return Standing(
        from_=None,
        to=None,
        watermark=None,
        updated=None,
        caught_up=False,
        ticks=0,
        counted_records=0,
        lag_records=0,
        logs=[],
        counters=[],
        findings=[],
        groups=[],
    )


def named(samples, name, **labels):
    wanted = set(labels.items())
    return {key: value for (found, key), value in samples.items() if found == name and wanted <= key}


def make_row(feature="", statistic="psi", value=0.1, slice_name="", status="ok"):
    return Statistic(
        model="m",
        version="1",
        variant="champion",
        slice=slice_name,
        from_="2013-04-01T00:00:00Z",
        to="2013-04-02T00:00:00Z",
        feature=feature,
        statistic=statistic,
        value=value,
        low=None,
        high=None,
        n=1000,
        status=status,
    )


def test_drift_equals_the_summaries(samples, answers):
    rows = [row for row in answers.rows(Question(slice="", statistic="psi")) if row.status != "insufficient"]
    found = named(samples, "pointsman_drift_psi", window="all")
    assert len(found) == len(rows) > 0
    for row in rows:
        own = named(samples, "pointsman_drift_psi", window="all", variant=row.variant, feature=row.feature)
        assert list(own.values()) == [row.value]


def test_performance_has_its_interval_and_its_slices(samples, answers):
    row = answers.rows(Question(variant="champion", statistic="auc", slice="origin=EWR"))[0]
    own = named(samples, "pointsman_performance", window="all", variant="champion", slice="origin=EWR", statistic="auc")
    assert {dict(key)["bound"]: value for key, value in own.items()} == {
        "value": row.value,
        "low": row.low,
        "high": row.high,
    }


def test_statuses_are_counted_for_alerts(samples, answers):
    rows = [row for row in answers.rows(Question(slice="", variant="champion")) if row.status == "alarm"]
    own = named(samples, "pointsman_monitor_statistics", window="all", variant="champion", slice="all", status="alarm")
    assert list(own.values()) == [len(rows)]
    assert rows


def test_reading_is_told_in_records_labels_and_findings(samples, world):
    assert list(named(samples, "pointsman_monitor_records_total").values()) == [len(world.make_history())]
    assert list(named(samples, "pointsman_monitor_lag_records").values()) == [0.0]
    assert list(named(samples, "pointsman_monitor_labels", outcome="accepted").values()) == [world.DAYS * 36]
    assert set(named(samples, "pointsman_log_findings_total").values()) == {0.0}
    last_event = world.APRIL_US + world.DAYS * world.DAY_US - world.DAY_US // world.PER_DAY
    assert list(named(samples, "pointsman_monitor_watermark_seconds").values()) == [last_event / 1e6]


def test_no_sample_is_undefined(samples):
    assert all(math.isfinite(value) for value in samples.values())


@pytest.mark.parametrize("row", [make_row("x", value=None), make_row("x", value=0.5, status="insufficient")])
def test_what_is_undefined_or_unsure_has_no_sample(nothing, row):
    assert not named(samples_of(exposition(Snapshot(nothing, {"all": [row]}))), "pointsman_drift_psi")


def test_of_many_features_the_worst_are_exported_and_the_others_counted(nothing):
    many = FEATURES_MAX + 7
    rows = [make_row(f"f{i}", value=i / 1000) for i in range(many)]
    samples = samples_of(exposition(Snapshot(nothing, {"all": rows})))
    exported = {dict(key)["feature"] for key in named(samples, "pointsman_drift_psi")}
    assert exported == {f"f{i}" for i in range(7, many)}
    assert list(named(samples, "pointsman_monitor_series_left_out").values()) == [7.0]


def test_the_page_is_bounded_and_says_what_it_left_out(nothing):
    rows = [make_row(statistic="auc", slice_name=f"cut={i}") for i in range(SERIES_MAX + 5)]
    lines = exposition(Snapshot(nothing, {"all": rows})).splitlines()
    assert sum(line.startswith(b"pointsman_performance{") for line in lines) == SERIES_MAX
    assert b"pointsman_monitor_series_left_out 5.0" in lines


def test_two_pages_of_one_process_do_not_share_anything(nothing):
    first, second = (exposition(Snapshot(nothing, {"all": [make_row(name)]})) for name in ("a", "b"))
    assert b'feature="a"' not in second
    assert b'feature="b"' not in first


def test_slices_go_before_any_window_loses_what_it_says_of_all_traffic(nothing):
    many = [make_row(statistic="auc", slice_name=f"cut={i}") for i in range(SERIES_MAX + 5)]
    samples = samples_of(exposition(Snapshot(nothing, {"all": many, "7d": [make_row("x"), make_row(statistic="auc")]})))
    assert len(named(samples, "pointsman_drift_psi", window="7d", slice="all", feature="x")) == 1
    assert len(named(samples, "pointsman_performance", window="7d", slice="all", statistic="auc")) == 1
    assert list(named(samples, "pointsman_monitor_series_left_out").values()) == [7.0]


def test_more_slices_than_can_be_asked_for_at_once_leave_the_page_there(answers, monkeypatch):
    whole = samples_of(exposition(answers.snapshot()))
    monkeypatch.setattr(windows, "WINDOWS_MAX", 3)
    samples = samples_of(exposition(answers.snapshot()))
    for name in ("pointsman_drift_psi", "pointsman_performance", "pointsman_service"):
        assert named(samples, name, slice="all") == named(whole, name, slice="all") != {}
    assert list(named(whole, "pointsman_monitor_series_left_out").values()) == [0.0]
    assert list(named(samples, "pointsman_monitor_series_left_out").values()) == [1.0]


def test_an_event_of_the_next_century_leaves_the_last_seven_days_where_they_are(tmp_path, world, references):
    early = world.APRIL_US + world.DAY_US
    far = world.make_prediction(
        10**6, "1", "champion", {}, 0.5, event_us=early + 36_500 * world.DAY_US, received_us=early
    )
    asyncio.run(world.write_log(tmp_path / "spool", [*world.make_history(days=2), far]))
    world.count_log(tmp_path, references)
    answers = world.make_answers(tmp_path)
    rows = answers.snapshot().windows
    answers.close()
    predicted = {
        window: sum(row.value for row in rows[window] if row.statistic == "predictions" and not row.slice)
        for window in ("all", "7d")
    }
    assert predicted["7d"] == predicted["all"] == 2 * world.PER_DAY * 2 + 1
