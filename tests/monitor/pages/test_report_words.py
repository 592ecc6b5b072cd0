"""The sentences: worst first, each feature once, and never a good word without data."""

import pytest

from contracts.statistic import Statistic
from monitor.pages.report_words import NONE, figure, look_first, with_interval
from monitor.pages.rows import by_drift, by_variant, judged, performance_statistic, worst


def row(statistic, value, status="ok", *, feature="", low=None, high=None, variant="champion", version="1", n=1000):
    return Statistic(
        model="m",
        version=version,
        variant=variant,
        slice="",
        from_="2013-04-01T00:00:00Z",
        to="2013-05-01T00:00:00Z",
        feature=feature,
        statistic=statistic,
        value=value,
        low=low,
        high=high,
        n=n,
        status=status,
    )


def test_alarms_come_before_warnings_and_each_names_its_variant():
    found = look_first({"a": [row("ece", 0.03, "warn")], "b": [row("auc", 0.6, "alarm", low=0.5, high=0.7)]}, [])
    assert [attention.status for attention in found] == ["alarm", "warn"]
    assert found[0].sentence == "b: 1 alarm: AUC 0.6000."


def test_a_feature_that_drifts_by_every_distance_is_named_once_by_its_psi():
    rows = [row(name, 0.5, "alarm", feature="temp") for name in ("ks", "js", "psi", "tvd")]
    assert look_first({"a": rows}, [])[0].sentence == "a: 1 alarm: PSI of temp 0.5000."


def test_many_alarms_are_counted_and_the_worst_named():
    rows = [row("psi", 0.2 + i / 100, "alarm", feature=f"f{i}") for i in range(10)]
    assert look_first({"a": rows}, [])[0].sentence == (
        "a: 10 alarms: PSI of f9 0.2900, PSI of f8 0.2800, PSI of f7 0.2700 and 7 more."
    )


def test_a_damaged_log_is_the_first_thing_to_look_at():
    found = look_first({"a": [row("psi", 0.5, "alarm", feature="x")]}, ["records 3 to 5 are missing"])
    assert "log is not complete: records 3 to 5 are missing" in found[0].sentence
    assert found[0].status == "alarm"


@pytest.mark.parametrize("variants", [{}, {"a": []}, {"a": [row("auc", None, "insufficient")]}])
def test_without_data_nothing_is_called_good(variants):
    assert [attention.status for attention in look_first(variants, [])] == ["insufficient"]


def test_all_quiet_is_said_where_something_was_measured():
    found = look_first({"a": [row("psi", 0.01, feature="x"), row("auc", 0.8)]}, [])
    assert [attention.status for attention in found] == ["ok"]


@pytest.mark.parametrize(
    ("statistic", "challenger", "word"),
    [("auc", (0.80, 0.82), "better"), ("auc", (0.60, 0.62), "worse"), ("log_loss", (0.80, 0.82), "worse")],
)
def test_a_challenger_clear_of_the_champion_is_told_the_right_way_round(statistic, challenger, word):
    champion = row(statistic, 0.71, low=0.70, high=0.72)
    other = row(statistic, sum(challenger) / 2, low=challenger[0], high=challenger[1])
    sentences = [
        attention.sentence
        for attention in look_first({"champion": [champion], "canary": [other]}, [], [("champion", "canary")])
    ]
    assert any(f"is {word} than with champion" in sentence for sentence in sentences)


def test_overlapping_intervals_are_no_news():
    champion, other = row("auc", 0.71, low=0.70, high=0.72), row("auc", 0.73, low=0.715, high=0.74)
    assert [
        attention.status
        for attention in look_first({"champion": [champion], "canary": [other]}, [], [("champion", "canary")])
    ] == ["ok"]


def test_few_labels_are_said_to_mislead():
    found = look_first({"a": [row("label_coverage", 0.1)]}, [])
    assert "10.0% of the predictions have a label" in found[0].sentence


@pytest.mark.parametrize(
    ("statistic", "value", "said"),
    [
        ("psi", 0.123456, "0.1235"),
        ("missing_rate", 0.0012, "0.12%"),
        ("label_coverage", 0.934, "93.4%"),
        ("rmse", 12345.6, "12,346"),
        ("auc", None, NONE),
    ],
)
def test_figures_are_written_as_people_read_them(statistic, value, said):
    assert figure(statistic, value) == said


def test_an_undefined_value_has_no_interval():
    assert with_interval(row("auc", None, low=0.1, high=0.2)) == NONE


def test_the_worst_of_no_status_is_insufficient():
    assert worst([]) == "insufficient"
    assert worst(["ok", "warn", "alarm"]) == "alarm"
    assert judged([row("auc", None, "insufficient"), row("psi", 0.0)]) == "ok"


def test_features_rank_by_drift_and_those_unsure_come_last():
    rows = [
        row("psi", 0.9, "insufficient", feature="a"),
        row("psi", 0.1, feature="b"),
        row("psi", 0.3, "alarm", feature="c"),
        row("ks", 0.9, "alarm", feature="b"),
    ]
    assert [found.feature for found in by_drift(rows)] == ["c", "b", "a"]


def test_the_champion_comes_first_and_versions_count_as_numbers():
    rows = [
        row("auc", 0.5, variant=variant, version=version)
        for variant, version in (("a", "10"), ("a", "9"), ("champion", "2"))
    ]
    assert list(by_variant(rows)) == [("champion", "2"), ("a", "9"), ("a", "10")]


def test_the_leading_statistic_follows_the_task():
    assert performance_statistic([row("log_loss", 0.5), row("auc", 0.5)]) == "auc"
    assert performance_statistic([row("rmse", 0.5), row("mae", 0.5)]) == "mae"
    assert performance_statistic([row("psi", 0.5, feature="x")]) is None
